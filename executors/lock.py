"""The lock of a control folder: held by its supervisor for life, so that the kernel says who lives.

flock(2): it belongs to the open file, is inherited by the supervisor alone, and is released by the
kernel when that process is gone, however it went.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

PATIENCE_SECONDS = 0.2  # a reader holds the lock for microseconds only
RESERVED = b" " * 255 + b"\n"  # for the supervisor to write its identity into, also on a full disk
FIRST_FREE_FD = 10  # above the standard ones and the supervisor's number 3


def claim(path: Path) -> int | None:
    """A new descriptor (10 or above) that holds the lock, or None when another process does."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE_FD)
    finally:
        os.close(fd)
    try:
        if not _locked(high):
            os.close(high)
            return None
        if os.fstat(high).st_size == 0:
            os.pwrite(high, RESERVED, 0)
    except OSError:
        os.close(high)
        raise
    return high


def _locked(fd: int) -> bool:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        else:
            return True


def is_held(path: Path) -> bool | None:
    """Whether some process holds the lock; None when the file cannot tell (absent, or not ours to open)."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(fd)
    return False


def hold(path: Path) -> int:
    """Lock an existing file exclusively, waiting for whoever has it; the descriptor releases it."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd
