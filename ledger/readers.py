"""Connections for reading, so that a thread that reads never waits for one that appends.

As many as threads read at the same moment: a thread that ends leaves none behind, and a thread that reads
now and then needs none of its own.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# So many stay open between reads; those beyond them were for a crowd.
KEPT = 4


class _Reader:
    """A connection and who has it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.connection: sqlite3.Connection | None = None

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None


class Readers:
    """The readers of one database; `connect` opens a connection."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        # Held from before a fork until after it, and while a reader is added.
        self._gate = threading.RLock()
        self._readers: list[_Reader] = []

    @contextmanager
    def one(self) -> Iterator[sqlite3.Connection]:
        """A connection that no other thread has; do not keep it. A fork of this very thread closes it."""
        reader = self._free()
        try:
            if reader.connection is None:
                reader.connection = self._connect()
            yield reader.connection
        finally:
            if reader not in self._readers[:KEPT]:
                reader.close()
            reader.lock.release()

    def _free(self) -> _Reader:
        for reader in self._readers:
            if reader.lock.acquire(blocking=False):
                return reader
        with self._gate:
            reader = _Reader()
            reader.lock.acquire()
            self._readers.append(reader)
            return reader

    def close(self) -> None:
        """Close each connection when its read has ended; the next read opens one again."""
        for reader in self._readers:
            with reader.lock:
                reader.close()

    def hold(self) -> None:
        """Close all, and let no one read before `release`."""
        self._gate.acquire()
        for reader in self._readers:
            reader.lock.acquire()
            reader.close()

    def release(self) -> None:
        """Let threads read again."""
        for reader in self._readers:
            reader.lock.release()
        self._gate.release()

    def forget(self) -> None:
        """Start anew in the child of a fork, where the threads that hold or await the locks are not."""
        self._gate = threading.RLock()
        self._readers = []
