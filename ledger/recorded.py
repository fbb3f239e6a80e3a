"""An event with its place in the ledger."""

from __future__ import annotations

from onrecord.ledger.codec import decode
from onrecord.ledger.events import AnyEvent


class Recorded:
    """`seq` in the ledger and `version` in the run, both from 1; `at` in microseconds since the epoch, UTC.

    Not to be changed. One that was read from the ledger is decoded when its `event` is first asked for: most
    readers want the content of a few types only, and decoding is most of the cost of reading.
    """

    __slots__ = ("_event", "_payload", "at", "run_id", "seq", "type", "version")

    def __init__(self, seq: int, run_id: str, version: int, type: str, at: int, event: AnyEvent) -> None:
        self.seq = seq
        self.run_id = run_id
        self.version = version
        self.type = type
        self.at = at
        self._event: AnyEvent | None = event
        self._payload: bytes | None = None

    @classmethod
    def stored(cls, seq: int, run_id: str, version: int, type: str, at: int, payload: bytes | None) -> Recorded:
        """An event as its row has it; a payload of None was erased."""
        recorded = cls.__new__(cls)
        recorded.seq = seq
        recorded.run_id = run_id
        recorded.version = version
        recorded.type = type
        recorded.at = at
        recorded._event = None
        recorded._payload = payload
        return recorded

    @property
    def event(self) -> AnyEvent:
        """What happened."""
        if self._event is None:
            self._event = decode(self.type, self._payload)
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
