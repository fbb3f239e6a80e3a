"""The spool: where a script's metric points are safe before the ledger has them.

A plain file that every process of the run appends to, one `write` a point: what was written is in
the kernel's hands when the call returns, so that kill -9 cannot take it back, and no point ever
waits for the database. The run's conductor, or whoever reads the metrics, moves it into events.

Frame, little-endian:
    "RSPf" (float64), "RSPi" (int64) or "RSPj" (JSON) | u32 length up to the end of the text
    | i64 nanoseconds since the epoch | i64 step | 8 bytes value, of JSON the length of the name
    | text: name (UTF-8), of JSON the name and the JSON | zeros to a multiple of 4 | u32 CRC-32
The CRC is of the whole frame before it and starts from the residue of CRC-32 instead of zero. A frame
with its CRC leads from the residue to the residue, so that one CRC-32 over many frames checks them all.
"""

from __future__ import annotations

import json
import os
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from onrecord.metric_values import checked_name

FLOAT, INTEGER, JSON = b"RSPf", b"RSPi", b"RSPj"
FLOAT_HEAD = struct.Struct("<4sIqqd")
INTEGER_HEAD = struct.Struct("<4sIqqq")
RESIDUE = 0x2144DF1C
NO_STEP = -(2**63)

_pack_float, _pack_integer = FLOAT_HEAD.pack, INTEGER_HEAD.pack


class SpoolWriter:
    """Appends points; one a process is enough, also across fork and threads (O_APPEND).

    `clock` gives nanoseconds since the epoch.
    """

    def __init__(self, path: Path, *, clock: Callable[[], int] = time.time_ns) -> None:
        self._clock = clock
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        # The length of a frame with this name, and the name as it stands in the frame.
        self._names: dict[str, tuple[int, bytes]] = {}

    def write(self, name: str, value: object, step: int = NO_STEP) -> None:
        """Append one point: a float, an int, or anything that JSON spells.

        Raises BadMetric for a name that cannot be one, OSError when there is no room.
        """
        length, text = self._names.get(name) or self._named(name)
        now = self._clock()
        kind = type(value)
        if kind is float:
            frame = _pack_float(FLOAT, length, now, step, value) + text
        elif kind is int and -(2**63) <= value < 2**63:  # type: ignore[operator]
            frame = _pack_integer(INTEGER, length, now, step, value) + text
        else:
            frame = _json_frame(name.encode(), json.dumps(value).encode(), now, step)
        frame += zlib.crc32(frame, RESIDUE).to_bytes(4, "little")
        if os.write(self._fd, frame) != len(frame):
            raise OSError(28, "No space left on device")

    def _named(self, name: str) -> tuple[int, bytes]:
        encoded = checked_name(name).encode()
        known = self._names[name] = (FLOAT_HEAD.size + len(encoded), _padded(encoded))
        return known

    def close(self) -> None:
        """Close the file."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        # Never while a thread is in `write`: that number could be another file's by then.
        try:
            self.close()
        except (AttributeError, OSError):
            return


def _json_frame(name: bytes, text: bytes, now: int, step: int) -> bytes:
    length = INTEGER_HEAD.size + len(name) + len(text)
    return _pack_integer(JSON, length, now, step, len(name)) + _padded(name + text)


def _padded(text: bytes) -> bytes:
    return text + bytes(-len(text) % 4)
