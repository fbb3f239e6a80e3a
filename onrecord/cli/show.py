"""`onrecord show`."""

from __future__ import annotations

import sys
from typing import Any

import click

from onrecord.cli.children_tree import print_children
from onrecord.cli.common import json_option, open_run, print_json, run_argument
from onrecord.cli.metric_text import last_text
from onrecord.documents import note_document, run_document, status_of
from onrecord.ledger.errors import UnknownRun
from onrecord.ledger.events import PayloadErased, RunImported
from onrecord.ledger.series import Standing
from onrecord.resource_summary import resource_document
from onrecord.run import Run
from onrecord.wording import Style, duration, local_time, printable, size


@click.command()
@run_argument
@json_option
def command(run: str, as_json: bool) -> None:
    """Show one run: how it ended, what it ran, its tags, properties and metrics."""
    found = open_run(run)
    query = found.workspace.query
    if as_json:
        row = query.run(found.id)
        tags, children = query.tags(row.run_id)[row.run_id], query.children_by_status(row.run_id)
        document = run_document(found.workspace, row, tags, found.get_properties(), children)
        notes = [note_document(note) for note in found.notes]
        resources = resource_document(found.workspace, row)
        print_json({**document, "description": found.description, "notes": notes, "resources": resources})
    else:
        _print(found)


def _print(run: Run) -> None:
    style, row = Style(sys.stdout), run.workspace.query.run(run.id)
    details = run.get_details()
    definition = details["runDefinition"]
    status = status_of(run.workspace, row)
    print(f"{style.bold(printable(run.display_name))}  {style.status(status)}")
    what = definition.get("command") or definition.get("script", "")
    words = [*definition.get("launcher", []), what, *definition.get("arguments", [])]
    resumed = definition.get("resume_from", "")
    # Whatever else runs a script is part of the command.
    interpreter = "" if {"command", "launcher"} & set(definition) else definition.get("interpreter", "")
    ended = f"exit code {row.exit_code}" if row.exit_code is not None else ""
    facts = [
        ("run", row.run_id),
        ("experiment", printable(row.experiment) or "-"),
        *([("parent", _parent(run, row.parent))] if row.parent else []),
        *_custody(run),
        *_attempt(run),
        ("command", printable(" ".join(words)) or "-"),
        *([("resumed", printable(resumed))] if resumed else []),
        ("source", printable(definition.get("source_directory", "")) or "-"),
        ("interpreter", printable(interpreter) or "-"),
        ("snapshot", row.snapshot_id or "-"),
        ("created", local_time(row.created_at)),
        ("started", local_time(row.started_at)),
        ("ended", " ".join(part for part in (local_time(row.ended_at), ended) if part)),
        ("duration", duration(row.duration_seconds)),
        *([("archived", local_time(row.archived_at))] if row.archived_at is not None else []),
        *_resources(resource_document(run.workspace, row)),
    ]
    for name, value in facts:
        print(f"  {style.dim(name.ljust(12))} {value}")
    if row.error and row.error.get("message"):
        print(f"  {style.dim('why'.ljust(12))} {style.red(printable(row.error['message']))}")
    for warning in run.get_warnings():
        print(f"  {style.dim('warning'.ljust(12))} {printable(warning)}")
    _print_words(style, run)
    _print_pairs(style, "tags", run.get_tags())
    _print_pairs(style, "properties", run.workspace.query.properties(run.id)[run.id])
    _print_pairs(style, "metrics", {one.name: _metric(run, one) for one in run.get_metric_standings()})
    print_children(style, run)
    names = run.get_file_names()
    if names:
        print(f"{style.bold('files')}\n  {len(names):,}, listed by: onrecord files {row.run_id[:10]}")


def _print_words(style: Style, run: Run) -> None:
    description, notes = run.description, run.notes
    if description:
        print(style.bold("description"))
        for line in description.split("\n"):
            print(f"  {printable(line)}".rstrip())
    if notes:
        print(style.bold("notes"))
    for note in notes:
        first, *more = note.text.split("\n")
        print(f"  {style.dim(printable(f'{local_time(note.at)} {note.author}'))}  {printable(first)}".rstrip())
        for line in more:
            print(f"    {printable(line)}".rstrip())


def _parent(run: Run, parent: str) -> str:
    try:
        return f"{parent} ({printable(run.workspace.query.run(parent).display_name)})"
    except UnknownRun:
        return f"{printable(parent)} (not in this workspace)"


def _resources(known: dict[str, Any] | None) -> list[tuple[str, str]]:
    """What its processes used, in at most three lines."""
    if known is None:
        return []
    cpu, share = known["cpu_seconds"], known["mean_cpu_percent"]
    memory, read, written = known["peak_rss_bytes"], known["read_bytes"], known["written_bytes"]
    busy = f"{duration(cpu)}, {share:.0f} % of a core on average" if share is not None else duration(cpu)
    moved = f", read {size(read)}, wrote {size(written)}" if read is not None and written is not None else ""
    lines = [("cpu time", busy)] if cpu is not None else []
    if memory is not None:
        lines.append(("memory", f"{size(memory)} at most{moved}"))
    if known["peak_gpu_memory_bytes"] is not None:
        gpu = f"{known['mean_gpu_percent'] or 0:.0f} % on average, {size(known['peak_gpu_memory_bytes'])} at most"
        lines.append(("gpu", gpu))
    return lines


def _custody(run: Run) -> list[tuple[str, str]]:
    """Where the run came from, and when it was erased."""
    lines = []
    for recorded in run.workspace.journal.read(run.id):
        event = recorded.event
        if isinstance(event, RunImported):
            lines.append(("imported", f"{local_time(recorded.at)} from {printable(event.origin)}"))
        elif isinstance(event, PayloadErased):
            by = f" by {printable(event.by)}" if event.by else ""
            why = f": {printable(event.reason)}" if event.reason else ""
            what = "with its files" if event.files else "without its files"
            lines.append(("erased", f"{local_time(recorded.at)}{by}, {what}{why}"))
    return lines


def _attempt(run: Run) -> list[tuple[str, str]]:
    """Which attempt it is of how many, and the run before or after it."""
    from onrecord.attempts import PROPERTY, attempts_of

    which = run.workspace.query.properties(run.id)[run.id].get(PROPERTY)
    if which is None:
        return []
    attempts = attempts_of(run.workspace, run.id)
    place = attempts.index(run.id) if run.id in attempts else 0
    before = f", after {attempts[place - 1][:10]}" if place else ""
    after = f"; followed by {attempts[place + 1][:10]}" if place + 1 < len(attempts) else ""
    return [("attempt", f"{printable(which)}{before}{after}")]


def _print_pairs(style: Style, title: str, pairs: dict[str, str]) -> None:
    if not pairs:
        return
    print(style.bold(title))
    width = min(max(len(name) for name in pairs), 32)
    for name, value in pairs.items():
        print(f"  {style.dim(printable(name).ljust(width))} {printable(value)}")


def _metric(run: Run, standing: Standing) -> str:
    text = last_text(run, standing)
    return f"{text} (last of {standing.points:,})" if standing.points > 1 else text
