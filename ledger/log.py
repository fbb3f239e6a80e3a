"""The write-ahead log beside the database: brought to the disk, and watched for growing or being taken away.

Nothing here opens the database file itself (that would drop SQLite's locks); SQLite locks the database
and its -shm, never the log.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from onrecord.ledger import problems

# 2,600 appends of one event; many fewer of large chunks.
LIMIT = 32 * 2**20
# Between two looks at its size, in bytes of events.
_LOOK = 2**20
_Identity = tuple[int, int] | None


class Log:
    """The log of one database. `sync` is for every thread; the rest is for the one that writes.

    `limit`: the size, in bytes, at which it should be moved into the database.
    """

    limit = LIMIT

    def __init__(self, database: Path) -> None:
        self.path = Path(f"{database}-wal")
        # Held while the disk is waited for, and by whoever closes: never taken before the journal's mutex.
        self.lock = threading.RLock()
        self._database = database
        self._names = (os.fspath(database), os.fspath(self.path))
        self._identities: tuple[_Identity, _Identity] = (None, None)
        # A flush failed: the kernel takes its pages for clean, and would say yes to the next one.
        self.unflushed = False
        self._in_use = False
        self._fd = -1
        self._written = self._safe = self._size = self._unseen = 0

    def opened(self) -> None:
        """The database has been opened: from now on its files must stay the ones that they are."""
        with self.lock:
            self._identities = (_identity(self._names[0]), _identity(self._names[1]))
            self._in_use = True
            self._written = self._safe = self._size = self._unseen = 0

    def written(self, seq: int, size: int) -> bool:
        """Note that events up to `seq` are committed, `size` bytes; whether the log has grown past another `limit`."""
        self._written = seq
        self._unseen += size
        if self._unseen < min(_LOOK, self.limit // 4):
            return False
        self._unseen = 0
        try:
            before, self._size = self._size, os.stat(self._names[1]).st_size  # noqa: PTH116
        except FileNotFoundError:
            return False  # The next sync says so.
        return before // self.limit < self._size // self.limit

    def sync(self, seq: int | None = None) -> None:
        """Return when the committed event `seq`, or all that is committed, is on the disk (fdatasync of the log).

        One flush serves all threads whose events were committed before it began. Raises LedgerLost where
        the path no longer leads to the open file (the next process would not see these events), LedgerDamaged
        where the disk does not confirm them.
        """
        with self.lock:
            if seq is not None and seq <= self._safe:
                return
            covered = self._written
            try:
                self._flush()
            except OSError as problem:
                raise problems.unconfirmed(self._database, str(problem)) from problem
            self._safe = max(covered, seq or 0)

    def write_again(self) -> None:
        """After a flush that failed: write the same bytes, so that the kernel has something to flush.

        The caller holds the writers' lock, and SQLite's for programs that do not know ours: nobody else writes to
        the log meanwhile. Raises LedgerLost, LedgerDamaged.
        """
        with self.lock:
            try:
                if self._fd < 0 and not self._open():
                    return
                at = 0
                while piece := os.pread(self._fd, 1 << 20, at):
                    at += os.pwrite(self._fd, piece, at)
            except OSError as problem:
                raise problems.unconfirmed(self._database, str(problem)) from problem

    def is_lost(self) -> bool:
        """Whether the path no longer leads to the database that was opened."""
        # stat() does not open the file, so it drops no lock.
        return _identity(self._names[0]) != self._identities[0]

    def close(self) -> None:
        """Let go of the file; `sync` goes on to work, for events that were committed before."""
        with self.lock:
            self._in_use = False
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def _flush(self) -> None:
        if self._fd < 0 and not self._open():
            return
        try:
            _fdatasync(self._fd)
        except OSError:
            self.unflushed = True
            raise
        self.unflushed = False
        now = os.fstat(self._fd)
        replaced = now.st_nlink == 0 or (now.st_dev, now.st_ino) != self._identities[1]
        if not self._in_use:
            # Closed by a fork or another thread since the commit: a log that is there now belongs to others.
            self.close()
            replaced = False
        if replaced or self.is_lost():
            raise problems.lost(self._database)

    def _open(self) -> bool:
        try:
            self._fd = os.open(self._names[1], os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            if not self._in_use and not self.is_lost():
                return False  # The last connection was closed, and SQLite brought everything to the disk.
            raise problems.lost(self._database) from None
        try:
            folder = os.open(self._database.parent, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError:
            # Or the next flush would take the folder for flushed.
            os.close(self._fd)
            self._fd = -1
            raise
        return True


def _identity(path: str) -> _Identity:
    try:
        state = os.stat(path)  # noqa: PTH116 - a Path costs as much as the call
    except OSError:
        return None
    return state.st_dev, state.st_ino


# macOS keeps fsync'd data in the drive's cache; only F_FULLFSYNC brings it to the disk.
def _full_fsync(fd: int) -> None:
    import fcntl

    fcntl.fcntl(fd, 51)


_fdatasync: Callable[[int], None] = getattr(os, "fdatasync", _full_fsync)
