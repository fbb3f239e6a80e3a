"""The runs that were started from a run, as a tree for people."""

from __future__ import annotations

from typing import NamedTuple

from onrecord.documents import status_of
from onrecord.ledger.query import RunRow
from onrecord.run import Run
from onrecord.wording import Style, columns, duration, printable

# Of each run so many, and so many generations; of what is left the number is told.
_SHOWN = 10
_GENERATIONS = 3


class _Line(NamedTuple):
    branch: str
    row: RunRow | None
    text: str = ""


def print_children(style: Style, run: Run) -> None:
    """Print the runs that were started from a run, the newest first, with their children; nothing without any."""
    lines = _lines(run, run.id, "", _GENERATIONS)
    if not lines:
        return
    states = run.workspace.query.children_by_status(run.id)
    counts = ", ".join(f"{count:,} {status}" for status, count in states.items())
    print(f"{style.bold('children')}  {style.dim(counts)}")
    table = [_cells(run, line) for line in lines]
    for cells, texts in zip(columns(table, right=frozenset({2})), table, strict=True):
        cells[1] = style.status(texts[1], len(cells[1]))
        print("  " + "  ".join(cells).rstrip())


def _lines(run: Run, parent: str, indent: str, generations: int) -> list[_Line]:
    query = run.workspace.query
    rows = query.children(parent, limit=_SHOWN + 1)
    hidden = sum(query.children_by_status(parent).values()) - _SHOWN if len(rows) > _SHOWN else 0
    lines = []
    for place, row in enumerate(rows[:_SHOWN]):
        is_last = place == len(rows[:_SHOWN]) - 1 and not hidden
        lines.append(_Line(f"{indent}{'└─' if is_last else '├─'} ", row))
        inner = f"{indent}{'   ' if is_last else '│  '}"
        if generations > 1:
            lines += _lines(run, row.run_id, inner, generations - 1)
        elif query.has_children(row.run_id):
            lines.append(_Line(f"{inner}└─ ", None, f"… onrecord show {row.run_id[:10]}"))
    if hidden:
        lines.append(_Line(f"{indent}└─ ", None, f"… and {hidden:,} more: onrecord ls --parent {parent[:10]}"))
    return lines


def _cells(run: Run, line: _Line) -> list[str]:
    if line.row is None:
        return [f"{line.branch}{line.text}", "", "", ""]
    row = line.row
    why = printable((row.error or {}).get("message", "")) if row.status == "Failed" else ""
    return [
        f"{line.branch}{row.run_id[:10]}  {printable(row.display_name)}",
        status_of(run.workspace, row),
        duration(row.duration_seconds),
        why,
    ]
