"""The one SQLite file: how it is opened, recognised, migrated, and brought safely to the disk.

Traps that shape this module (https://sqlite.org/howtocorrupt.html, https://sqlite.org/wal.html):
the database file is never opened by hand, because closing any descriptor of it drops SQLite's own
locks; checkpoints run only here, while a second connection holds the write lock, because SQLite
before 3.51.3 can lose a file to an unguarded one (the one that SQLite itself makes when the last
connection closes holds an exclusive lock); no connection crosses a fork.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from onrecord.ledger import problems
from onrecord.ledger.errors import LedgerReadOnly
from onrecord.ledger.lock import WriterLock
from onrecord.ledger.schema import APPLICATION_ID, PROJECTION_VERSIONS, VERSION

_Identity = tuple[int, int] | None


class Database:
    """Connections to one ledger file. Not for use by two threads at once, nor across a fork."""

    def __init__(self, path: Path) -> None:
        # A relative path must not lead elsewhere after a chdir.
        self.path = path = path.absolute()
        self.lock = WriterLock(path.with_name(path.name + "-lock"))
        self.read_only = False
        # The schema's version where a later onrecord made the file.
        self.newer: int | None = None
        self._wal_path = Path(f"{path}-wal")
        self._connection: sqlite3.Connection | None = None
        self._wal = -1
        # A flush of the log failed: the kernel takes its pages for clean, and would say yes to the next one.
        self._unflushed = False
        self._identities: tuple[_Identity, _Identity] = (None, None)
        self._frozen: object = None

    def __del__(self) -> None:
        # The descriptors are ours to close; sqlite3 would close its connection by itself.
        self.close()

    @property
    def connection(self) -> sqlite3.Connection:
        """The open connection, made on first use; the file is created or migrated when it needs it."""
        if self._frozen is not None and self._frozen != self._look():
            # `immutable` promised SQLite that nobody writes; someone has since.
            self.close()
        if self._connection is None:
            self._connection = self._open()
        return self._connection

    def writable(self) -> sqlite3.Connection:
        """The connection, or the reason why this ledger cannot be written."""
        connection = self.connection
        if self.newer is not None:
            raise problems.newer(self.path, self.newer)
        if self.read_only:
            raise problems.read_only(self.path, "the file or its folder is read-only for this user")
        return connection

    def reader(self) -> sqlite3.Connection:
        """Another connection, which only reads; the caller closes it before it lets go of this database."""
        if self.connection and self._frozen is not None:
            return _connect(self.path, "ro", "&immutable=1")
        return _connect(self.path, "ro")

    def explained(self, problem: Exception) -> Exception:
        """The ledger's own error for a problem with this file."""
        if self.newer is not None and getattr(problem, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
            # A later schema need not have the tables and columns that are asked for here.
            return problems.newer(self.path, self.newer)
        if isinstance(problem, FileNotFoundError):
            # Only what lies beside the open database is opened by name: its folder has gone.
            return problems.lost(self.path)
        return problems.explained(self.path, problem)

    def sync(self) -> None:
        """Bring every committed transaction to the disk (fdatasync of the write-ahead log).

        Raises LedgerLost where the path no longer leads to the open file: the next process would not
        see these events.
        """
        try:
            if self._wal < 0 and not self._open_wal():
                return
            if self._unflushed:
                self._write_log_again_alone()
            self._flush()
            now = os.fstat(self._wal)
        except OSError as problem:
            raise problems.unconfirmed(self.path, str(problem)) from problem
        if now.st_nlink == 0 or (now.st_dev, now.st_ino) != self._identities[1] or self._is_lost():
            raise problems.lost(self.path)

    def checkpoint(self) -> None:
        """Move the write-ahead log into the database file, guarded. The caller holds the writers' lock.

        One that fails (a full disk, a reader in the way) loses nothing and is made up for by the next:
        the events are committed, and their append must not read as refused.
        """
        if self._is_lost():
            return  # The guard would hold one file and the worker move another; the next sync reports it.
        guard, worker = self.connection, None
        try:
            worker = _connect(self.path, "rw")
            guard.execute("BEGIN IMMEDIATE")
            if self._unflushed and (self._wal >= 0 or self._open_wal()):
                # Pages must not reach the database before the log does.
                self._write_log_again()
                self._flush()
            worker.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.OperationalError as problem:
            self._unflushed |= getattr(problem, "sqlite_errorcode", None) == sqlite3.SQLITE_IOERR_FSYNC
        except OSError:
            pass
        finally:
            if guard.in_transaction:
                guard.execute("ROLLBACK")
            if worker is not None:
                worker.close()

    def close(self) -> None:
        """Close everything; the next use opens it again, and looks again whether it can be written."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._wal >= 0:
            os.close(self._wal)
            self._wal = -1
        self.lock.close()
        self.read_only, self.newer, self._frozen = False, None, None

    def _open(self) -> sqlite3.Connection:
        try:
            connection = _connect(self.path, "rwc") if _may_write(self.path) else self._connect_read_only()
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
        except (sqlite3.Error, OSError, UnicodeDecodeError) as problem:
            if getattr(problem, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
                # Our own SQL is right for every file that is recognised.
                raise problems.misshapen(self.path, problem) from problem
            raise problems.explained(self.path, problem) from problem
        self._identities = (_identity(self.path), _identity(self._wal_path))
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        version = recognise(self.path, connection)
        if version > VERSION:
            self.read_only, self.newer = True, version
            connection.execute("PRAGMA query_only = 1")
        elif self.read_only and version == 0:
            raise problems.no_ledger(self.path, "it is empty, and its folder cannot be written")
        elif self.read_only and not has_current_models(connection):
            from onrecord.ledger.shadow import hide_stored

            hide_stored(connection)
        elif not self.read_only and not _is_ready(connection, version):
            self._make_ready(connection)
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("PRAGMA synchronous = NORMAL")

    def _make_ready(self, connection: sqlite3.Connection) -> None:
        with self.lock:
            if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
                raise LedgerReadOnly(
                    f"{self.path} cannot use a write-ahead log here",
                    why="its file system offers no shared memory (a network folder?)",
                    next_step="keep the workspace on a local disk: onrecord init DIRECTORY",
                    path=self.path,
                )
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            try:
                connection.execute("BEGIN IMMEDIATE")
                if recognise(self.path, connection) < VERSION:
                    from onrecord.ledger.migrations import migrate

                    migrate(connection)
                if not has_current_models(connection):
                    from onrecord.ledger.replay import make_current

                    make_current(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _connect_read_only(self) -> sqlite3.Connection:
        if not self.path.parent.is_dir():
            raise problems.no_ledger(self.path, f"there is no folder {self.path.parent}")
        if not self.path.exists():
            raise problems.read_only(self.path, "there is no ledger yet, and the folder is read-only for this user")
        self.read_only = True
        if self._wal_path.exists():
            return _connect(self.path, "ro")
        # A folder that cannot be written has no room for -shm; without a -wal nothing is hidden in it.
        self._frozen = self._look()
        return _connect(self.path, "ro", "&immutable=1")

    def _look(self) -> object:
        state = self.path.stat()
        return state.st_ino, state.st_size, state.st_mtime_ns, self._wal_path.exists()

    def _open_wal(self) -> bool:
        # Closing this descriptor is harmless: SQLite locks the database and -shm, never -wal.
        try:
            self._wal = os.open(self._wal_path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            if self._connection is None and not self._is_lost():
                return False  # A fork closed the last connection, and SQLite brought everything to the disk.
            raise problems.lost(self.path) from None
        try:
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError:
            # Or the next flush would take the folder for flushed.
            os.close(self._wal)
            self._wal = -1
            raise
        return True

    def _flush(self) -> None:
        self._unflushed = True
        _fdatasync(self._wal)
        self._unflushed = False

    def _write_log_again_alone(self) -> None:
        connection = self.connection
        with self.lock:
            connection.execute("BEGIN IMMEDIATE")
            try:
                self._write_log_again()
            finally:
                connection.execute("ROLLBACK")

    def _write_log_again(self) -> None:
        # The same bytes, so that the kernel has something to flush. The caller holds the writers' lock, and SQLite's
        # for programs that do not know ours: nobody else writes to the log meanwhile.
        at = 0
        while piece := os.pread(self._wal, 1 << 20, at):
            at += os.pwrite(self._wal, piece, at)

    def _is_lost(self) -> bool:
        # stat() does not open the file, so it drops no lock.
        return _identity(self.path) != self._identities[0]


def recognise(path: Path, connection: sqlite3.Connection) -> int:
    """The schema version of a ledger, 0 of an empty file. Raises NotALedger for another program's file."""
    # One statement sees one moment, also while another process makes the file.
    application, version, tables = connection.execute(
        "SELECT (SELECT * FROM pragma_application_id), (SELECT * FROM pragma_user_version),"
        " (SELECT count(*) FROM sqlite_master)"
    ).fetchone()
    if application != APPLICATION_ID and (application or version or tables):
        raise problems.no_ledger(path, "it is an SQLite file of another program")
    return int(version)


def has_current_models(connection: sqlite3.Connection) -> bool:
    """Whether the read models in the file are those of this onrecord."""
    stored = dict(connection.execute("SELECT name, version FROM projections").fetchall())
    return stored.items() >= PROJECTION_VERSIONS.items()


def _connect(path: Path, mode: str, more: str = "") -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode={mode}{more}",
        uri=True,
        timeout=problems.BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def _may_write(path: Path) -> bool:
    return os.access(path.parent, os.W_OK) and (not path.exists() or os.access(path, os.W_OK))


def _is_ready(connection: sqlite3.Connection, version: int) -> bool:
    return version == VERSION and _has_log(connection) and has_current_models(connection)


def _has_log(connection: sqlite3.Connection) -> bool:
    # A backup (VACUUM INTO) comes without the log, and then there is nothing that sync() could bring to the disk.
    return bool(connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal")


def _identity(path: Path) -> _Identity:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino


# macOS keeps fsync'd data in the drive's cache; only F_FULLFSYNC brings it to the disk.
def _full_fsync(fd: int) -> None:
    import fcntl

    fcntl.fcntl(fd, 51)


_fdatasync: Callable[[int], None] = getattr(os, "fdatasync", _full_fsync)
