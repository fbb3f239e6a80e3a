"""One append while the writers' lock is held: checks, hashes, rows, and the hot projection."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import attrs

from onrecord.ledger import merkle
from onrecord.ledger.codec import encode
from onrecord.ledger.errors import IllegalTransition, StaleVersion, UnknownRun
from onrecord.ledger.events import Event, RunSealed, Unknown
from onrecord.ledger.ids import decode as id_bytes
from onrecord.ledger.ids import encode as id_text
from onrecord.ledger.projections import runs
from onrecord.ledger.recorded import Recorded
from onrecord.ledger.run_state import TYPES, RunState
from onrecord.ledger.states import TERMINAL, state_after


@attrs.frozen
class Appended:
    """What an append made: the last `seq` of the ledger, the run's `head` (its events) and its `status`."""

    seq: int
    head: int
    status: str


class Append:
    """The state of one append while the writers' lock is held."""

    def __init__(self, connection: sqlite3.Connection, run_id: str, at: int, entropy: Callable[[int], bytes]) -> None:
        self.connection = connection
        self.stream = id_bytes(run_id)
        # However the caller spelled it: the tables hold one spelling.
        self.run_id = run_id = id_text(self.stream)
        self.at = at
        self.entropy = entropy
        self.seq: int = connection.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0]
        self._state: RunState | None = runs.load(connection, run_id)
        self._only_head = True

    @property
    def head(self) -> int:
        """How many events the run has."""
        return self._state.head if self._state else 0

    @property
    def status(self) -> str | None:
        """The run's state, None before its first event."""
        return self._state.status if self._state else None

    def done(self) -> Appended:
        """Bring the run's row up to what has been added."""
        if self._state is not None:
            runs.update(self.connection, self._state, only_head=self._only_head)
        return Appended(self.seq, self.head, self.status or "")

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

    def add(self, event_type: str, payload: bytes, event: Event | Unknown) -> None:
        """One row and what follows from it. Raises IllegalTransition, UnknownRun."""
        if state_after(self.status, event_type) is None:
            raise self._refusal(event_type)
        salt = self.entropy(16)
        commitment = merkle.payload_commitment(salt, payload)
        version = self.head + 1
        self.seq += 1
        leaf = merkle.leaf_hash(self.seq, self.stream, version, self.at, event_type, commitment)
        self.connection.execute(
            "INSERT INTO events(seq, stream, rseq, type, ts, salt, payload, pcommit, leaf)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (self.seq, self.stream, version, event_type, self.at, salt, payload, commitment, leaf),
        )
        recorded = Recorded(self.seq, self.run_id, version, event_type, self.at, event)
        if self._state is None:
            self._state = runs.submit(self.connection, recorded)
        else:
            self._state.take(recorded)
            self._only_head = self._only_head and event_type not in TYPES

    def seal(self) -> None:
        """Add the count and the Merkle root of everything up to here."""
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
