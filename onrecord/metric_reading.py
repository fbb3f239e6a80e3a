"""How logged values are handed back: Azure ML's forms, by what calls there were of one name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

SINGLE_KINDS = frozenset({"float64", "int64", "json"})
# A kind, as `ledger.events.Series` has it, and values of that kind, in the order of logging.
Piece = tuple[str, Sequence[Any]]


def form_of(kinds: Iterable[str]) -> str:
    """What a metric is: scalar, list, row, table, document or image; `mixed` of several that do not fit together."""
    forms = {"scalar" if kind in SINGLE_KINDS else kind for kind in kinds}
    if len(forms) == 1:
        return forms.pop()
    if forms <= {"scalar", "list"}:
        return "list"
    return "table" if forms <= {"row", "table"} else "mixed"


def as_v1(pieces: Sequence[Piece], image: Callable[[str], Any]) -> Any:
    """The form that Azure ML returns.

    A value that was logged once is itself, several are a list; lists that follow one another are one. One row is
    a dictionary of values, several are a dictionary of lists, with None where a row has no such column; so are tables.
    Documents and images are themselves, several a list; `image` makes an image of its file's name. Of calls that do
    not fit together it is a list of what each logged.
    """
    form = form_of(kind for kind, _ in pieces)
    if form == "scalar":
        values = list(chain.from_iterable(values for _, values in pieces))
        return values[0] if len(values) == 1 else values
    if form == "list":
        return [value for kind, values in pieces for one in values for value in (one if kind == "list" else [one])]
    if form in ("row", "table"):
        return _table((kind, value) for kind, values in pieces for value in values)
    whole = [_whole(kind, value, image) for kind, values in pieces for value in values]
    return whole[0] if len(whole) == 1 else whole


def _whole(kind: str, value: Any, image: Callable[[str], Any]) -> Any:
    if kind == "image":
        return image(value["file"])
    return _table([(kind, value)]) if kind == "table" else value


def _table(parts: Iterable[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """Rows and tables one under the other; a single row as values instead of lists."""
    columns, total = dict[str, list[Any]](), 0
    for kind, part in parts:
        rows = part if kind == "table" else {column: [cell] for column, cell in part.items()}
        total += len(next(iter(rows.values()), ()))
        for column, cells in rows.items():
            known = columns.setdefault(column, [])
            # The rows that had no such column.
            known += [None] * (total - len(cells) - len(known))
            known += cells
    for short in columns.values():
        short.extend([None] * (total - len(short)))
    return {name: cells[0] for name, cells in columns.items()} if total == 1 else columns
