"""What a script logged and could not be kept: counted beside the spool, said once.

The count lies in a file of 8 bytes that is made when the spool is opened, while there is room: writing over
bytes that a file has already needs none, so that a full disk can still be told of.
"""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

_COUNT = struct.Struct("<Q")
_SUFFIX = ".lost"


class Losses:
    """The losses of one process; those of all processes of the run are in one count."""

    def __init__(self, spool: Path) -> None:
        self._spool = spool
        self._file = spool.with_name(spool.name + _SUFFIX)
        # Those of this process that are not in the file yet.
        self._pending = 0
        self._said = False

    def open_spool(self) -> int:
        """The spool's descriptor, or -1 where it cannot be opened: then every write is a loss."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
        try:
            self._spool.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(self._spool, flags | os.O_APPEND, 0o644)
        except OSError as problem:
            self._say(problem)
            return -1
        try:
            count = os.open(self._file, flags | os.O_EXCL, 0o644)
            try:
                os.write(count, bytes(_COUNT.size))
            finally:
                os.close(count)
        except OSError:
            # Another process has made it, or there is no room: what is lost is said on stderr in any case.
            pass
        return fd

    def add(self, calls: int, problem: OSError) -> None:
        """Count what was lost by `problem`. Raises nothing."""
        if not self._said:
            self._say(problem)
        calls, self._pending = calls + self._pending, 0
        try:
            _raise_count(self._file, calls)
        except OSError:
            # The next loss tries again.
            self._pending += calls

    def _say(self, problem: OSError) -> None:
        self._said = True
        try:
            print(
                f"onrecord: metrics cannot be kept in {self._spool}: {problem.strerror or problem};"
                " the script goes on, and what it logs meanwhile is lost",
                file=sys.stderr,
                flush=True,
            )
        except (OSError, ValueError, AttributeError):
            # There may be no room for stderr either, or no stderr.
            pass


def lost_calls(spool: Path) -> int:
    """How many logged values of the run could not be kept."""
    try:
        return int(_COUNT.unpack(spool.with_name(spool.name + _SUFFIX).read_bytes())[0])
    except (OSError, struct.error):
        return 0


def losses_warning(spool: Path) -> list[str]:
    """What the run's warnings say of it; empty where nothing was lost."""
    count = lost_calls(spool)
    if not count:
        return []
    values = "1 logged value" if count == 1 else f"{count:,} logged values"
    return [f"{values} could not be written and {'is' if count == 1 else 'are'} lost: the disk was full, or failed"]


def _raise_count(path: Path, by: int) -> None:
    import fcntl

    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        (count,) = _COUNT.unpack(os.pread(fd, _COUNT.size, 0).ljust(_COUNT.size, b"\0"))
        os.pwrite(fd, _COUNT.pack(count + by), 0)
    finally:
        os.close(fd)
