"""Append and read: the only writer of `events`.

flock -> BEGIN IMMEDIATE -> heads and transition table -> INSERT, hot projection -> COMMIT -> unlock
-> one fdatasync where the event's class asks for it -> acknowledge. Syncing after the lock is let
go lets writers share the disk's flushes (7 times `synchronous=FULL` with 8 writers).
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onrecord.ledger.db import Database
from onrecord.ledger.errors import LedgerDamaged, LedgerFull
from onrecord.ledger.ids import decode as id_bytes
from onrecord.ledger.ids import encode as id_text
from onrecord.ledger.schema import NOT_LAZY

if TYPE_CHECKING:
    # What events are made of is imported by whoever makes or reads them: a list of runs needs none of it,
    # and they would be a third of its time.
    from onrecord.ledger.append import Append, Appended, Prepared
    from onrecord.ledger.events import Event, Unknown
    from onrecord.ledger.recorded import Recorded
    from onrecord.ledger.writing import Writing

# In batches, events take little room: the log is moved after so many, or when it has grown to its limit.
CHECKPOINT_EVERY = 20_000
_BATCH = 2000
_POSITIONS = "SELECT (SELECT coalesce(max(seq), 0) FROM events), min(seq) FROM projections WHERE name NOT IN (?, ?)"


def microseconds_now() -> int:
    """Microseconds since the epoch, UTC."""
    return time.time_ns() // 1000


class Journal:
    """One ledger file, for all threads of this process; safe beside other processes and across fork.

    `clock` gives microseconds since the epoch, `entropy` n random bytes. With `read_only` no file is touched,
    made or locked, as if this user could not write it. `database` stands for the file where it is not shown as it is.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], int] = microseconds_now,
        entropy: Callable[[int], bytes] = os.urandom,
        read_only: bool = False,
        database: Database | None = None,
    ) -> None:
        self.database = database or Database(path, read_only=read_only)
        self._clock = clock
        self._entropy = entropy
        self._append: type[Append] | None = None
        # The connection in which the read models were completed in memory.
        self._shadowed: sqlite3.Connection | None = None
        self._explaining = _Explaining(self.database)
        self._mutex = threading.RLock()
        # Waits for a fork in progress: a journal that it does not know of could open across it.
        with _fork_gate:
            _journals.add(self)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(
        self,
        run_id: str,
        events: Sequence[Event | Unknown],
        *,
        expected: int | None = None,
        seal: bool = False,
    ) -> Appended:
        """Append `events` to a run, all or none, and return when they are as safe as their class asks.

        `expected`: the number of events that the caller believes the run has; StaleVersion otherwise.
        `seal`: add a `run.sealed` over everything up to here, in the same transaction.
        Raises BadEvent, BadRunId, IllegalTransition, UnknownRun, LedgerFull, LedgerReadOnly, NewerLedger; and,
        with the events already in the ledger, LedgerLost and LedgerDamaged when the disk does not confirm them.
        """
        append = self._append or self._imported()
        ready = append.prepared(events, self._entropy)
        with self._mutex, self._explaining as database:
            connection = database.writable()
            with database.lock:
                with _Transaction(connection):
                    writer = append(connection, run_id, self._clock(), self._entropy)
                    writer.check_version(expected)
                    done = self._written(writer, ready, seal)
                # Whichever process crosses a boundary checkpoints, so one does and no counter is shared.
                grown = database.log.written(done.seq, writer.size)
                if grown or done.seq // CHECKPOINT_EVERY != writer.before // CHECKPOINT_EVERY:
                    database.checkpoint()
        # With both locks let go: other threads and processes share the flush, or go on meanwhile.
        if seal or True in [event.durable for event in events]:
            self._flush(done.seq)
        return done

    def _imported(self) -> type[Append]:
        # Once: an import in each append would cost more than its hashes.
        from onrecord.ledger.append import Append

        self._append = Append
        return Append

    def _flush(self, seq: int) -> None:
        log = self.database.log
        if log.unflushed:
            with self._mutex, self._explaining as database, database.lock, _Transaction(database.connection):
                log.write_again()
        log.sync(seq)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A connection for one short read, which waits for no append."""
        database = self.database
        if not database.shared:
            with self._mutex, self._explaining:
                database.open()
                if not database.shared:
                    yield self._only_connection(database)
                    return
        with self._explaining, database.reading() as connection:
            yield connection

    def _only_connection(self, database: Database) -> sqlite3.Connection:
        connection = database.connection
        if self._shadowed is not None and connection is not self._shadowed:
            # Opened anew, because someone wrote: the caller has caught up, and must not see less than it did.
            self._catch_up_in_memory(connection)
        return connection

    def _catch_up_in_memory(self, connection: sqlite3.Connection) -> None:
        from onrecord.ledger import shadow

        self._shadowed = connection
        shadow.hide_stored(connection)
        while self._project(connection, "BEGIN"):
            pass

    def _written(self, writer: Append, ready: Sequence[Prepared], seal: bool) -> Appended:
        try:
            writer.add(ready)
            if seal:
                writer.seal()
            return writer.done()
        except sqlite3.IntegrityError as problem:
            raise self._disagreement(writer.run_id, problem) from problem

    def _disagreement(self, run_id: str, problem: sqlite3.IntegrityError) -> LedgerDamaged:
        return LedgerDamaged(
            f"{self.database.path} does not agree with itself about run {run_id}",
            why=f"its table of runs does not fit its events ({problem})",
            next_step="onrecord verify",
            path=self.database.path,
        )

    def read(self, run_id: str | None = None, *, after: int = 0, limit: int = -1) -> Iterator[Recorded]:
        """Events in order: of one run after its version `after`, or of all after the ledger's seq `after`.

        Fetched in batches with a short read transaction each, so that a slow caller does not hold the log.
        """
        while limit:
            size = _BATCH if limit < 0 else min(limit, _BATCH)
            batch = self._read_batch(run_id, after, size)
            yield from batch
            if len(batch) < size:
                return
            after = batch[-1].version if run_id else batch[-1].seq
            limit -= size if limit > 0 else 0

    def _read_batch(self, run_id: str | None, after: int, size: int) -> list[Recorded]:
        from onrecord.ledger.recorded import Recorded

        columns = "SELECT seq, stream, rseq, type, ts, payload FROM events"
        if run_id is None:
            rows = self.fetch(f"{columns} WHERE seq > ? ORDER BY seq LIMIT ?", (after, size))
        else:
            where = "WHERE stream = ? AND rseq > ? ORDER BY rseq LIMIT ?"
            rows = self.fetch(f"{columns} {where}", (id_bytes(run_id), after, size))
        return [
            Recorded.stored(seq, id_text(stream), rseq, kind, at, payload)
            for seq, stream, rseq, kind, at, payload in rows
        ]

    def fetch(self, sql: str, parameters: Sequence[object] = ()) -> list[Any]:
        """All rows of one query, in a read transaction of its own."""
        with self._reading() as connection:
            return connection.execute(sql, parameters).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The connection in a transaction under the writers' lock, for which others wait: be short.

        Raises LedgerReadOnly, NewerLedger.
        """
        with self._mutex, self._explaining as database:
            connection = database.writable()
            with database.lock, _Transaction(connection):
                yield connection

    def sync(self) -> None:
        """Bring everything that is committed to the disk; does nothing where the ledger cannot be written.

        Raises LedgerLost and LedgerDamaged when the disk does not confirm it.
        """
        size = self.size()
        if not self.database.read_only:
            self._flush(size)

    @contextmanager
    def reader(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own, in a read transaction and with room for temporary tables; closed afterwards."""
        # Reading keeps a fork from coming between.
        with self._reading(), closing(self.database.reader()) as connection, _Transaction(connection, "BEGIN"):
            yield connection

    def size(self) -> int:
        """How many events the ledger has."""
        return int(self.fetch("SELECT coalesce(max(seq), 0) FROM events")[0][0])

    def catch_up(self) -> None:
        """Bring the lazy projections up to the last event; in memory where the ledger cannot be written
        or there is no room for it.

        Does nothing in the ledger of a later onrecord, whose tables are not known here.
        """
        if not self._behind():
            return
        try:
            self._catch_up()
        except LedgerFull:
            # What cannot be written can be read all the same.
            with self._mutex, self._explaining as database:
                database.retreat()
                self._catch_up_in_memory(database.connection)

    def _catch_up(self) -> None:
        with self._mutex, self._explaining as database:
            connection = database.connection
            if database.read_only:
                self._catch_up_in_memory(connection)
                return
            more = True
            while more:
                with database.lock:
                    more = self._project(connection, "BEGIN IMMEDIATE")
                    if more:
                        # So many rows (a new read model, say) must not pile up in the log.
                        database.checkpoint()

    def _behind(self) -> bool:
        with self._reading() as connection:
            if self.database.newer is not None:
                return False
            last, position = connection.execute(_POSITIONS, NOT_LAZY).fetchone()
            return bool(last > position)

    def _project(self, connection: sqlite3.Connection, begin: str) -> bool:
        from onrecord.ledger.replay import project_batch

        with _Transaction(connection, begin):
            return project_batch(connection)

    def rebuild(self, progress: Callable[[int, int], None] | None = None) -> int:
        """Drop every projection and make it again from the events; returns how many events there were.

        All or nothing: when it is interrupted or the machine stops, the former tables are there. `progress` is
        told now and then how many events are done and how many there are.
        """
        from onrecord.ledger.replay import rebuild

        with self._mutex, self._explaining as database:
            connection = database.writable()
            with database.lock:
                with _Transaction(connection):
                    events = rebuild(connection, progress)
                database.checkpoint()
        return events

    @contextmanager
    def writing(self) -> Iterator[Writing]:
        """One transaction under the writers' lock, durable at the end, for what is more than an append."""
        from onrecord.ledger.writing import Writing

        with self._mutex, self._explaining as database:
            connection = database.writable()
            with database.lock:
                with _Transaction(connection):
                    writing = Writing(connection, self._clock, self._entropy)
                    yield writing
                seq = writing.last_seq()
                if database.log.written(seq, writing.size):
                    database.checkpoint()
        self._flush(seq)

    @contextmanager
    def alone(self) -> Iterator[Database]:
        """The open file, for this thread alone."""
        with self._mutex, self._explaining as database:
            yield database

    def copy_to(self, path: Path) -> None:
        """Write all that is in the ledger now to the new file `path`, itself a ledger, while others go on writing.

        Raises CopyExists, CopyFailed, and LedgerDamaged where this ledger cannot be read.
        """
        from onrecord.ledger.copy import copy

        # Reading keeps a fork from coming between; its connection may have tables that hide the stored ones.
        with self._reading(), closing(self.database.reader()) as connection:
            copy(connection, self.database.path, path)

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._mutex:
            self._shadowed = None
            self.database.close()


class _Explaining:
    """`with _Explaining(database):` says in the ledger's own errors what goes wrong with its file.

    This and `_Transaction` are classes because each append passes through them: a generator costs twice as much.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def __enter__(self) -> Database:
        return self._database

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None and isinstance(error, sqlite3.Error | OSError | UnicodeDecodeError):
            raise self._database.explained(error) from error


class _Transaction:
    """`with _Transaction(connection):` commits, or rolls back what ends with an error."""

    def __init__(self, connection: sqlite3.Connection, begin: str = "BEGIN IMMEDIATE") -> None:
        self._connection = connection
        self._begin = begin

    def __enter__(self) -> None:
        try:
            self._connection.execute(self._begin)
        except BaseException:
            # Ctrl-C right after BEGIN must not leave the transaction open.
            self._roll_back()
            raise

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is None:
                self._connection.execute("COMMIT")
        finally:
            self._roll_back()

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


_journals: weakref.WeakSet[Journal] = weakref.WeakSet()
# Held from before a fork until after it, so that two threads forking at once, or a journal made
# meanwhile, do not get in between.
_fork_gate = threading.RLock()
_held_for_fork: list[Journal] = []


def _before_fork() -> None:
    # A child that opens the file while it has a copy of the parent's connection believes that it holds the
    # parent's locks: nothing may be open. Waiting for each mutex lets other threads' appends end first. An
    # append of this very thread (a signal handler that forks) cannot end: it finds its connection closed,
    # here and in the child, and fails with nothing written.
    _fork_gate.acquire()
    for journal in sorted(_journals, key=id):
        journal._mutex.acquire()
        _held_for_fork.append(journal)
        journal.database.hold()


def _after_fork_in_parent() -> None:
    while _held_for_fork:
        journal = _held_for_fork.pop()
        journal.database.release()
        journal._mutex.release()
    _fork_gate.release()


def _after_fork_in_child() -> None:
    global _fork_gate
    _fork_gate = threading.RLock()
    while _held_for_fork:
        journal = _held_for_fork.pop()
        journal.database.forget()
        journal._mutex = threading.RLock()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
