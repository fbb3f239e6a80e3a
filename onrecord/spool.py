"""The spool: where what a script logs is safe before the ledger has it.

A plain file that every process of the run appends to, one `write` a call: what was written is in
the kernel's hands when the call returns, so that kill -9 cannot take it back, and no point ever
waits for the database. The run's conductor, or whoever reads the metrics, moves it into events.

Frame, little-endian:
    "RSP" and a letter for the kind: f float64, i int64, j JSON, or what a call logs as a whole, as JSON:
    l list, r row, t table, d document, p picture. In capitals: the rank follows the value
    | u32 length up to the end of the text
    | i64 nanoseconds since the epoch | i64 step | 8 bytes value, of JSON the length of the name
    | u32 rank of the process in a distributed job, only with a capital letter
    | text: name (UTF-8), of JSON the name and the JSON | zeros to a multiple of 4 | u32 CRC-32
The CRC is of the whole frame before it and starts from the residue of CRC-32 instead of zero. A frame
with its CRC leads from the residue to the residue, so that one CRC-32 over many frames checks them all.
"""

from __future__ import annotations

import errno
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

from onrecord.metric_values import checked_name, spelled
from onrecord.spool_losses import Losses

FLOAT, INTEGER, JSON = b"RSPf", b"RSPi", b"RSPj"
# By the kind of a series, as `ledger.events` has it.
MAGICS = {
    "float64": FLOAT, "int64": INTEGER, "json": JSON,
    "list": b"RSPl", "row": b"RSPr", "table": b"RSPt", "document": b"RSPd", "image": b"RSPp",
}  # fmt: skip
FLOAT_HEAD = struct.Struct("<4sIqqd")
INTEGER_HEAD = struct.Struct("<4sIqqq")
RANK = struct.Struct("<I")
RESIDUE = 0x2144DF1C
NO_STEP = -(2**63)
# A script that makes up names all the time must not fill its memory with them.
_MOST_NAMES = 10_000

_pack_float, _pack_integer = FLOAT_HEAD.pack, INTEGER_HEAD.pack


def ranked(magic: bytes) -> bytes:
    """How a frame with a rank begins."""
    return magic.upper()


class SpoolWriter:
    """Appends what is logged; one a process is enough, also across fork and threads (O_APPEND).

    What cannot be written, because the disk is full or the folder not to be written to, is counted and said
    once on stderr (`spool_losses`): a training run goes on without its metrics. `clock` gives nanoseconds since
    the epoch; `rank` is the process's place in a distributed job.
    """

    def __init__(self, path: Path, *, clock: Callable[[], int] = time.time_ns, rank: int | None = None) -> None:
        self._clock = clock
        self._losses = Losses(path)
        self._fd = self._losses.open_spool()
        magics = MAGICS if rank is None else {kind: ranked(magic) for kind, magic in MAGICS.items()}
        self._magics, self._float, self._integer = magics, magics["float64"], magics["int64"]
        self._rank = b"" if rank is None else RANK.pack(rank)
        # The length of a frame with this name, and what stands in the frame behind the value.
        self._names: dict[str, tuple[int, bytes]] = {}

    def write(self, name: str, value: object, step: int = NO_STEP) -> None:
        """Append one point: a float, an int, or anything that JSON spells. Raises BadMetric."""
        length, text = self._names.get(name) or self._named(name)
        now = self._clock()
        kind = type(value)
        if kind is float:
            frame = _pack_float(self._float, length, now, step, value) + text
        elif kind is int and -(2**63) <= value < 2**63:  # type: ignore[operator]
            frame = _pack_integer(self._integer, length, now, step, value) + text
        else:
            frame = self._json_frame("json", name, spelled("value", name, value), now, step)
        frame += zlib.crc32(frame, RESIDUE).to_bytes(4, "little")
        try:
            if os.write(self._fd, frame) == len(frame):
                return
        except OSError as problem:
            self._losses.add(1, problem)
        else:
            self._losses.add(1, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    def write_json(self, kind: str, name: str, text: str, step: int = NO_STEP) -> None:
        """Append what a call logged as a whole, spelled as JSON. Raises BadMetric."""
        checked_name(name)
        self._append(1, _checked_frame(self._json_frame(kind, name, text, self._clock(), step)))

    def write_many(self, points: Iterable[tuple[str, object]], step: int = NO_STEP) -> None:
        """Append a point for each name, all in one write and of one time. Raises BadMetric."""
        now = self._clock()
        frames = [_checked_frame(self._frame(name, value, now, step)) for name, value in points]
        self._append(len(frames), b"".join(frames))

    def lose(self, problem: OSError) -> None:
        """Count a call of which nothing can be kept, and say so once on stderr."""
        self._losses.add(1, problem)

    def _append(self, calls: int, frames: bytes) -> None:
        try:
            written = os.write(self._fd, frames)
        except OSError as problem:
            self._losses.add(calls, problem)
            return
        if written != len(frames):
            self._losses.add(calls, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    def _frame(self, name: str, value: object, now: int, step: int) -> bytes:
        # What `write` has in its own body: a call more would cost it a tenth.
        length, text = self._names.get(name) or self._named(name)
        if type(value) is float:
            return _pack_float(self._float, length, now, step, value) + text
        if type(value) is int and -(2**63) <= value < 2**63:
            return _pack_integer(self._integer, length, now, step, value) + text
        return self._json_frame("json", name, spelled("value", name, value), now, step)

    def _named(self, name: str) -> tuple[int, bytes]:
        text = self._rank + checked_name(name).encode()
        if len(self._names) >= _MOST_NAMES:
            self._names.clear()
        known = self._names[name] = (FLOAT_HEAD.size + len(text), _padded(text))
        return known

    def _json_frame(self, kind: str, name: str, value: str, now: int, step: int) -> bytes:
        encoded = name.encode()
        text = self._rank + encoded + value.encode()
        length = INTEGER_HEAD.size + len(text)
        return _pack_integer(self._magics[kind], length, now, step, len(encoded)) + _padded(text)

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


def _checked_frame(frame: bytes) -> bytes:
    return frame + zlib.crc32(frame, RESIDUE).to_bytes(4, "little")


def _padded(text: bytes) -> bytes:
    return text + bytes(-len(text) % 4)
