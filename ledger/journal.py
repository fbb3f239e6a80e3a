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
from typing import Any

import attrs

from onrecord.ledger import merkle, shadow
from onrecord.ledger.codec import decode, encode
from onrecord.ledger.db import Database
from onrecord.ledger.errors import BadEvent, IllegalTransition, LedgerDamaged, StaleVersion, UnknownRun
from onrecord.ledger.events import Event, RunSealed, Unknown
from onrecord.ledger.ids import decode as id_bytes
from onrecord.ledger.ids import encode as id_text
from onrecord.ledger.projections import ALL, HOT, LAZY
from onrecord.ledger.recorded import Recorded
from onrecord.ledger.states import TERMINAL, state_after

CHECKPOINT_EVERY = 2000
_BATCH = 2000


def microseconds_now() -> int:
    """Microseconds since the epoch, UTC."""
    return time.time_ns() // 1000


@attrs.frozen
class Appended:
    """What an append made: the last `seq` of the ledger, the run's `head` (its events) and its `status`."""

    seq: int
    head: int
    status: str


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
            except (sqlite3.Error, OSError) as problem:
                raise self.database.explained(problem) from problem

    def _append_locked(
        self,
        connection: sqlite3.Connection,
        run_id: str,
        encoded: Sequence[tuple[tuple[str, bytes], Event | Unknown]],
        expected: int | None,
        seal: bool,
    ) -> tuple[int, Appended]:
        with _transaction(connection):
            writer = _Append(connection, run_id, self._clock(), self._entropy)
            before = writer.seq
            writer.check_version(expected)
            try:
                for (event_type, payload), event in encoded:
                    writer.add(event_type, payload, event)
                if seal:
                    writer.seal()
            except sqlite3.IntegrityError as problem:
                raise self._disagreement(writer.run_id, problem) from problem
        return before, Appended(writer.seq, writer.head, writer.status or "")

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
        columns = "SELECT seq, stream, rseq, type, ts, payload FROM events"
        if run_id is None:
            rows = self.fetch(f"{columns} WHERE seq > ? ORDER BY seq LIMIT ?", (after, size))
        else:
            where = "WHERE stream = ? AND rseq > ? ORDER BY rseq LIMIT ?"
            rows = self.fetch(f"{columns} {where}", (id_bytes(run_id), after, size))
        return [
            Recorded(seq, id_text(stream), rseq, kind, at, decode(kind, payload))
            for seq, stream, rseq, kind, at, payload in rows
        ]

    def fetch(self, sql: str, parameters: Sequence[object] = ()) -> list[Any]:
        """All rows of one query, in a read transaction of its own."""
        with self._using() as database:
            return database.connection.execute(sql, parameters).fetchall()

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
                shadow.hide_stored(connection)
                while self._project(connection, "BEGIN"):
                    pass
                return
            more = True
            while more:
                with database.lock:
                    more = self._project(connection, "BEGIN IMMEDIATE")

    def _behind(self, connection: sqlite3.Connection) -> bool:
        row = connection.execute(
            "SELECT (SELECT coalesce(max(seq), 0) FROM events), min(seq) FROM projections WHERE name != ?",
            (HOT.NAME,),
        ).fetchone()
        return bool(row[0] > row[1])

    def _project(self, connection: sqlite3.Connection, begin: str) -> bool:
        with _transaction(connection, begin):
            return _project_batch(connection)

    def rebuild(self) -> int:
        """Drop every projection and make it again from the events; returns how many events there were."""
        with self._using() as database:
            connection = database.writable()
            with database.lock, _transaction(connection):
                _drop_and_replay(connection)
        self.catch_up()
        return self.size()

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._mutex:
            self.database.close()


class _Append:
    """The state of one append while the writers' lock is held."""

    def __init__(self, connection: sqlite3.Connection, run_id: str, at: int, entropy: Callable[[int], bytes]) -> None:
        self.connection = connection
        self.stream = id_bytes(run_id)
        # However the caller spelled it: the tables hold one spelling.
        self.run_id = run_id = id_text(self.stream)
        self.at = at
        self.entropy = entropy
        self.seq: int = connection.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0]
        row = connection.execute("SELECT head, status FROM runs WHERE run_id = ?", (run_id,)).fetchone()
        self.head: int = row[0] if row else 0
        self.status: str | None = row[1] if row else None

    def check_version(self, expected: int | None) -> None:
        if expected is not None and expected != self.head:
            raise StaleVersion(
                f"run {self.run_id} has changed meanwhile",
                why=f"it has {self.head} events, the caller expected {expected}",
                next_step="read the run again and repeat the change",
                run_id=self.run_id,
                expected=expected,
                found=self.head,
            )

    def add(self, event_type: str, payload: bytes, event: Event | Unknown) -> None:
        after = state_after(self.status, event_type)
        if after is None:
            raise self._refusal(event_type)
        salt = self.entropy(16)
        commitment = merkle.payload_commitment(salt, payload)
        self.seq += 1
        self.head += 1
        self.status = after
        leaf = merkle.leaf_hash(self.seq, self.stream, self.head, self.at, event_type, commitment)
        self.connection.execute(
            "INSERT INTO events(seq, stream, rseq, type, ts, salt, payload, pcommit, leaf)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (self.seq, self.stream, self.head, event_type, self.at, salt, payload, commitment, leaf),
        )
        HOT.apply(self.connection, Recorded(self.seq, self.run_id, self.head, event_type, self.at, event))

    def seal(self) -> None:
        leaves = self.connection.execute("SELECT leaf FROM events WHERE stream = ? ORDER BY rseq", (self.stream,))
        sealed = RunSealed(count=self.head, root=merkle.root_of(leaf for (leaf,) in leaves).hex())
        self.add(*encode(sealed), sealed)

    def _refusal(self, event_type: str) -> Exception:
        if self.status is None:
            return UnknownRun(
                f"there is no run {self.run_id}",
                why=f"a {event_type} event needs a run that was submitted",
                next_step="onrecord ls",
                run_id=self.run_id,
            )
        ended = "its first end counts" if self.status in TERMINAL else "see the states in the documentation"
        return IllegalTransition(
            f"run {self.run_id} is {self.status}: a {event_type} event is not possible",
            why=ended,
            next_step=f"onrecord show {self.run_id}",
            run_id=self.run_id,
            status=self.status,
            event=event_type,
        )


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


def _project_batch(connection: sqlite3.Connection) -> bool:
    positions = dict(connection.execute("SELECT name, seq FROM projections").fetchall())
    start = min(positions[projection.NAME] for projection in LAZY)
    rows = connection.execute(
        "SELECT seq, stream, rseq, type, ts, payload FROM events WHERE seq > ? ORDER BY seq LIMIT ?",
        (start, _BATCH),
    ).fetchall()
    for seq, stream, rseq, kind, at, payload in rows:
        recorded = Recorded(seq, id_text(stream), rseq, kind, at, decode(kind, payload))
        for projection in LAZY:
            if seq > positions[projection.NAME]:
                projection.apply(connection, recorded)
    if rows:
        connection.execute("UPDATE projections SET seq = max(seq, ?) WHERE name != ?", (rows[-1][0], HOT.NAME))
    return len(rows) == _BATCH


def _drop_and_replay(connection: sqlite3.Connection) -> None:
    for projection in ALL:
        for table in projection.TABLES:
            connection.execute(f"DELETE FROM {table}")  # noqa: S608 - our own table names
    connection.execute("UPDATE projections SET seq = 0")
    rows = connection.execute("SELECT seq, stream, rseq, type, ts, payload FROM events ORDER BY seq")
    for seq, stream, rseq, kind, at, payload in rows:
        HOT.apply(connection, Recorded(seq, id_text(stream), rseq, kind, at, decode(kind, payload)))


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
