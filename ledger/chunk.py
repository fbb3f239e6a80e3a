"""Packed metric chunks: columns of many points in one payload.

"RLM" 01 | u32 length | header (JSON) | the columns in the header's order, each compressed (zlib).
Times and steps are stored as differences of neighbours, which compress to little; values are kept
bit for bit (float64, int64) or as a JSON list, in which Python's NaN and Infinity are allowed: it is
only read here, and a script may well log a table with a NaN in it. Little-endian columns.

A column of steps or times starts with one byte: 0 the numbers as they are, 1 differences, 2 the
numbers with -2**63 for a step that was not given, 3 a JSON list (what 64 bits cannot hold).
An empty column of steps: none was given.
"""

from __future__ import annotations

import json
import struct
import sys
import zlib
from array import array
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from onrecord.ledger.events import RunMetrics, Series
from onrecord.ledger.shapes import is_int64

MAGIC = b"RLM\x01"
_NO_STEP = -(2**63)
_LENGTH = struct.Struct(">I")
_LEVEL = 1
_CODES = {"float64": "d", "int64": "q", "json": None}
_PLAIN, _DIFFERENCES, _WITH_GAPS, _LIST = range(4)


def pack(event: RunMetrics) -> bytes:
    """The payload of a chunk. Raises ValueError, TypeError or OverflowError for what does not fit its kind."""
    if not (is_int64(event.spool_start) and is_int64(event.spool_end)):
        raise ValueError("the position in the spool is not a whole number of 64 bits")
    entries: list[dict[str, Any]] = []
    columns: list[bytes] = []
    for series in event.series:
        _check(series)
        packed = [_pack_values(series), _pack_steps(series.steps), _pack_integers(series.times)]
        columns += packed
        entries.append(
            {
                "name": series.name,
                "kind": series.kind,
                "count": len(series.values),
                "sizes": [len(column) for column in packed],
            }
        )
    header = {"series": entries, "spool": [event.spool_start, event.spool_end], "v": event.version}
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    return b"".join([MAGIC, _LENGTH.pack(len(text)), text, *columns])


def unpack(payload: bytes) -> RunMetrics | None:
    """The chunk behind a payload, or None when it is of a later version or not a chunk."""
    # Whatever is wrong with the bytes, they stay verifiable and read as unknown: nothing may be raised.
    try:
        header, position = _header(payload)
        if header is None:
            return None
        series = []
        for entry in header["series"]:
            columns = []
            for size in entry["sizes"]:
                columns.append(zlib.decompress(payload[position : position + size]) if size else b"")
                position += size
            series.append(_unpack_series(entry, columns))
        start, end = header["spool"]
        if position != len(payload) or not (is_int64(start) and is_int64(end)):
            return None
    except (zlib.error, struct.error, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None
    return RunMetrics(series=series, spool_start=start, spool_end=end)


def _header(payload: bytes) -> tuple[dict[str, Any] | None, int]:
    if payload[:4] != MAGIC:
        return None, 0
    (length,) = _LENGTH.unpack_from(payload, 4)
    start = 4 + _LENGTH.size
    header = json.loads(payload[start : start + length])
    if header.get("v") != RunMetrics.version:
        return None, 0
    return header, start + length


def _check(series: Series) -> None:
    if not isinstance(series.name, str) or series.kind not in _CODES:
        raise TypeError(f"a series has a name and one of the kinds {', '.join(_CODES)}, not {series.kind!r}")
    if not len(series.values) == len(series.steps) == len(series.times):
        raise ValueError(f"the series {series.name!r} has columns of different lengths")


def _pack_values(series: Series) -> bytes:
    code = _CODES[series.kind]
    if code is None:
        return zlib.compress(json.dumps(series.values).encode(), _LEVEL)
    return zlib.compress(_little_endian(array(code, series.values)), _LEVEL)


def _pack_steps(steps: Sequence[int | None]) -> bytes:
    if None not in steps:
        return _pack_integers(steps)
    if all(step is None for step in steps):
        return b""
    if _NO_STEP in steps:
        return _pack_list(steps)
    try:
        return _pack_column(_WITH_GAPS, array("q", [_NO_STEP if step is None else step for step in steps]))
    except OverflowError:
        return _pack_list(steps)


def _pack_integers(numbers: Sequence[Any]) -> bytes:
    if not numbers:
        return b""
    try:
        return _pack_column(_DIFFERENCES, array("q", [numbers[0], *(b - a for a, b in pairwise(numbers))]))
    except OverflowError:
        pass
    try:
        return _pack_column(_PLAIN, array("q", numbers))
    except OverflowError:
        return _pack_list(numbers)


def _pack_column(form: int, column: array[int]) -> bytes:
    return zlib.compress(bytes([form]) + _little_endian(column), _LEVEL)


def _pack_list(numbers: Sequence[int | None]) -> bytes:
    if not all(number is None or type(number) is int for number in numbers):
        raise TypeError("steps and times are whole numbers")
    return zlib.compress(bytes([_LIST]) + json.dumps(list(numbers)).encode(), _LEVEL)


def _unpack_integers(column: bytes) -> list[int | None]:
    form = column[0]
    if form == _LIST:
        return list(json.loads(column[1:]))
    numbers = _native(array("q", column[1:])).tolist()
    if form == _DIFFERENCES:
        for index in range(1, len(numbers)):
            numbers[index] += numbers[index - 1]
    elif form == _WITH_GAPS:
        return [None if number == _NO_STEP else number for number in numbers]
    elif form != _PLAIN:
        raise ValueError("a column in a form of a later version")
    return numbers


def _unpack_series(entry: dict[str, Any], columns: list[bytes]) -> Series:
    values, steps, times = columns
    code = _CODES[entry["kind"]]
    points = list(json.loads(values)) if code is None else _native(array(code, values)).tolist()
    known: list[int | None] = _unpack_integers(steps) if steps else [None] * len(points)
    at: list[Any] = _unpack_integers(times) if times else []
    if not len(points) == len(known) == len(at) == entry["count"] or None in at or not isinstance(entry["name"], str):
        raise ValueError("a series whose columns differ in length")
    return Series(entry["name"], entry["kind"], points, known, at)


def _little_endian(numbers: array[Any]) -> bytes:
    return _native(numbers).tobytes()


def _native(numbers: array[Any]) -> array[Any]:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
