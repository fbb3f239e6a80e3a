"""The writers' queue: one advisory lock on a file beside the database.

SQLite's own busy handler sleeps and retries, which starves a writer beside a busy neighbour (1.2 s
for one append); flock wakes its waiters in turn. The kernel releases it when its holder dies.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType


class WriterLock:
    """`with WriterLock(path):` waits for its turn, however long that takes. Not re-entrant."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1

    def __enter__(self) -> WriterLock:
        if self._fd < 0:
            # Reading is enough for flock: another user's lock file, 0644, can be waited for too.
            self._fd = os.open(self.path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX)
        except BaseException:
            # Ctrl-C may arrive when the lock is already ours, and then no `with` would let it go.
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def _release(self) -> None:
        # Closed by a fork in the middle: then it is released already.
        if self._fd >= 0:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the file. The lock opens it again when it is next used."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
