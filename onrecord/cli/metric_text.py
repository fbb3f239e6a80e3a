"""What runs logged, as text for people: a value in one line, lists and tables as far as they fit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain, groupby
from typing import Any

from onrecord.ledger.series import Standing
from onrecord.metric_reading import SINGLE_KINDS
from onrecord.run import Run
from onrecord.wording import columns, counted, metric, printable, shortened

_EXACT = 2.0**53
_MOST_CHARACTERS = 40
# Of a long list or table its beginning and its end.
_SHOWN = 5


def is_single(standing: Standing) -> bool:
    """Whether the last thing logged under the name is a single value."""
    return standing.kind in SINGLE_KINDS


def last_text(run: Run, standing: Standing) -> str:
    """The last value in a few words; points are read only where the summary does not have it."""
    if standing.kind == "float64":
        return metric(math.nan if standing.last is None else standing.last)
    if standing.kind == "int64" and standing.last is not None and abs(standing.last) < _EXACT:
        return str(int(standing.last))
    value = run.workspace.query.last_value(run.id, standing.name)
    return shortened(in_a_line(standing.kind, value), _MOST_CHARACTERS)


def in_a_line(kind: str, value: Any) -> str:
    """One logged value in a few words."""
    if kind == "list":
        return f"list of {counted(len(value), 'value')}"
    if kind == "row":
        return ", ".join(f"{printable(column)} {metric(cell)}" for column, cell in value.items())
    if kind == "table":
        rows = len(next(iter(value.values()), ()))
        return f"table of {counted(rows, 'row')} and {counted(len(value), 'column')}"
    if kind == "document":
        return str(value.get("schema_type", "document")).replace("_", " ")
    return printable(value["file"]) if kind == "image" else metric(value)


def number(value: float | None, kind: str) -> str:
    """A least or greatest value; `-` where there is none."""
    if value is None:
        return "-"
    return str(int(value)) if kind == "int64" and abs(value) < _EXACT else metric(value)


def blocks(run: Run, standing: Standing) -> list[str]:
    """What was logged as a whole under one name, as lines: of many calls the last ones."""
    lines = list[str]()
    pieces = run.workspace.query.points(run.id, standing.name)
    for kind, group in groupby(pieces, key=lambda piece: "single" if piece.kind in SINGLE_KINDS else piece.kind):
        values = list(chain.from_iterable(piece.values for piece in group))
        if kind == "single":
            lines.append(_listed(values))
        elif kind == "row":
            lines += _rows(values)
        else:
            if len(values) > _SHOWN:
                lines.append(f"… {counted(len(values) - _SHOWN, 'call')} before")
            lines += [line for value in values[-_SHOWN:] for line in _block(kind, value)]
    return lines


def _rows(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    names = dict.fromkeys(column for row in rows for column in row)
    return [counted(len(rows), "row"), *_table({name: [row.get(name) for row in rows] for name in names})]


def _block(kind: str, value: Any) -> list[str]:
    if kind == "list":
        return [f"{in_a_line(kind, value)}{':' * bool(value)} {_listed(value)}".rstrip()]
    if kind == "table":
        return [in_a_line(kind, value), *_table(value)]
    if kind == "document":
        return [in_a_line(kind, value), *_document(value)]
    return [in_a_line(kind, value)]


def _listed(values: Sequence[Any]) -> str:
    shown = ", ".join(_cell(value) for value in values[: 2 * _SHOWN])
    return f"{shown} … {_cell(values[-1])}" if len(values) > 2 * _SHOWN else shown


def _cell(value: Any) -> str:
    return "-" if value is None else shortened(metric(value), _MOST_CHARACTERS)


def _table(table: Mapping[str, Sequence[Any]]) -> list[str]:
    total = len(next(iter(table.values()), ()))
    places = list(range(total)) if total <= 2 * _SHOWN + 2 else [*range(_SHOWN), *range(total - _SHOWN, total)]
    head = [shortened(printable(column), _MOST_CHARACTERS) for column in table]
    rows = [[_cell(cells[at]) for cells in table.values()] for at in places]
    lines = ["  ".join(cells).rstrip() for cells in columns([head, *rows], right=frozenset(range(len(head))))]
    if total > len(places):
        lines.insert(1 + _SHOWN, f"… {total - len(places):,} more")
    return [f"  {line}" for line in lines]


def _document(document: Mapping[str, Any]) -> list[str]:
    data = document.get("data", {})
    if document.get("schema_type") == "confusion_matrix":
        labels = [str(label) for label in data["class_labels"]]
        matrix = data["matrix"]
        table: dict[str, list[Any]] = {"": labels}
        # A column of its own for each label, also where two are spelled alike.
        for at, label in enumerate(labels):
            table[label if label not in table else f"{label} ({at})"] = [row[at] for row in matrix]
        return _table(table)
    if document.get("schema_type") in ("residuals", "predictions"):
        edges = data["bin_edges"]
        table = {"from": edges[:-1], "to": edges[1:]}
        table.update({key: cells for key, cells in data.items() if key != "bin_edges" and isinstance(cells, list)})
        return _table({key: cells for key, cells in table.items() if len(cells) == len(edges) - 1})
    return []
