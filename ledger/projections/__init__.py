"""Read models: tables that can be dropped and rebuilt from the events at any time, one file each.

`runs` is kept in the transaction that appends, because every append reads it; the others catch up
lazily from a position that is stored in the same transaction as their rows.
"""

from __future__ import annotations

import sqlite3
from typing import Protocol

from onrecord.ledger.projections import attributes, files, metrics, runs
from onrecord.ledger.recorded import Recorded


class Projection(Protocol):
    """What a projection's module offers."""

    @property
    def NAME(self) -> str: ...  # noqa: N802
    @property
    def VERSION(self) -> int: ...  # noqa: N802
    @property
    def SCHEMA(self) -> str: ...  # noqa: N802
    @property
    def TABLES(self) -> tuple[str, ...]: ...  # noqa: N802

    def apply(self, connection: sqlite3.Connection, recorded: Recorded) -> None:
        """Take one event into the tables; events come in the order of `seq`, each once."""


HOT: Projection = runs
LAZY: tuple[Projection, ...] = (attributes, files, metrics)
ALL: tuple[Projection, ...] = (HOT, *LAZY)
