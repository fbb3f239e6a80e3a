"""Packed metric chunks: columns of many points in one payload.

"RLM" 01 | u32 length (big-endian) | header (JSON) | the columns in the header's order: of each series its
values, steps and times, from version 3 on also ranks where there are any. The header's `v` says how a column is
kept: 1 as `chunk_v1` says, 2 and 3 as `columns` says; what a call logs as a whole (`events.Series`) came with 3.
Values are kept bit for bit (float64, int64) or as a JSON list, in which Python's NaN and Infinity
are allowed: it is only read here, and a script may well log a table with a NaN in it.
An empty column of steps: none was given.
"""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any, NamedTuple

from onrecord.ledger import chunk_v1, columns
from onrecord.ledger.events import RunMetrics, Series
from onrecord.ledger.parsing import parsed
from onrecord.ledger.shapes import is_int64

MAGIC = b"RLM\x01"
_LENGTH = struct.Struct(">I")
_CODES = {"float64": "d", "int64": "q", "json": None}
# What is kept as JSON, by the version of the header.
_JSON_KINDS = {1: {"json"}, 2: {"json"}, 3: {"json", "list", "row", "table", "document", "image"}}
_KINDS = {"float64", "int64", *_JSON_KINDS[3]}
# The header of a chunk of numbers without ranks is the same in both.
_VERSIONS_OF_NUMBERS = (2, 3)
# A column of equal differences takes a few bytes for any count: a strange header must not ask for all memory.
_MOST_POINTS = 2**26
# A column of one number: its form, then the number.
_SIZE = 9
_WITH_STEP = {"float64": struct.Struct("<BdBqBq"), "int64": struct.Struct("<BqBqBq")}
_WITHOUT_STEP = {"float64": struct.Struct("<BdBq"), "int64": struct.Struct("<BqBq")}
_UNREADABLE = (
    zlib.error, struct.error, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError,
)  # fmt: skip


def pack(event: RunMetrics) -> bytes:
    """The payload of a chunk. Raises ValueError, TypeError or OverflowError for what does not fit its kind."""
    if not (is_int64(event.spool_start) and is_int64(event.spool_end)):
        raise ValueError("the position in the spool is not a whole number of 64 bits")
    entries: list[dict[str, Any]] = []
    packed: list[bytes] = []
    for series in event.series:
        _check(series)
        parts = _pack_series(series)
        packed += parts
        entries.append(
            {
                "name": series.name,
                "kind": series.kind,
                "count": len(series.values),
                "sizes": [len(part) for part in parts],
            }
        )
    header = {"series": entries, "spool": [event.spool_start, event.spool_end], "v": event.version}
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    return b"".join([MAGIC, _LENGTH.pack(len(text)), text, *packed])


def unpack(payload: bytes) -> RunMetrics | None:
    """The chunk behind a payload, or None when it is of a later version or not a chunk.

    Columns come as lists, arrays or ranges.
    """
    # Whatever is wrong with the bytes, they stay verifiable and read as unknown: nothing may be raised.
    try:
        header, position = _header(payload)
        if header is None:
            return None
        series = []
        for entry in header["series"]:
            series.append(_series_at(header["v"], entry, payload, position))
            position += sum(entry["sizes"])
        start, end = header["spool"]
        if position != len(payload) or not (is_int64(start) and is_int64(end)):
            return None
    except _UNREADABLE:
        return None
    return RunMetrics(series=series, spool_start=start, spool_end=end)


def unpack_one(payload: bytes, place: int) -> Series | None:
    """The series at index `place` alone, or None where a whole `unpack` gives None for what concerns it."""
    try:
        header, position = _header(payload)
        if header is None:
            return None
        position += sum(sum(entry["sizes"]) for entry in header["series"][:place])
        return _series_at(header["v"], header["series"][place], payload, position)
    except _UNREADABLE:
        return None


# Name, kind, number (NaN is one), step and time of a point.
Point = tuple[str, str, float, int | None, int]


class SinglePoints(NamedTuple):
    """The series of a chunk that has one point of each."""

    series: list[Point]
    spool_end: int


def single_points(payload: bytes) -> SinglePoints | None:
    """The points of a chunk in which every series is one number: what a script that logs now and then makes.

    None where there is anything else in it, or where `unpack` gives None. A tenth of the work of `unpack`.
    """
    try:
        header, position = _header(payload)
        if header is None or header["v"] not in _VERSIONS_OF_NUMBERS:
            return None
        points = []
        for entry in header["series"]:
            sizes, kind, name = entry["sizes"], entry["kind"], entry["name"]
            if type(name) is not str or entry["count"] != 1 or type(entry["count"]) is not int:
                return None
            with_step = sizes == [_SIZE, _SIZE, _SIZE]
            if with_step:
                form, number, form_of_step, step, form_of_time, at = _WITH_STEP[kind].unpack_from(payload, position)
            elif sizes == [_SIZE, 0, _SIZE]:
                form, number, form_of_time, at = _WITHOUT_STEP[kind].unpack_from(payload, position)
                form_of_step, step = columns.RAW, None
            else:
                return None
            if not form == form_of_step == form_of_time == columns.RAW:
                return None
            points.append((name, kind, float(number), step, at))
            position += sum(sizes)
        start, end = header["spool"]
    except _UNREADABLE:
        return None
    # A size of 9.0 equals 9, but is none.
    if type(position) is not int or position != len(payload) or not (is_int64(start) and is_int64(end)):
        return None
    return SinglePoints(points, end)


def _series_at(version: int, entry: dict[str, Any], payload: bytes, position: int) -> Series:
    parts = []
    for size in entry["sizes"]:
        parts.append(payload[position : position + size])
        position += size
    return _unpack_series(version, entry, parts)


def _header(payload: bytes) -> tuple[dict[str, Any] | None, int]:
    if payload[:4] != MAGIC:
        return None, 0
    (length,) = _LENGTH.unpack_from(payload, 4)
    start = 4 + _LENGTH.size
    header = parsed(payload[start : start + length])
    if type(header.get("v")) is not int or not 1 <= header["v"] <= RunMetrics.version:
        return None, 0
    return header, start + length


def _check(series: Series) -> None:
    if not isinstance(series.name, str) or series.kind not in _KINDS:
        raise TypeError(f"a series has a name and one of the kinds {', '.join(sorted(_KINDS))}, not {series.kind!r}")
    if series.ranks is not None and len(series.ranks) != len(series.values):
        raise ValueError(f"the series {series.name!r} has not one rank a point")
    if not len(series.values) == len(series.steps) == len(series.times) <= _MOST_POINTS:
        raise ValueError(f"the series {series.name!r} has columns of different lengths, or too many points")


def _pack_series(series: Series) -> list[bytes]:
    if series.kind == "float64":
        values = columns.pack_floats(series.values)
    elif series.kind == "int64":
        values = columns.pack_integers(series.values)
        if values[0] == columns.LIST:
            raise OverflowError("a value beyond 64 bits")
    else:
        values = zlib.compress(json.dumps(list(series.values)).encode(), 1)
    parts = [values, columns.pack_steps(series.steps), columns.pack_integers(series.times)]
    return parts if series.ranks is None else [*parts, columns.pack_integers(series.ranks)]


def _unpack_series(version: int, entry: dict[str, Any], parts: list[bytes]) -> Series:
    values, steps, times, *of_ranks = parts
    name, kind, count = entry["name"], entry["kind"], entry["count"]
    if not isinstance(name, str) or type(count) is not int or not 0 <= count <= _MOST_POINTS:
        raise ValueError("a series without a name or a number of points")
    if version == 1:
        points: Any = chunk_v1.unpack_values(values, _CODES[kind])
        known = chunk_v1.unpack_integers(steps) if steps else [None] * len(points)
        at: Any = chunk_v1.unpack_integers(times) if times else []
    else:
        points = _unpack_values(version, kind, values, count)
        known, at = columns.unpack_steps(steps, count), columns.unpack_integers(times, count)
    if not len(points) == len(known) == len(at) == count or (isinstance(at, list) and None in at):
        raise ValueError("a series whose columns differ in length")
    return Series(name, kind, points, known, at, _unpack_ranks(version, of_ranks, count))


def _unpack_ranks(version: int, parts: list[bytes], count: int) -> Any:
    if not parts:
        return None
    (column,) = parts
    ranks = columns.unpack_integers(column, count)
    if version < 3 or len(ranks) != count or (isinstance(ranks, list) and None in ranks):
        raise ValueError("ranks where there are none, or not one a point")
    return ranks


def _unpack_values(version: int, kind: str, column: bytes, count: int) -> Any:
    if kind == "float64":
        return columns.unpack_floats(column, count)
    if kind == "int64":
        return columns.unpack_integers(column, count)
    if kind not in _JSON_KINDS[version]:
        raise ValueError("values of a kind of a later version")
    return list(json.loads(zlib.decompress(column)))
