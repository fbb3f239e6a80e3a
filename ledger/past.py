"""A ledger as it was: its events up to one of them, and the read models that they make.

A connection of its own, on which temporary tables hide the stored ones and a temporary view the later events.
Every question is then answered by the code that answers it today, from the read models' own code.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from onrecord.ledger.db import Database
from onrecord.ledger.errors import LedgerReadOnly
from onrecord.ledger.filter_lexer import complaint
from onrecord.ledger.filter_values import moment, span
from onrecord.ledger.journal import Journal, microseconds_now
from onrecord.ledger.shadow import hide_all


class PastDatabase(Database):
    """Connections to a ledger that ends with the event `seq`. Nothing can be written there."""

    def __init__(self, path: Path, seq: int) -> None:
        super().__init__(path)
        self.seq = seq

    def writable(self) -> sqlite3.Connection:
        """Raises LedgerReadOnly."""
        raise LedgerReadOnly(
            f"{self.path} cannot be written as it was after event {self.seq}",
            why="what has happened does not change",
            next_step="ask for the ledger of today: leave out as_of",
            path=self.path,
        )

    def _prepare(self, connection: sqlite3.Connection) -> None:
        super()._prepare(connection)
        self.read_only = True
        hide_all(connection, self.seq)


class PastJournal(Journal):
    """The events up to `seq`."""

    def __init__(self, path: Path, seq: int) -> None:
        super().__init__(path, database=PastDatabase(path, seq))


def seq_of(journal: Journal, as_of: int | str) -> int:
    """The last event up to a seq (a number, also as text) or a time, 0 before the first. Raises BadFilter.

    By time it is the last event that was recorded then or before, by the clock of whoever recorded it.
    """
    if isinstance(as_of, int) or (as_of.isascii() and as_of.isdigit()):
        return min(max(int(as_of), 0), journal.size())
    rows = journal.fetch("SELECT seq FROM events WHERE ts < ? ORDER BY seq DESC LIMIT 1", (_after(as_of),))
    return int(rows[0][0]) if rows else 0


def _after(text: str) -> int:
    age = span(text.removesuffix("ago").strip()) if text.endswith("ago") else None
    if age is not None:
        return microseconds_now() - age + 1
    found = moment(text)
    if found is None:
        why = "they are written 120, 2026-01-31, 2026-01-31T12:00Z or 7d ago"
        raise complaint(text, 0, f"'{text}' is neither the number of an event nor a time", why)
    return found[1]
