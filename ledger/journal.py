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
from pathlib import Path
from typing import Any

import attrs

from onrecord.ledger import merkle
from onrecord.ledger.codec import decode, encode
from onrecord.ledger.db import Database, explained
from onrecord.ledger.errors import IllegalTransition, StaleVersion, UnknownRun
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
        _open_journals.add(self)

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
        Raises IllegalTransition, UnknownRun, LedgerFull, LedgerReadOnly, NewerLedger.
        """
        encoded = [(encode(event), event) for event in events]
        with self._mutex:
            try:
                connection = self.database.writable()
                with self.database.lock:
                    done = self._append_locked(connection, run_id, encoded, expected, seal)
                    # Whichever process crosses the boundary checkpoints, so one does and no counter is kept.
                    if done.seq // CHECKPOINT_EVERY != (done.seq - len(encoded)) // CHECKPOINT_EVERY:
                        self.database.checkpoint()
                if seal or any(event.durable for event in events):
                    self.database.sync()
            except sqlite3.Error as problem:
                raise explained(self.database.path, problem) from problem
        return done

    def _append_locked(
        self,
        connection: sqlite3.Connection,
        run_id: str,
        encoded: Sequence[tuple[tuple[str, bytes], Event | Unknown]],
        expected: int | None,
        seal: bool,
    ) -> Appended:
        connection.execute("BEGIN IMMEDIATE")
        try:
            writer = _Append(connection, run_id, self._clock(), self._entropy)
            writer.check_version(expected)
            for (event_type, payload), event in encoded:
                writer.add(event_type, payload, event)
            if seal:
                writer.seal()
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return Appended(writer.seq, writer.head, writer.status or "")

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
        with self._mutex:
            try:
                return self.database.connection.execute(sql, parameters).fetchall()
            except sqlite3.Error as problem:
                raise explained(self.database.path, problem) from problem

    def size(self) -> int:
        """How many events the ledger has."""
        return int(self.fetch("SELECT coalesce(max(seq), 0) FROM events")[0][0])

    def catch_up(self) -> None:
        """Bring the lazy projections up to the last event; does nothing where the ledger cannot be written."""
        with self._mutex:
            connection = self.database.connection
            if self.database.read_only or not self._behind(connection):
                return
            try:
                self._catch_up(connection)
            except sqlite3.Error as problem:
                raise explained(self.database.path, problem) from problem

    def _behind(self, connection: sqlite3.Connection) -> bool:
        row = connection.execute(
            "SELECT (SELECT coalesce(max(seq), 0) FROM events), min(seq) FROM projections WHERE name != ?",
            (HOT.NAME,),
        ).fetchone()
        return bool(row[0] > row[1])

    def _catch_up(self, connection: sqlite3.Connection) -> None:
        while True:
            with self.database.lock:
                connection.execute("BEGIN IMMEDIATE")
                try:
                    more = _project_batch(connection)
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
            if not more:
                return

    def rebuild(self) -> int:
        """Drop every projection and make it again from the events; returns how many events there were."""
        with self._mutex:
            connection = self.database.writable()
            with self.database.lock:
                connection.execute("BEGIN IMMEDIATE")
                try:
                    _drop_and_replay(connection)
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
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
        self.run_id = run_id
        self.stream = id_bytes(run_id)
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


_open_journals: weakref.WeakSet[Journal] = weakref.WeakSet()


_held_for_fork: list[Journal] = []


def _before_fork() -> None:
    # A child that closes its copy of a connection would drop the parent's locks: nothing may be open.
    for journal in list(_open_journals):
        journal._mutex.acquire()
        journal.database.close()
        _held_for_fork.append(journal)


def _after_fork_in_parent() -> None:
    while _held_for_fork:
        _held_for_fork.pop()._mutex.release()


def _after_fork_in_child() -> None:
    while _held_for_fork:
        _held_for_fork.pop()._mutex = threading.RLock()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
