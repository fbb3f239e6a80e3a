"""An event as its row has it, with all that its leaf is made of."""

from __future__ import annotations

from typing import NamedTuple

from onrecord.ledger import merkle
from onrecord.ledger.recorded import Recorded
from onrecord.ledger.states import MOVING_EVENTS


class StoredEvent(NamedTuple):
    """A row of the events of one run. `at` in microseconds since the epoch, UTC; 16 bytes of salt, 32 of `commitment`.

    `salt` and `payload` are None where they were erased.
    """

    seq: int
    version: int
    type: str
    at: int
    salt: bytes | None
    payload: bytes | None
    commitment: bytes

    @property
    def moves(self) -> bool:
        """Whether it moves the run's state."""
        return self.type in MOVING_EVENTS

    def leaf(self, stream: bytes, seq: int | None = None) -> bytes:
        """The leaf of the event, in a ledger where it had the number `seq` (default: its own)."""
        number = self.seq if seq is None else seq
        return merkle.leaf_hash(number, stream, self.version, self.at, self.type, self.commitment)

    def recorded(self, run_id: str) -> Recorded:
        """The event as readers have it."""
        return Recorded.stored(self.seq, run_id, self.version, self.type, self.at, self.payload)
