"""A comparison as text for people: what was run differently, which files differ, and their lines."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TextIO

from onrecord.ledger.arguments import number
from onrecord.snapshot.errors import shown
from onrecord.wording import Style, columns, counted, duration, printable, shortened, size

if TYPE_CHECKING:
    from onrecord.comparison import Comparison, Fact
    from onrecord.snapshot.diff import Change
    from onrecord.snapshot.manifest import Entry
    from onrecord.snapshot.patch import Line

_WORDS = {"commit": "git commit", "branch": "git branch", "dirty": "uncommitted", "repository_uri": "repository"}
_NAMES = {"max_run_duration_seconds": "time limit", "directories_to_watch": "kept folders", "target": "target"}
_PACKAGES = 8
_LONGEST = 60
_KINDS = {"file": "a file", "link": "a link", "dir": "a folder"}


def print_comparison(found: Comparison, stream: TextIO, *, files: bool) -> None:
    """The header, what was run differently, and, if `files`, which files differ."""
    style = Style(stream)
    before, after = printable(found.before.label), printable(found.after.label)
    print(style.bold(f"from {before} to {after}"), file=stream)
    for line in _fact_lines(found.facts, style):
        print(line, file=stream)
    print(_summary(found, style), file=stream)
    if files:
        rows = columns([_cells(change) for change in found.files])
        for change, (kind, name, details) in zip(found.files, rows, strict=True):
            line = "  ".join([_coloured(change, kind, style), name, style.dim(details)])
            print(f"  {line}".rstrip(), file=stream)


def _fact_lines(facts: list[Fact], style: Style) -> list[str]:
    rows = [(_fact_name(fact), fact.before, fact.after) for fact in facts if fact.group != "packages"]
    packages = [fact for fact in facts if fact.group == "packages"]
    named = [(name, _value(before, name), _value(after, name)) for name, before, after in rows]
    width = max((len(name) for name in [*(name for name, _, _ in named), *["packages"][: len(packages)]]), default=0)
    lines = [f"  {style.dim(name.ljust(width))}  {_arrow(before, after, style)}" for name, before, after in named]
    for fact in packages[:_PACKAGES]:
        label = style.dim(("" if fact is not packages[0] else "packages").ljust(width))
        change = _arrow(_value(fact.before, ""), _value(fact.after, ""), style)
        lines.append(f"  {label}  {printable(fact.name)} {change}")
    if len(packages) > _PACKAGES:
        more = counted(len(packages) - _PACKAGES, "more package")
        lines.append(f"  {' ' * width}  and {more}, all of them with --json")
    return lines


def _fact_name(fact: Fact) -> str:
    if fact.group == "variables":
        return f"${printable(fact.name)}"
    return _WORDS.get(fact.name, fact.name) if fact.group == "git" else _NAMES.get(fact.name, printable(fact.name))


def _value(value: str | None, name: str) -> str:
    if value is None:
        return "-"
    text = printable(value)[:10] if name == "git commit" else printable(value)
    if name == "time limit" and (seconds := number(value)) is not None:
        text = duration(seconds)
    return shortened(text, _LONGEST)


def _arrow(before: str, after: str, style: Style) -> str:
    return f"{style.red(before)} → {style.green(after)}"


def _summary(found: Comparison, style: Style) -> str:
    if not found.files:
        return style.green("the same source" if not found.paths else "no difference there")
    kinds = Counter[str]()
    for change in found.files:
        kinds[change.kind] += change.files
    told = ", ".join(f"{kinds[kind]:,} {kind}" for kind in ("changed", "added", "removed", "renamed") if kinds[kind])
    if found.paths:
        return f"{style.bold('source')}  {told}"
    roots = found.before.side.root, found.after.side.root
    whole = " → ".join(f"{counted(root.files, 'file')}, {size(root.size)}" for root in roots)
    return f"{style.bold('source')}  {told}  {style.dim(f'({whole})')}"


def _cells(change: Change) -> list[str]:
    old, new = change.before, change.after
    if old is not None and new is not None and old.path != new.path:
        name = f"{_path(old)} → {_path(new)}"
    else:
        name = _path(new or old)
    return [change.kind, name, "  ".join(_details(change))]


def _path(entry: Entry | None) -> str:
    if entry is None:
        return ""
    return shown(entry.path) + ("/" if entry.kind == "dir" else "")


def _details(change: Change) -> list[str]:
    old, new = change.before, change.after
    if old is None or new is None:
        return [_what(new or old)]
    if old.kind == new.kind == "dir":
        return [counted(change.files, "file")]
    if "type" in change.aspects:
        return [f"{_KINDS[old.kind]} → {_KINDS[new.kind]}"]
    details = []
    if "content" in change.aspects:
        details.append(size(old.size) if old.size == new.size else f"{size(old.size)} → {size(new.size)}")
    if "target" in change.aspects:
        details.append(f"link to {shown(old.target)} → {shown(new.target)}")
    if "mode" in change.aspects:
        details.append("now executable" if new.executable else "no longer executable")
    return details


def _what(entry: Entry | None) -> str:
    if entry is None or entry.kind == "dir":
        return "an empty folder"
    return f"link to {shown(entry.target)}" if entry.kind == "link" else size(entry.size)


def _coloured(change: Change, text: str, style: Style) -> str:
    paint = {"added": style.green, "removed": style.red, "renamed": style.cyan, "changed": style.yellow}
    return paint[change.kind](text)


# ---- lines -----------------------------------------------------------------------------------------------


def print_patch(found: Comparison, stream: TextIO, *, binary: bool = False) -> None:
    """The patch: byte for byte where it goes to a file or a program, fit for a terminal on one."""
    print(file=stream)
    if stream.isatty():
        style = Style(stream)
        for line in found.patch(binary=binary):
            print(_for_terminal(line, style), file=stream)
        return
    stream.flush()
    for line in found.patch(binary=binary):
        stream.buffer.write(line.text + b"\n")
    stream.flush()


def _for_terminal(line: Line, style: Style) -> str:
    text = "\t".join(printable(part) for part in line.text.decode("utf-8", "backslashreplace").split("\t"))
    paint = {"file": style.bold, "meta": style.bold, "hunk": style.cyan, "removed": style.red, "added": style.green}
    return paint.get(line.kind, str)(text)
