"""Write the parts of the documents that the code knows best. Usage: python docs/generate.py [--check]"""

from __future__ import annotations

import re
import sqlite3
import sys
from pathlib import Path

import attrs
import click

from onrecord.cli import exit_codes
from onrecord.cli.main import COMMANDS, group
from onrecord.executors.protocol import Capabilities
from onrecord.ledger.events import REGISTRY
from onrecord.ledger.projections import ALL, Tables
from onrecord.ledger.states import TABLE, TERMINAL

ROOT = Path(__file__).parents[1]


def state_diagram() -> str:
    """The state table as a Mermaid diagram."""
    lines = ["```mermaid", "stateDiagram-v2", "    direction LR"]
    for (before, event), after in TABLE.items():
        if before != after:
            lines.append(f"    {before or '[*]'} --> {after} : {event.removeprefix('run.')}")
    lines += [f"    {state} --> [*]" for state in sorted(TERMINAL)]
    return "\n".join([*lines, "```"])


def event_table() -> str:
    """Every event with its fields."""
    lines = ["| event | what it says | fields | durable |", "| --- | --- | --- | --- |"]
    for name, kind in REGISTRY.items():
        text = " ".join((kind.__doc__ or "").split())
        fields = ", ".join(f"`{field.name}`" for field in attrs.fields(kind))
        lines.append(f"| `{name}` | {text} | {fields} | {'yes' if kind.durable else 'survives kill -9'} |")
    return "\n".join(lines)


def table_reference() -> str:
    """Every derived table and view with its columns, and the comments beside them."""
    connection, parts = sqlite3.connect(":memory:"), list[str]()
    connection.execute("CREATE TABLE events(seq, stream, rseq, type, ts, salt, payload, pcommit, leaf)")
    for model in ALL:
        connection.executescript(model.SCHEMA)
        views = re.findall(r"CREATE VIEW (\w+)", model.SCHEMA)
        for table in (*model.TABLES, *views):
            notes = dict(re.findall(r"^    (\w+) [^\n]*?-- (.*)$", _schema_of(model.SCHEMA, table), re.M))
            parts.append(
                f"**`{table}`**: {_summary(model, table in views)}\n\n| column | type | |\n| --- | --- | --- |"
            )
            for _, name, kind, *_ in connection.execute(f"PRAGMA table_info({table})"):
                parts[-1] += f"\n| `{name}` | {kind} | {notes.get(name, '')} |"
    connection.close()
    return "\n\n".join(parts)


def _schema_of(schema: str, table: str) -> str:
    return schema.partition(f"TABLE {table}(")[2].partition("\n)")[0]


def _summary(model: Tables, is_view: bool) -> str:
    text = " ".join(str(model.__doc__).split("\n\n")[0].split())
    if is_view:
        return "a view with times that can be read" if not model.TABLES else "a view: the same with the run's id"
    return text[0].lower() + text[1:].removesuffix(".")


def command_reference() -> str:
    """The help of every command, as it prints."""
    parts = []
    for name in COMMANDS:
        context = click.Context(group, info_name="onrecord", max_content_width=100, terminal_width=100)
        command = group.get_command(context, name)
        assert command is not None
        parts.append(_help(command, name, context))
    return "\n\n".join(parts)


def _help(command: click.Command, name: str, parent: click.Context) -> str:
    context = click.Context(command, info_name=name, parent=parent, max_content_width=100, terminal_width=100)
    parts = [f"### {context.command_path}\n\n```text\n{command.get_help(context).rstrip()}\n```"]
    if isinstance(command, click.Group):
        parts += [_help(inner, inner_name, context) for inner_name, inner in command.commands.items()]
    return "\n\n".join(parts)


def capability_table() -> str:
    """What an executor can say of itself."""
    lines = ["| capability | what it says |", "| --- | --- |"]
    for name, text in re.findall(r"^ *- `(\w+)`: (.+?)(?=\n *- |\Z)", str(Capabilities.__doc__), re.M | re.S):
        lines.append(f"| `{name}` | {' '.join(text.split())} |")
    assert len(lines) == 2 + len(Capabilities._fields)
    return "\n".join(lines)


def exit_code_table() -> str:
    """Exit codes with the comments beside them."""
    lines = ["| code | meaning |", "| --- | --- |"]
    for line in Path(exit_codes.__file__).read_text().splitlines():
        found = re.match(r"[A-Z_]+ = (\d+)(?:  # (.*))?", line)
        if found:
            lines.append(f"| {found[1]} | {found[2] or 'all is well'} |")
    return "\n".join(lines)


PARTS = {
    "README.md": {"states": state_diagram},
    "docs/events.md": {"states": state_diagram, "events": event_table, "tables": table_reference},
    "docs/executors.md": {"capabilities": capability_table},
    "docs/command.md": {"commands": command_reference, "exit-codes": exit_code_table},
}


def generated(path: str) -> str:
    """The document with each part between its markers made anew."""
    text = (ROOT / path).read_text()
    for name, make in PARTS[path].items():
        begin, end = f"<!-- {name}: generated -->", f"<!-- end of {name} -->"
        before, rest = text.split(begin)
        text = f"{before}{begin}\n{make()}\n{end}{rest.split(end)[1]}"
    return text


def main() -> int:
    stale = [path for path in PARTS if generated(path) != (ROOT / path).read_text()]
    if "--check" in sys.argv:
        for path in stale:
            print(f"{path} is not what the code says: python docs/generate.py")
        return 1 if stale else 0
    for path in stale:
        (ROOT / path).write_text(generated(path))
    return 0


if __name__ == "__main__":
    sys.exit(main())
