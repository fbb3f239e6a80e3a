"""One append while the writers' lock is held: checks, hashes, rows, and the hot projection."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import NamedTuple

from onrecord.ledger.codec import encode
from onrecord.ledger.errors import BadEvent, IllegalTransition, StaleVersion, UnknownRun
from onrecord.ledger.events import Event, RunSealed, Unknown
from onrecord.ledger.ids import decode as id_bytes
from onrecord.ledger.ids import encode as id_text
from onrecord.ledger.merkle import leaf_hash, payload_commitment, root_of
from onrecord.ledger.projections import runs
from onrecord.ledger.recorded import Recorded
from onrecord.ledger.run_state import TYPES, RunState
from onrecord.ledger.states import OF_NO_RUN, TERMINAL, state_after

_INSERT = (
    "INSERT INTO events(seq, stream, rseq, type, ts, salt, payload, pcommit, leaf) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


_Row = tuple[int, bytes, int, str, int, bytes, bytes, bytes, bytes]


class Appended(NamedTuple):
    """What an append made: the last `seq` of the ledger, the run's `head` (its events) and its `status`."""

    seq: int
    head: int
    status: str


# An event with all that can be computed before the writers' lock is taken: its type, payload, salt and commitment.
Prepared = tuple[Event | Unknown, str, bytes, bytes, bytes]


def _prepared(events: Sequence[Event | Unknown], entropy: Callable[[int], bytes]) -> list[Prepared]:
    salts, ready = entropy(16 * len(events)), []
    for index, event in enumerate(events):
        kind, payload = encode(event)
        salt = salts[16 * index : 16 * index + 16]
        ready.append((event, kind, payload, salt, payload_commitment(salt, payload)))
    return ready


class Append:
    """The state of one append while the writers' lock is held."""

    def __init__(self, connection: sqlite3.Connection, run_id: str, at: int, entropy: Callable[[int], bytes]) -> None:
        self.connection = connection
        self.stream = id_bytes(run_id)
        # However the caller spelled it: the tables hold one spelling.
        self.run_id = run_id = id_text(self.stream)
        self.at = at
        self.entropy = entropy
        self.seq, self._row, self.head, self.status = runs.place(connection, run_id)
        self.before = self.seq
        # The whole row: read and written only where an event says more than that it is there.
        self._state: RunState | None = None
        self._rows: list[_Row] = []
        # About what the log grows by: a transaction touches three pages or more.
        self.size = 3 * 4096

    @staticmethod
    def prepared(events: Sequence[Event | Unknown], entropy: Callable[[int], bytes]) -> list[Prepared]:
        """The events encoded, salted (16 bytes each of one draw of `entropy`) and hashed; no seals. Raises BadEvent."""
        if RunSealed in map(type, events):
            raise BadEvent(
                "a seal cannot be appended",
                why="it counts and hashes what is there when it is written",
                next_step="append(..., seal=True)",
                event=RunSealed.type,
            )
        return _prepared(events, entropy)

    def check_version(self, expected: int | None) -> None:
        """Refuse a caller who has not seen the run's last event. Raises StaleVersion."""
        if expected is not None and expected != self.head:
            raise StaleVersion(
                f"run {self.run_id} has changed meanwhile",
                why=f"it has {self.head} events, the caller expected {expected}",
                next_step="read the run again and repeat the change",
                run_id=self.run_id,
                expected=expected,
                found=self.head,
            )

    def add(self, events: Sequence[Prepared]) -> None:
        """Rows, and what follows from them. Raises IllegalTransition, UnknownRun."""
        if self._row is None and events and events[0][1] in OF_NO_RUN:
            self.head = self._versions()
        stream, at, seq, head = self.stream, self.at, self.seq, self.head
        for event, kind, payload, salt, commitment in events:
            after = state_after(self.status, kind)
            if after is None:
                raise self._refusal(kind)
            seq += 1
            head += 1
            leaf = leaf_hash(seq, stream, head, at, kind, commitment)
            self._rows.append((seq, stream, head, kind, at, salt, payload, commitment, leaf))
            if kind in TYPES:
                self._fold(Recorded(seq, self.run_id, head, kind, at, event))
        self.seq, self.head = seq, head

    def seal(self) -> None:
        """Add the count and the Merkle root of everything up to here."""
        self._insert()
        leaves = self.connection.execute("SELECT leaf FROM events WHERE stream = ? ORDER BY rseq", (self.stream,))
        root = root_of(leaf for (leaf,) in leaves).hex()
        self.add(_prepared([RunSealed(count=self.head, root=root)], self.entropy))

    def done(self) -> Appended:
        """Write the rows, and bring the run's row up to them."""
        self._insert()
        if self._state is not None:
            self._state.head = self.head
            runs.update(self.connection, self._state)
        elif self._row is not None and self.seq > self.before:
            runs.touch(self.connection, self._row, self.head)
        return Appended(self.seq, self.head, self.status or "")

    def _versions(self) -> int:
        # The table of runs says it of runs only.
        found = self.connection.execute("SELECT coalesce(max(rseq), 0) FROM events WHERE stream = ?", (self.stream,))
        return int(found.fetchone()[0])

    def _insert(self) -> None:
        self.connection.executemany(_INSERT, self._rows)
        self.size += sum([len(row[6]) for row in self._rows])
        self._rows = []

    def _fold(self, recorded: Recorded) -> None:
        if self.status is None:
            self._state = runs.submit(self.connection, recorded)
        else:
            self._state = self._state or runs.load(self.connection, self.run_id)
            self._state.take(recorded)
        self.status = self._state.status

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
