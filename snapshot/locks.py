"""Locks between processes: `flock`, which the kernel hands out in turn and releases when a holder dies.

The only module of this package that a system without `flock` would have to replace.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Lock:
    """One exclusive lock on a file; every `acquire` opens it anew, so it also excludes threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1

    @property
    def held(self) -> bool:
        """Whether this very object holds the lock."""
        return self._fd >= 0

    def acquire(self, *, shared: bool = False) -> None:
        """Wait for the lock, without limit: holders are short, and a dead one holds nothing."""
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def release(self) -> None:
        """Give the lock back; without effect when it is not held."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            # Said aloud, because a process forked by another thread may still share this descriptor.
            fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)


@contextmanager
def locked(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock on `path` for the length of a block; `shared` with all who share it."""
    lock = Lock(path)
    lock.acquire(shared=shared)
    try:
        yield
    finally:
        lock.release()


def claim(path: Path) -> int:
    """Make a new file that is locked from its first moment; returns its descriptor, open for writing.

    FileExistsError when the name is taken, FileNotFoundError when a cleaner removed it in between.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    if os.fstat(fd).st_nlink == 0:
        os.close(fd)
        raise FileNotFoundError(path)
    return fd


def try_claim(path: Path) -> int | None:
    """The descriptor of an existing file whose owner is dead, locked; None while its owner lives."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    if not try_lock(fd):
        os.close(fd)
        return None
    return fd


def try_lock(fd: int) -> bool:
    """Lock an open file until it is closed; False while another holds it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
