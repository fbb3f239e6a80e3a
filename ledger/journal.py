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
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onrecord.ledger.db import Database
from onrecord.ledger.errors import BadEvent, LedgerDamaged
from onrecord.ledger.ids import decode as id_bytes
from onrecord.ledger.ids import encode as id_text
from onrecord.ledger.schema import NOT_LAZY

if TYPE_CHECKING:
    # What events are made of is imported by whoever makes or reads them: a list of runs needs none of it,
    # and they would be a third of its time.
    from onrecord.ledger.append import Appended
    from onrecord.ledger.events import Event, Unknown
    from onrecord.ledger.recorded import Recorded

CHECKPOINT_EVERY = 2000
_BATCH = 2000


def microseconds_now() -> int:
    """Microseconds since the epoch, UTC."""
    return time.time_ns() // 1000


class Journal:
    """One ledger file, for all threads of this process; safe beside other processes and across fork.

    `clock` gives microseconds since the epoch, `entropy` n random bytes.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], int] = microseconds_now,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.database = Database(path)
        self._clock = clock
        self._entropy = entropy
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
        from onrecord.ledger.codec import encode
        from onrecord.ledger.events import RunSealed

        if any(isinstance(event, RunSealed) for event in events):
            raise BadEvent(
                "a seal cannot be appended",
                why="it counts and hashes what is there when it is written",
                next_step="append(..., seal=True)",
                event=RunSealed.type,
            )
        encoded = [(encode(event), event) for event in events]
        with self._using() as database:
            connection = database.writable()
            with database.lock:
                before, done = self._append_locked(connection, run_id, encoded, expected, seal)
                # Whichever process crosses the boundary checkpoints, so one does and no counter is kept.
                if done.seq // CHECKPOINT_EVERY != before // CHECKPOINT_EVERY:
                    database.checkpoint()
            if seal or any(event.durable for event in events):
                database.sync()
        return done

    @contextmanager
    def _using(self) -> Iterator[Database]:
        with self._mutex:
            try:
                yield self.database
            except (sqlite3.Error, OSError, UnicodeDecodeError) as problem:
                raise self.database.explained(problem) from problem

    def _append_locked(
        self,
        connection: sqlite3.Connection,
        run_id: str,
        encoded: Sequence[tuple[tuple[str, bytes], Event | Unknown]],
        expected: int | None,
        seal: bool,
    ) -> tuple[int, Appended]:
        from onrecord.ledger.append import Append

        with _transaction(connection):
            writer = Append(connection, run_id, self._clock(), self._entropy)
            before = writer.seq
            writer.check_version(expected)
            try:
                for (event_type, payload), event in encoded:
                    writer.add(event_type, payload, event)
                if seal:
                    writer.seal()
                done = writer.done()
            except sqlite3.IntegrityError as problem:
                raise self._disagreement(writer.run_id, problem) from problem
        return before, done

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
        with self._using() as database:
            return database.connection.execute(sql, parameters).fetchall()

    @contextmanager
    def transaction(self, *, write: bool = False) -> Iterator[sqlite3.Connection]:
        """The connection, in a transaction of this thread: what it reads is of one moment.

        With `write` it is under the writers' lock. Others wait for it, or the log grows: be short. Raises
        LedgerReadOnly, NewerLedger.
        """
        with self._using() as database:
            if write:
                connection = database.writable()
                with database.lock, _transaction(connection):
                    yield connection
            else:
                with _transaction(database.connection, "BEGIN"):
                    yield database.connection

    def sync(self) -> None:
        """Bring everything that is committed to the disk; does nothing where the ledger cannot be written.

        Raises LedgerLost and LedgerDamaged when the disk does not confirm it.
        """
        with self._using() as database:
            if database.connection and not database.read_only:
                database.sync()

    @contextmanager
    def reader(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own, in a read transaction and with room for temporary tables; closed afterwards.

        Nothing else of this journal, and no fork, goes on meanwhile.
        """
        with self._using() as database:
            connection = database.reader()
            try:
                with _transaction(connection, "BEGIN"):
                    yield connection
            finally:
                connection.close()

    def size(self) -> int:
        """How many events the ledger has."""
        return int(self.fetch("SELECT coalesce(max(seq), 0) FROM events")[0][0])

    def catch_up(self) -> None:
        """Bring the lazy projections up to the last event; in memory where the ledger cannot be written.

        Does nothing in the ledger of a later onrecord, whose tables are not known here.
        """
        with self._using() as database:
            connection = database.connection
            if database.newer is not None or not self._behind(connection):
                return
            if database.read_only:
                from onrecord.ledger import shadow

                shadow.hide_stored(connection)
                while self._project(connection, "BEGIN"):
                    pass
                return
            more = True
            while more:
                with database.lock:
                    more = self._project(connection, "BEGIN IMMEDIATE")
                    if more:
                        # So many rows (a new read model, say) must not pile up in the log.
                        database.checkpoint()

    def _behind(self, connection: sqlite3.Connection) -> bool:
        row = connection.execute(
            "SELECT (SELECT coalesce(max(seq), 0) FROM events), min(seq) FROM projections WHERE name NOT IN (?, ?)",
            NOT_LAZY,
        ).fetchone()
        return bool(row[0] > row[1])

    def _project(self, connection: sqlite3.Connection, begin: str) -> bool:
        from onrecord.ledger.replay import project_batch

        with _transaction(connection, begin):
            return project_batch(connection)

    def rebuild(self, progress: Callable[[int, int], None] | None = None) -> int:
        """Drop every projection and make it again from the events; returns how many events there were.

        All or nothing: when it is interrupted or the machine stops, the former tables are there. `progress` is
        told now and then how many events are done and how many there are.
        """
        from onrecord.ledger.replay import rebuild

        with self._using() as database:
            connection = database.writable()
            with database.lock:
                with _transaction(connection):
                    events = rebuild(connection, progress)
                database.checkpoint()
        return events

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._mutex:
            self.database.close()


@contextmanager
def _transaction(connection: sqlite3.Connection, begin: str = "BEGIN IMMEDIATE") -> Iterator[None]:
    # BEGIN is inside: Ctrl-C right after it must not leave the transaction open.
    try:
        connection.execute(begin)
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


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
        journal.database.close()


def _after_fork_in_parent() -> None:
    while _held_for_fork:
        _held_for_fork.pop()._mutex.release()
    _fork_gate.release()


def _after_fork_in_child() -> None:
    global _fork_gate
    _fork_gate = threading.RLock()
    while _held_for_fork:
        _held_for_fork.pop()._mutex = threading.RLock()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
