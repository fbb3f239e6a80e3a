"""The one SQLite file: how it is opened, recognised, migrated, and brought safely to the disk.

Traps that shape this module (https://sqlite.org/howtocorrupt.html, https://sqlite.org/wal.html):
the database file is never opened by hand, because closing any descriptor of it drops SQLite's own
locks; checkpoints run only here, while a second connection holds the write lock, because SQLite
before 3.51.3 can lose a file to an unguarded one; no connection crosses a fork.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from onrecord.ledger.errors import (
    LedgerBusy,
    LedgerDamaged,
    LedgerFull,
    LedgerLost,
    LedgerReadOnly,
    NewerLedger,
    NotALedger,
)
from onrecord.ledger.lock import WriterLock
from onrecord.ledger.schema import APPLICATION_ID, VERSION

# Only a foreign program can hold the write lock against the holder of ours.
BUSY_SECONDS = 30.0


class Database:
    """Connections to one ledger file. Not for use by two threads at once, nor across a fork."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = WriterLock(path.with_name(path.name + "-lock"))
        self.read_only = False
        self._connection: sqlite3.Connection | None = None
        self._wal = -1

    @property
    def connection(self) -> sqlite3.Connection:
        """The open connection, made on first use; the file is created or migrated when it needs it."""
        if self._connection is None:
            self._connection = self._open()
        return self._connection

    def writable(self) -> sqlite3.Connection:
        """The connection, or the reason why this ledger cannot be written."""
        connection = self.connection
        if self.read_only:
            self._refuse_to_write(connection)
        return connection

    def sync(self) -> None:
        """Bring every committed transaction to the disk (fdatasync of the write-ahead log)."""
        try:
            if self._wal < 0:
                self._open_wal()
            _fdatasync(self._wal)
        except OSError as problem:
            raise explained(self.path, problem) from problem
        if os.fstat(self._wal).st_nlink == 0:
            raise LedgerLost(
                f"{self.path} was removed or replaced while it was open",
                why="another program deleted the ledger or its -wal file; the last events are not on the disk",
                next_step="put the workspace folder back, then: onrecord verify",
                path=self.path,
            )

    def checkpoint(self) -> None:
        """Move the write-ahead log into the database file, guarded. The caller holds the writers' lock."""
        guard, worker = self.connection, _connect(self.path)
        try:
            guard.execute("BEGIN IMMEDIATE")
            worker.execute("PRAGMA wal_checkpoint(PASSIVE)")
        finally:
            if guard.in_transaction:
                guard.execute("ROLLBACK")
            worker.close()

    def close(self) -> None:
        """Close everything; the next use opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._wal >= 0:
            os.close(self._wal)
            self._wal = -1
        self.lock.close()

    def _open(self) -> sqlite3.Connection:
        try:
            if not _may_write(self.path):
                return self._open_read_only()
            connection = _connect(self.path)
            try:
                return self._recognised(connection)
            except BaseException:
                connection.close()
                raise
        except (sqlite3.Error, OSError) as problem:
            raise explained(self.path, problem) from problem

    def _recognised(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        version = recognise(self.path, connection)
        if version > VERSION:
            self.read_only = True
            connection.execute("PRAGMA query_only = 1")
        elif version < VERSION:
            self._migrate(connection)
        if not self.read_only:
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        from onrecord.ledger.migrations import migrate

        with self.lock:
            if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
                raise LedgerReadOnly(
                    f"{self.path} cannot use a write-ahead log here",
                    why="its file system offers no shared memory (a network folder?)",
                    next_step="keep the workspace on a local disk: onrecord init DIRECTORY",
                    path=self.path,
                )
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            connection.execute("BEGIN IMMEDIATE")
            try:
                if recognise(self.path, connection) < VERSION:
                    migrate(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _open_read_only(self) -> sqlite3.Connection:
        self.read_only = True
        uri = self.path.absolute().as_uri()
        # A folder that cannot be written has no room for -shm; without a -wal nothing is hidden in it.
        mode = "mode=ro" if Path(f"{self.path}-wal").exists() else "immutable=1"
        connection = sqlite3.connect(f"{uri}?{mode}", uri=True, isolation_level=None, check_same_thread=False)
        recognise(self.path, connection)
        return connection

    def _refuse_to_write(self, connection: sqlite3.Connection) -> NoReturn:
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found > VERSION:
            raise NewerLedger(
                f"{self.path} was written by a later onrecord",
                why=f"its schema is version {found}; this onrecord writes up to version {VERSION}",
                next_step="pip install --upgrade onrecord   (reading works as it is)",
                path=self.path,
                found=found,
                known=VERSION,
            )
        raise LedgerReadOnly(
            f"{self.path} cannot be written",
            why="the file or its folder is read-only for this user",
            next_step=f"chmod -R u+w {self.path.parent}   (reading works as it is)",
            path=self.path,
        )

    def _open_wal(self) -> None:
        self._wal = os.open(f"{self.path}-wal", os.O_RDWR | os.O_CLOEXEC)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def recognise(path: Path, connection: sqlite3.Connection) -> int:
    """The schema version of a ledger, 0 of an empty file. Raises NotALedger for another program's file."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION_ID and (
        application or connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    ):
        raise NotALedger(
            f"{path} is not an onrecord ledger",
            why="it is an SQLite file of another program",
            next_step="onrecord init in a folder without a .onrecord",
            path=path,
        )
    return version


def explained(path: Path, problem: Exception) -> Exception:
    """The ledger's own error for what SQLite or the operating system said; others come back as they are."""
    text = str(problem)
    number = getattr(problem, "errno", None)
    if "disk is full" in text or number in (28, 122):
        return LedgerFull(
            f"no room to write {path}",
            why="the disk is full; nothing of this call was recorded, everything before it is safe",
            next_step="free some space, then repeat the command",
            path=path,
        )
    if "locked" in text or "busy" in text:
        return LedgerBusy(
            f"{path} is held by another program",
            why=f"a program other than onrecord kept its write lock for {BUSY_SECONDS:g} seconds",
            next_step=f"close it (fuser {path} names it), then repeat the command",
            path=path,
            waited=BUSY_SECONDS,
        )
    if "readonly" in text or number in (13, 30):
        return LedgerReadOnly(
            f"{path} cannot be written",
            why=text,
            next_step=f"chmod -R u+w {path.parent}",
            path=path,
        )
    if "not a database" in text:
        return NotALedger(f"{path} is not an onrecord ledger", why="it is not an SQLite file", path=path)
    if isinstance(problem, sqlite3.OperationalError | sqlite3.DatabaseError | OSError) and not isinstance(
        problem, sqlite3.IntegrityError
    ):
        return LedgerDamaged(
            f"{path} cannot be read or written: {text}",
            why="the file is damaged, or the disk reports an error",
            next_step="onrecord verify",
            path=path,
        )
    return problem


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def _may_write(path: Path) -> bool:
    return os.access(path.parent, os.W_OK) and (not path.exists() or os.access(path, os.W_OK))


# macOS keeps fsync'd data in the drive's cache; only F_FULLFSYNC brings it to the disk.
def _full_fsync(fd: int) -> None:
    import fcntl

    fcntl.fcntl(fd, 51)


_fdatasync: Callable[[int], None] = getattr(os, "fdatasync", _full_fsync)
