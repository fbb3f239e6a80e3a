"""Read models: tables that can be dropped and rebuilt from the events at any time, one file each.

`runs` is kept in the transaction that appends, because every append reads it; the others catch up
lazily from a position that is stored in the same transaction as their rows; `tree` does so only for proofs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Protocol

from onrecord.ledger.projections import attributes, families, files, metrics, params, runs, search, tree, views
from onrecord.ledger.recorded import Recorded


class Tables(Protocol):
    """What every module here offers: tables made by a version of it."""

    @property
    def NAME(self) -> str: ...  # noqa: N802
    @property
    def VERSION(self) -> int: ...  # noqa: N802
    @property
    def SCHEMA(self) -> str: ...  # noqa: N802
    @property
    def TABLES(self) -> tuple[str, ...]: ...  # noqa: N802


class Projection(Tables, Protocol):
    """A read model that catches up."""

    @property
    def TYPES(self) -> frozenset[str]:  # noqa: N802
        """The event types that it takes; it never sees others."""

    def apply(self, connection: sqlite3.Connection, batch: Sequence[Recorded]) -> None:
        """Take events into the tables: in the order of `seq`, each once, in one transaction with the position."""


HOT = runs
LAZY: tuple[Projection, ...] = (attributes, params, files, metrics, families, search)
ALL: tuple[Tables, ...] = (HOT, *LAZY, views, tree)
