"""Read models: tables that can be dropped and rebuilt from the events at any time, one file each.

`runs` is kept in the transaction that appends, because every append reads it; the others catch up
lazily from a position that is stored in the same transaction as their rows, `tree` only for proofs. When all are
made anew, `runs` is filled last: a read model that catches up asks its own tables and the events, never `runs`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Protocol

from onrecord.ledger.projections import (
    attributes,
    descriptions,
    experiments,
    families,
    files,
    metrics,
    params,
    resources,
    runs,
    search,
    tree,
    views,
)
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
    """A read model that catches up.

    One that can take a run out of its tables without leaving a trace offers `forget(connection, run_id)` too.
    Without it, the rows with that `run` or `run_id` are deleted when a run is erased; a model with a table that has
    neither column, or with a full-text index, is made again as a whole.
    """

    @property
    def TYPES(self) -> frozenset[str]:  # noqa: N802
        """The event types that it takes; it never sees others."""

    def apply(self, connection: sqlite3.Connection, batch: Sequence[Recorded]) -> None:
        """Take events into the tables: in the order of `seq`, each once, in one transaction with the position."""


HOT = runs
LAZY: tuple[Projection, ...] = (
    attributes, params, files, metrics, resources, families, descriptions, experiments, search,
)  # fmt: skip
ALL: tuple[Tables, ...] = (HOT, *LAZY, views, tree)
