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
import threading
from contextlib import AbstractContextManager
from pathlib import Path

from onrecord.errors import OnRecordError
from onrecord.ledger import problems
from onrecord.ledger.errors import LedgerDamaged, LedgerFull, LedgerLost, LedgerReadOnly
from onrecord.ledger.lock import WriterLock
from onrecord.ledger.log import Log
from onrecord.ledger.mounts import network_file_system
from onrecord.ledger.readers import Readers
from onrecord.ledger.schema import APPLICATION_ID, PROJECTION_VERSIONS, VERSION

# At most, and only as far as it is used: searches among 100,000 runs look at some 50 MB of indexes again and again.
_CACHE_KIB = 65_536


class Database:
    """Connections to one ledger file: one to write with, and readers.

    Only `reading`, `shared` and `log.sync` are for several threads at once; nothing is open across a fork.
    `read_only`: whether this user cannot write the file, or (given) is not to touch it.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        # A relative path must not lead elsewhere after a chdir.
        self.path = path = path.absolute()
        self.lock = WriterLock(path.with_name(path.name + "-lock"))
        self.log = Log(path)
        self.read_only = read_only
        # The schema's version where a later onrecord made the file.
        self.newer: int | None = None
        # The network file system that the file is on, as the kernel names it.
        self.network: str | None = None
        # Whether there was no room to write, and so it is only read until somebody writes or closes it.
        self.without_room = False
        # Whether readers may have connections of their own.
        self.shared = False
        self._asked_read_only = read_only
        self._readers = Readers(self._connect_reader)
        self._connection: sqlite3.Connection | None = None
        self._unused: list[sqlite3.Connection] = []
        self._frozen: object = None

    def __del__(self) -> None:
        # The descriptors are ours to close; sqlite3 would close its connection by itself.
        self.close()

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection to write with, or to do all with where not `shared`; made on first use."""
        if self._frozen is not None and self._frozen != self._look():
            # `immutable` promised SQLite that nobody writes; someone has since.
            self.close()
        self.open()
        if self._connection is None:
            self._connection = self._taken_or_made()
        return self._connection

    def writable(self) -> sqlite3.Connection:
        """The connection, or the reason why this ledger cannot be written."""
        if self.without_room:
            self.close()
        connection = self.connection
        if self.without_room:
            raise problems.no_room(self.path)
        if self.newer is not None:
            raise problems.newer(self.path, self.newer)
        if self.network is not None:
            raise problems.on_network(self.path, self.network)
        if self.read_only:
            raise problems.read_only(self.path, "the file or its folder is read-only for this user")
        return connection

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """A connection that can only read and that no other thread has, for one short read; where `shared`."""
        return self._readers.one()

    def reader(self) -> sqlite3.Connection:
        """Another connection, which shows only what is in the open file; the caller closes it."""
        if not self.read_only or self.newer is not None:
            return _connect(self.path, "rw")
        return _connect(self.path, "ro", "" if self._frozen is None else "&immutable=1")

    def open(self) -> None:
        """Find out what the file is, and create or migrate it where it needs it; the first use does so."""
        if self._connection is not None or self.shared:
            return
        try:
            connection = self._examined_with_room_or_without()
        except (sqlite3.Error, OSError, UnicodeDecodeError) as problem:
            if getattr(problem, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
                # Our own SQL is right for every file that is recognised.
                raise problems.misshapen(self.path, problem) from problem
            raise problems.explained(self.path, problem) from problem
        self.log.opened()
        # Whichever is asked for first, the writer or a reader, gets it: a list of runs opens the file once.
        self._unused.append(connection)
        self.shared = not self.read_only
        if not self.shared:
            self._connection = self._unused.pop()

    def retreat(self) -> None:
        """Go on with reading alone, where there is no room to write."""
        self.close()
        self.without_room = True

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
        """Bring every committed transaction to the disk. Raises LedgerLost and LedgerDamaged."""
        self.log.sync()

    def checkpoint(self) -> None:
        """Move the write-ahead log into the database file, guarded. The caller holds the writers' lock.

        One that fails (a full disk, a reader in the way) loses nothing and is made up for by the next:
        the events are committed, and their append must not read as refused.
        """
        if self.log.is_lost():
            return  # The guard would hold one file and the worker move another; the next sync reports it.
        guard, worker = self.connection, None
        try:
            worker = _connect(self.path, "rw")
            guard.execute("BEGIN IMMEDIATE")
            if self.log.unflushed:
                # Pages must not reach the database before the log does.
                self.log.write_again()
                self.log.sync()
            worker.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.OperationalError as problem:
            self.log.unflushed |= getattr(problem, "sqlite_errorcode", None) == sqlite3.SQLITE_IOERR_FSYNC
        except (LedgerDamaged, LedgerLost):
            pass  # The next durable append says so.
        finally:
            if guard.in_transaction:
                guard.execute("ROLLBACK")
            if worker is not None:
                worker.close()

    def empty_log(self) -> bool:
        """Move the whole log into the database file and cut it to nothing; False while a reader is in the way.

        The caller holds the writers' lock. TRUNCATE holds SQLite's write lock itself, and degrades to an unguarded
        checkpoint only where it cannot have it, which the guarded one before it has left nothing to do.
        """
        self.checkpoint()
        if self.log.is_lost():
            raise problems.lost(self.path)
        if self.log.unflushed:
            return False  # Pages must not reach the database before the log does.
        worker = _connect(self.path, "rw")
        try:
            worker.execute("PRAGMA busy_timeout = 0")
            return bool(worker.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0)
        except sqlite3.OperationalError as problem:
            if problem.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                return False
            raise
        finally:
            worker.close()

    def close(self) -> None:
        """Close everything; the next use opens it again, and looks again whether it can be written."""
        self.shared = False
        # First, so that a flush in another thread does not take a log that SQLite removes for one that was lost.
        self.log.close()
        self._readers.close()
        while self._unused:
            self._unused.pop().close()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self.lock.close()
        self.without_room = False
        self.read_only, self.newer, self.network, self._frozen = self._asked_read_only, None, None, None

    def hold(self) -> None:
        """Close everything, and let no thread open it before `release` (or, in a child, `forget`)."""
        self._readers.hold()
        self.log.lock.acquire()
        self.close()

    def release(self) -> None:
        """Let threads use it again."""
        self.log.lock.release()
        self._readers.release()

    def forget(self) -> None:
        """Let threads use it again, in the child of a fork."""
        self.log.lock = threading.RLock()
        self._readers.forget()

    def _taken_or_made(self) -> sqlite3.Connection:
        try:
            return self._unused.pop()
        except IndexError:
            if self.log.is_lost():
                raise problems.lost(self.path) from None
            return self._configured(_connect(self.path, "rw"))

    def _connect_reader(self) -> sqlite3.Connection:
        connection = self._taken_or_made()
        connection.execute("PRAGMA query_only = 1")
        return connection

    def _examined_with_room_or_without(self) -> sqlite3.Connection:
        try:
            return self._examined()
        except (sqlite3.Error, OSError) as problem:
            # What SQLite needs beside the file to write it, it makes when the file is opened.
            if self.without_room or not isinstance(problems.explained(self.path, problem), LedgerFull):
                raise
            self.without_room = True
            try:
                return self._examined()
            except (sqlite3.Error, OSError, OnRecordError):
                # It is not whole yet: there was no room to make it.
                self.without_room = self.read_only = False
                raise problem from None

    def _examined(self) -> sqlite3.Connection:
        self.newer, self.network = None, network_file_system(self.path)
        if self.network is not None:
            refuse_network(self.path)
        self.read_only = (
            self._asked_read_only or self.without_room or self.network is not None or not _may_write(self.path)
        )
        connection = self._connect_read_only() if self.read_only else _connect(self.path, "rwc")
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
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
        self._configured(connection)

    def _configured(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        # A log that has grown past the limit is cut back when it is used again from its start.
        connection.execute(f"PRAGMA journal_size_limit = {self.log.limit - 1}")
        return connection

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
        # One look: a log that comes up between two would be neither read nor missed.
        looked = self._look()
        if looked[-1]:
            return _connect(self.path, "ro")
        # A folder that cannot be written has no room for -shm; without a -wal nothing is hidden in it.
        self._frozen = looked
        return _connect(self.path, "ro", "&immutable=1")

    def _look(self) -> tuple[int, int, int, bool]:
        state = self.path.stat()
        return state.st_ino, state.st_size, state.st_mtime_ns, _has_content(self.log.path)


def refuse_network(path: Path) -> None:
    """Make no ledger where it could only be read. Raises LedgerOnNetwork."""
    network = network_file_system(path)
    if network is not None and not path.exists():
        raise problems.on_network(path, network)


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


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def _is_ready(connection: sqlite3.Connection, version: int) -> bool:
    return version == VERSION and _has_log(connection) and has_current_models(connection)


def _has_log(connection: sqlite3.Connection) -> bool:
    # A backup (VACUUM INTO) comes without the log, and then there is nothing that sync() could bring to the disk.
    return bool(connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal")
