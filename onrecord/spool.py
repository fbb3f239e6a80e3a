"""The spool: where a script's metric points are safe before the ledger has them.

A plain file that every process of the run appends to, one `write` a point: what was written is in
the kernel's hands when the call returns, so that kill -9 cannot take it back, and no point ever
waits for the database. The run's conductor, or whoever reads the metrics, moves it into events.

Frame: "RSP1" | u32 length of the body | u32 CRC-32 of the body | body
Body:  u8 kind (0 float64, 1 int64, 2 JSON) | i64 microseconds since the epoch | i64 step | 8 bytes value
       | name (UTF-8), or for JSON: u64 length of the name in place of the value, name, JSON
"""

from __future__ import annotations

import json
import os
import struct
import time
import zlib
from pathlib import Path
from typing import Any

from onrecord.metric_values import checked_name

MAGIC = b"RSP1"
_HEAD = struct.Struct("<4sII")
_FLOAT = struct.Struct("<Bqqd")
_INTEGER = struct.Struct("<Bqqq")
_JSON = struct.Struct("<BqqQ")
NO_STEP = -(2**63)
KINDS = ("float64", "int64", "json")

Point = tuple[str, int, int, int | None, Any]  # name, kind, microseconds, step, value


class SpoolWriter:
    """Appends points; one a process is enough, also across fork and threads (O_APPEND)."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._names: dict[str, bytes] = {}

    def write(self, name: str, value: object, step: int = NO_STEP) -> None:
        """Append one point: a float, an int, or anything that JSON spells.

        Raises BadMetric for a name that cannot be one, OSError when there is no room.
        """
        encoded = self._names.get(name)
        if encoded is None:
            encoded = self._names[name] = checked_name(name).encode()
        kind = type(value)
        now = time.time_ns() // 1000
        if kind is float:
            body = _FLOAT.pack(0, now, step, value) + encoded
        elif kind is int and -(2**63) <= value < 2**63:  # type: ignore[operator]
            body = _INTEGER.pack(1, now, step, value) + encoded
        else:
            body = _JSON.pack(2, now, step, len(encoded)) + encoded + json.dumps(value).encode()
        frame = _HEAD.pack(MAGIC, len(body), zlib.crc32(body)) + body
        if os.write(self._fd, frame) != len(frame):
            raise OSError(28, "No space left on device")

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def read_points(data: bytes) -> tuple[list[Point], int]:
    """The whole points in `data`, and how many bytes they reach; a torn end is left for the next reading.

    Bytes that are no frame (a write that a full disk cut short) are passed over up to the next frame.
    """
    points: list[Point] = []
    position = 0
    while position + _HEAD.size <= len(data):
        magic, length, checksum = _HEAD.unpack_from(data, position)
        end = position + _HEAD.size + length
        body = data[position + _HEAD.size : end]
        if magic == MAGIC and len(body) == length and zlib.crc32(body) == checksum:
            points.append(_point(body))
            position = end
            continue
        following = data.find(MAGIC, position + 1)
        if following < 0:
            break
        position = following
    return points, position


def _point(body: bytes) -> Point:
    kind, at, step = struct.unpack_from("<Bqq", body)
    known_step = None if step == NO_STEP else step
    if kind == 2:
        length = _JSON.unpack_from(body)[3]
        name, text = body[_JSON.size : _JSON.size + length], body[_JSON.size + length :]
        return name.decode(), kind, at, known_step, json.loads(text)
    value = (_FLOAT if kind == 0 else _INTEGER).unpack_from(body)[3]
    return body[_FLOAT.size :].decode(), kind, at, known_step, value
