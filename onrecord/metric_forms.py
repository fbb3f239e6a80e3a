"""What one call logs as a whole: lists, rows and tables, each checked and in plain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from onrecord.metric_values import BadMetric, checked_value, is_plain

_LONGEST_COLUMN = 255


def checked_list(name: str, values: object) -> list[Any]:
    """The values of a list, an array, a tensor or a generator. Raises BadMetric for what has lists in it."""
    return _cells(name, values, f"the list '{name}'", f"run.log_list({name!r}, [0.5, 0.25])")


def checked_row(name: str, cells: Mapping[str, object]) -> dict[str, Any]:
    """One value by column. Raises BadMetric."""
    call = f"run.log_row({name!r}, epoch=1, loss=0.25)"
    if not isinstance(cells, Mapping) or not cells:
        raise _bad(name, "is a row without columns", "a row has one value for each of its columns", call)
    row = {}
    for column, value in cells.items():
        _check_column(name, column, call)
        try:
            row[column] = checked_value(name, value)
        except BadMetric as problem:
            raise _bad(
                name,
                f"is a row whose column '{column}' holds a {type(value).__name__}",
                "a row has one number, text, truth value or None in each column",
                f"run.log_table({name!r}, {{{column!r}: [...]}})   (several rows)",
                value=value,
            ) from problem
    return row


def checked_table(name: str, columns: object) -> dict[str, list[Any]]:
    """Lists by column, all of one length; a data frame is one too. Raises BadMetric."""
    call = f"run.log_table({name!r}, {{'x': [1, 2], 'y': [0.5, 0.25]}})"
    if not isinstance(columns, Mapping) and hasattr(columns, "columns") and hasattr(columns, "to_dict"):
        columns = columns.to_dict("list")
    if not isinstance(columns, Mapping) or not columns:
        said = "is a table without columns" if isinstance(columns, Mapping) else f"is a {type(columns).__name__}"
        raise _bad(name, said, "a table is a dictionary: a name and a list for each column", call, value=columns)
    table = {}
    for column, values in columns.items():
        _check_column(name, column, call)
        table[column] = _cells(name, values, f"the column '{column}' of the table '{name}'", call)
    lengths = {column: len(cells) for column, cells in table.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"'{column}' has {length}" for column, length in list(lengths.items())[:5])
        raise _bad(name, "is a table whose columns differ in length", f"{told} rows", call, value=columns)
    return table


def _cells(name: str, values: object, place: str, call: str) -> list[Any]:
    cells = _items(values)
    if cells is None:
        raise BadMetric(
            f"{place} is a {type(values).__name__}",
            why="it takes a list of numbers, texts, truth values or None",
            next_step=call,
            name=name,
            value=values,
        )
    # They are looked at one by one only where some are not plain.
    return cells if is_plain(cells) else [_cell(name, cell, at, place, call) for at, cell in enumerate(cells)]


def _items(values: Any) -> list[Any] | None:
    """What is in it; None where it is no list, array or generator."""
    if hasattr(values, "shape") and not hasattr(values, "tolist"):
        values = getattr(values, "numpy", lambda: values)()
    if hasattr(values, "shape"):
        size = len(tuple(values.shape))
        # Arrays give plain values all at once.
        return None if size == 0 else list(values.tolist() if size == 1 and hasattr(values, "tolist") else values)
    if isinstance(values, str | bytes | bytearray | Mapping) or not isinstance(values, Iterable):
        return None
    return list(values)


def _cell(name: str, cell: object, at: int, place: str, call: str) -> Any:
    try:
        return checked_value(name, cell)
    except BadMetric as problem:
        nested = not isinstance(cell, str | bytes) and isinstance(cell, Iterable)
        raise BadMetric(
            f"value {at} of {place} is a {type(cell).__name__}",
            why="there are no lists in lists" if nested else "each is a number, text, truth value or None",
            next_step=f"run.log_table({name!r}, {{'x': [...], 'y': [...]}})" if nested else call,
            name=name,
            value=cell,
        ) from problem


def _check_column(name: str, column: object, call: str) -> None:
    if not isinstance(column, str) or not 1 <= len(column) <= _LONGEST_COLUMN:
        why = f"the name of a column is a text of 1 to {_LONGEST_COLUMN} characters"
        raise _bad(name, f"has a column {column!r}", why, call, value=column)


def _bad(name: str, said: str, why: str, call: str = "", value: object = None) -> BadMetric:
    return BadMetric(f"the metric '{name}' {said}", why=why, next_step=call, name=name, value=value)
