"""An event with its place in the ledger."""

from __future__ import annotations

from onrecord.ledger.codec import decode
from onrecord.ledger.events import AnyEvent


class Recorded:
    """`seq` in the ledger and `version` in the run, both from 1; `at` in microseconds since the epoch, UTC.

    Not to be changed. One that was read from the ledger is decoded when its `event` is first asked for: most
    readers want the content of a few types only, and decoding is most of the cost of reading.
    """

    __slots__ = ("_event", "at", "payload", "run", "run_id", "seq", "type", "version")

    def __init__(
        self,
        seq: int,
        run_id: str,
        version: int,
        type: str,
        at: int,
        event: AnyEvent | None,
        payload: bytes | None = None,
        run: int = 0,
    ) -> None:
        self.seq = seq
        self.run_id = run_id
        self.version = version
        self.type = type
        self.at = at
        self._event = event
        # As it is stored, None where it was erased; not there of one that was not read from the ledger.
        self.payload = payload
        # The `seq` of the run's first event, by which read models name the run; 0 where nobody asked for it.
        self.run = run

    @classmethod
    def stored(cls, seq: int, run_id: str, version: int, type: str, at: int, payload: bytes | None) -> Recorded:
        """An event as its row has it; a payload of None was erased."""
        return cls(seq, run_id, version, type, at, None, payload)

    @property
    def event(self) -> AnyEvent:
        """What happened."""
        if self._event is None:
            self._event = decode(self.type, self.payload)
        return self._event

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Recorded):
            return NotImplemented
        return self._values() == other._values()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "Recorded({}, {!r}, {}, {!r}, {}, {!r})".format(*self._values())

    def _values(self) -> tuple[int, str, int, str, int, AnyEvent]:
        return self.seq, self.run_id, self.version, self.type, self.at, self.event
