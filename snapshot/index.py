"""The index of a store: which object lies where. The only module that speaks SQL.

Write-ahead log, `synchronous=FULL`: a commit is one fsync and is durable. Every writer holds the store's
`flock` first, which is fair (SQLite's busy handler is not) and keeps a checkpoint from ever running beside a
writer (the defect of SQLite 3.7.0 to 3.51.2, https://sqlite.org/wal.html#walresetbug). Intake take no lock.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from onrecord.snapshot.errors import StoreError, disk_full, shown
from onrecord.snapshot.layout import Layout, Place
from onrecord.snapshot.locks import locked

__all__ = ["Index", "Place"]

_APPLICATION_ID = 0x4F4E534F
_VERSION = 1
_BATCH = 500
_CHECKPOINT_FROM = 16 << 20
_BUSY_SECONDS = 60

_SCHEMA = (
    "CREATE TABLE packs(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, bytes INTEGER NOT NULL) STRICT",
    """CREATE TABLE objects(digest BLOB PRIMARY KEY CHECK(length(digest) = 32),
    size INTEGER NOT NULL, encoding INTEGER NOT NULL,
    pack INTEGER REFERENCES packs(id), offset INTEGER NOT NULL, kept INTEGER NOT NULL) STRICT, WITHOUT ROWID""",
    "CREATE INDEX loose_sizes ON objects(size) WHERE pack IS NULL",
    "CREATE TABLE facts(name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
)


_open_indexes: weakref.WeakSet[Index] = weakref.WeakSet()
_held_for_fork: list[Index] = []


class Index:
    """One connection to a store's index, shared by the threads of a process, closed before a fork."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._guard = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._pack_names: dict[int, str] = {}
        # Of an index that is read where nothing can be written: what it was when it was opened.
        self._frozen: object = None

    def close(self) -> None:
        """Close the connection; the next use opens another."""
        with self._guard:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def prepare(self) -> None:
        """Make the folder and the index if they are missing."""
        with self.reading():
            pass

    @property
    def identity(self) -> str:
        """A name of this store that changes whenever something known may have gone from it."""
        with self.reading() as connection:
            return str(connection.execute("SELECT value FROM facts WHERE name = 'identity'").fetchone()[0])

    def known(self, digests: Iterable[bytes]) -> set[bytes]:
        """Those of some addresses that the store holds."""
        return {place.digest for place in self.places(digests)}

    def places(self, digests: Iterable[bytes]) -> Iterator[Place]:
        """Where objects lie, by batches; addresses that the store lacks are left out."""
        wanted = list(digests)
        for start in range(0, len(wanted), _BATCH):
            batch = wanted[start : start + _BATCH]
            with self.reading() as connection:
                marks = ",".join("?" * len(batch))
                rows = connection.execute(
                    f"SELECT digest, size, encoding, pack, offset, kept FROM objects WHERE digest IN ({marks})",  # noqa: S608
                    batch,
                ).fetchall()
            yield from map(Place._make, rows)

    def all_places(self) -> Iterator[list[Place]]:
        """Every object, in pages ordered by address, each page read in a short transaction of its own."""
        last = b""
        while True:
            with self.reading() as connection:
                rows = connection.execute(
                    "SELECT digest, size, encoding, pack, offset, kept FROM objects"
                    " WHERE digest > ? ORDER BY digest LIMIT 5000",
                    (last,),
                ).fetchall()
            if not rows:
                return
            yield [Place._make(row) for row in rows]
            last = rows[-1][0]

    def has_loose_of(self, size: int) -> bool:
        """Whether some loose object has this size in bytes."""
        with self.reading() as connection:
            found = connection.execute(
                "SELECT 1 FROM objects WHERE pack IS NULL AND size = ? LIMIT 1", (size,)
            ).fetchone()
        return found is not None

    def pack_name(self, pack: int) -> str | None:
        """The name of a pack, None when there is no such pack."""
        if pack not in self._pack_names:
            with self.reading() as connection:
                self._pack_names.update(connection.execute("SELECT id, name FROM packs"))
        return self._pack_names.get(pack)

    def forget_names(self) -> None:
        """Ask for the names of packs again: a pack may have been replaced by another process."""
        self._pack_names = {}

    def pack_exists(self, name: str) -> bool:
        """Whether a pack of this name is visible."""
        with self.reading() as connection:
            return connection.execute("SELECT 1 FROM packs WHERE name = ?", (name,)).fetchone() is not None

    def add_pack(self, connection: sqlite3.Connection, name: str, size: int) -> int:
        """Record a pack of `size` bytes inside a `writing` block; returns its id."""
        return int(connection.execute("INSERT INTO packs(name, bytes) VALUES (?, ?)", (name, size)).lastrowid or 0)

    def add(self, connection: sqlite3.Connection, places: Sequence[Place]) -> None:
        """Record objects inside a `writing` block; in order of address, which is how the table lies."""
        connection.executemany("INSERT OR IGNORE INTO objects VALUES (?, ?, ?, ?, ?, ?)", sorted(places))

    def in_pack(self, pack: int) -> list[Place]:
        """Every object of a pack, in the order in which they lie."""
        with self.reading() as connection:
            rows = connection.execute(
                "SELECT digest, size, encoding, pack, offset, kept FROM objects WHERE pack = ? ORDER BY offset", (pack,)
            ).fetchall()
        return [Place._make(row) for row in rows]

    def kept_as(self, encoding: int) -> list[Place]:
        """Every object that is kept in an encoding; looks at the whole index."""
        with self.reading() as connection:
            rows = connection.execute(
                "SELECT digest, size, encoding, pack, offset, kept FROM objects WHERE encoding = ?", (encoding,)
            ).fetchall()
        return [Place._make(row) for row in rows]

    def remove(self, connection: sqlite3.Connection, digests: Iterable[bytes], packs: Iterable[int]) -> None:
        """Forget objects, and packs that hold none, inside a `writing` block; the store is another one then."""
        connection.executemany("DELETE FROM objects WHERE digest = ?", [(digest,) for digest in digests])
        connection.executemany("DELETE FROM packs WHERE id = ?", [(pack,) for pack in packs])
        connection.execute("UPDATE facts SET value = ? WHERE name = 'identity'", (os.urandom(16).hex(),))

    def move(self, connection: sqlite3.Connection, places: Iterable[Place]) -> None:
        """Record where objects that are known lie now, inside a `writing` block."""
        connection.executemany(
            "UPDATE objects SET pack = ?, offset = ? WHERE digest = ?",
            [(place.pack, place.offset, place.digest) for place in places],
        )

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection for one short read."""
        with self._guard, self._clear_errors():
            yield self._connected()

    @contextmanager
    def excluding_writers(self) -> Iterator[None]:
        """Hold the store's lock without writing; the guard comes first, as in `writing`, or two threads deadlock."""
        with self._guard, self._clear_errors():
            self._connected()
            with locked(self._layout.lock):
                yield

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One durable transaction: on return it is on disk, on an error nothing of it is."""
        with self._guard, self._clear_errors():
            connection = self._connected()
            with locked(self._layout.lock):
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
                self._checkpoint(connection)

    def empty_log(self) -> None:
        """Move the log into the file and cut it to nothing, as far as no reader is in the way."""
        with self.excluding_writers(), self.reading() as connection:
            connection.execute("PRAGMA busy_timeout = 0")
            try:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                connection.execute(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000}")

    def _checkpoint(self, connection: sqlite3.Connection) -> None:
        log = self._layout.index.with_name(self._layout.index.name + "-wal")
        try:
            large = log.stat().st_size >= _CHECKPOINT_FROM
        except FileNotFoundError:
            return
        if large:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def _connected(self) -> sqlite3.Connection:
        if self._frozen is not None and self._frozen != self._look():
            # `immutable` promised SQLite that nobody writes; someone has since.
            self.close()
        if self._connection is None:
            self._connection = self._connect()
            _open_indexes.add(self)
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        connection = self._opened()
        try:
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA wal_autocheckpoint=0")
            if _version(connection) == 0:
                with locked(self._layout.lock):
                    _create(connection)
            self._check_version(_version(connection))
            if connection.execute("SELECT value FROM facts WHERE name = 'identity'").fetchone() is None:
                raise self._unusable("its index is damaged: it has no identity")
        except BaseException:
            connection.close()
            raise
        return connection

    def _opened(self) -> sqlite3.Connection:
        index, self._frozen = self._layout.index, None
        place, as_uri = str(index), False
        if index.exists() and not (os.access(index, os.W_OK) and os.access(index.parent, os.W_OK)):
            # There is no room for the log's own index; without a log nothing is hidden in one.
            state = self._look()
            self._frozen = None if state[-1] else state
            place, as_uri = f"{index.absolute().as_uri()}?mode=ro{'' if state[-1] else '&immutable=1'}", True
        else:
            self._layout.make()
        return sqlite3.connect(place, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False, uri=as_uri)

    def _look(self) -> tuple[int, int, int, bool]:
        index = self._layout.index
        state = index.stat()
        return state.st_ino, state.st_size, state.st_mtime_ns, index.with_name(f"{index.name}-wal").exists()

    def _check_version(self, version: int) -> None:
        if version != _VERSION:
            raise StoreError(
                f"the store {shown(self._layout.folder)} has format {version}; this version knows {_VERSION}",
                why="it was written by a newer onrecord",
                next_step="pip install --upgrade onrecord",
                folder=shown(self._layout.folder),
            )

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                raise disk_full(self._layout.folder) from error
            raise self._unusable(str(error)) from error
        except (PermissionError, UnicodeDecodeError) as error:
            # A damaged file: text in it, or in what SQLite says of it, is not UTF-8.
            raise self._unusable(str(error)) from error

    def _unusable(self, why: str) -> StoreError:
        place = shown(self._layout.folder)
        return StoreError(
            f"the store of objects in {place} cannot be used",
            why=why,
            next_step=f"look at the rights of {place} (ls -ld), or bring it back from a backup if it is damaged",
            folder=place,
        )


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _create(connection: sqlite3.Connection) -> None:
    if _version(connection) != 0:
        return
    connection.execute("PRAGMA journal_mode=WAL").fetchone()
    connection.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA:
        connection.execute(statement)
    connection.execute("INSERT INTO facts VALUES ('identity', ?)", (os.urandom(16).hex(),))
    connection.execute(f"PRAGMA application_id={_APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version={_VERSION}")
    connection.execute("COMMIT")


def _before_fork() -> None:
    # A child that opened its own connection beside one it inherited would drop the parent's locks.
    for index in list(_open_indexes):
        index._guard.acquire()
        _held_for_fork.append(index)
        index.close()


def _after_fork() -> None:
    while _held_for_fork:
        _held_for_fork.pop()._guard.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
