"""Packed metric chunks: columns of many points in one payload.

"RLM" 01 | u32 length | header (JSON) | the columns in the header's order, each compressed (zlib).
Times and steps are stored as differences of neighbours, which compress to little; values are kept
bit for bit (float64, int64) or, where neither holds, as a JSON list. Little-endian columns.
"""

from __future__ import annotations

import json
import struct
import sys
import zlib
from array import array
from itertools import pairwise
from typing import Any

from onrecord.ledger.events import RunMetrics, Series

MAGIC = b"RLM\x01"
_NO_STEP = -(2**63)
_LENGTH = struct.Struct(">I")
_LEVEL = 1
_CODES = {"float64": "d", "int64": "q"}


def pack(event: RunMetrics) -> bytes:
    """The payload of a chunk."""
    entries: list[dict[str, Any]] = []
    columns: list[bytes] = []
    for series in event.series:
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
    header, position = _header(payload)
    if header is None:
        return None
    series = []
    try:
        for entry in header["series"]:
            columns = []
            for size in entry["sizes"]:
                columns.append(zlib.decompress(payload[position : position + size]) if size else b"")
                position += size
            series.append(_unpack_series(entry, columns))
    except (zlib.error, ValueError, KeyError):
        return None
    start, end = header["spool"]
    return RunMetrics(series=series, spool_start=start, spool_end=end)


def spool_end(payload: bytes) -> int:
    """How far into the spool the chunk reaches, in bytes, without unpacking its points."""
    header, _ = _header(payload)
    return 0 if header is None else int(header["spool"][1])


def _header(payload: bytes) -> tuple[dict[str, Any] | None, int]:
    if payload[:4] != MAGIC:
        return None, 0
    (length,) = _LENGTH.unpack_from(payload, 4)
    start = 4 + _LENGTH.size
    header = json.loads(payload[start : start + length])
    if header.get("v") != RunMetrics.version:
        return None, 0
    return header, start + length


def _pack_values(series: Series) -> bytes:
    code = _CODES.get(series.kind)
    if code is None:
        return zlib.compress(json.dumps(series.values).encode(), _LEVEL)
    return zlib.compress(_little_endian(array(code, series.values)), _LEVEL)


def _pack_steps(steps: list[int | None]) -> bytes:
    if all(step is None for step in steps):
        return b""
    return _pack_integers([_NO_STEP if step is None else step for step in steps], differences=None not in steps)


def _pack_integers(numbers: list[int], differences: bool = True) -> bytes:
    if differences:
        try:
            column = array("q", [numbers[0], *(b - a for a, b in pairwise(numbers))])
        except OverflowError:
            return _pack_integers(numbers, differences=False)
    else:
        column = array("q", numbers)
    flag = b"\x01" if differences else b"\x00"
    return zlib.compress(flag + _little_endian(column), _LEVEL)


def _unpack_integers(column: bytes) -> list[int]:
    numbers = _native(array("q", column[1:])).tolist()
    if column[0]:
        for index in range(1, len(numbers)):
            numbers[index] += numbers[index - 1]
    return numbers


def _unpack_series(entry: dict[str, Any], columns: list[bytes]) -> Series:
    values, steps, times = columns
    code = _CODES.get(entry["kind"])
    points = json.loads(values) if code is None else _native(array(code, values)).tolist()
    if steps:
        known: list[int | None] = [None if step == _NO_STEP else step for step in _unpack_integers(steps)]
    else:
        known = [None] * entry["count"]
    return Series(entry["name"], entry["kind"], points, known, _unpack_integers(times))


def _little_endian(numbers: array[Any]) -> bytes:
    return _native(numbers).tobytes()


def _native(numbers: array[Any]) -> array[Any]:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
