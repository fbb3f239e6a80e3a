"""One transaction of a journal for what is more than an append: erasing and importing."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from onrecord.ledger.append import Append
from onrecord.ledger.events import Event


class Writing:
    """What may be done while the writers' lock is held and the transaction is open; all of it counts, or nothing."""

    def __init__(
        self, connection: sqlite3.Connection, clock: Callable[[], int], entropy: Callable[[int], bytes]
    ) -> None:
        self.connection = connection
        # About what the log grows by, in bytes.
        self.size = 0
        self._clock = clock
        self._entropy = entropy

    def last_seq(self) -> int:
        """How many events the ledger has."""
        return int(self.connection.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0])

    def append(self, run_id: str, events: Sequence[Event], *, seal: bool = False) -> None:
        """Append events to a run, as `Journal.append` does it. Raises BadEvent, IllegalTransition, UnknownRun."""
        writer = Append(self.connection, run_id, self._clock(), self._entropy)
        writer.add(writer.prepared(events, self._entropy))
        if seal:
            writer.seal()
        writer.done()
        self.size += writer.size
