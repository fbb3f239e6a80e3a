"""Parameters of every run: what its script's arguments say."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from onrecord.ledger import events
from onrecord.ledger.arguments import number, parameters
from onrecord.ledger.recorded import Recorded
from onrecord.ledger.schema import PROJECTION_VERSIONS
from onrecord.ledger.text import storable

NAME = "params"
VERSION = PROJECTION_VERSIONS[NAME]
TABLES: tuple[str, ...] = ("params",)
TYPES = frozenset({"run.submitted"})
SCHEMA = """
CREATE TABLE params(
    run_id TEXT NOT NULL,
    name TEXT NOT NULL,                   -- without the dashes before it
    value TEXT NOT NULL,                  -- as it was written; `true` for an option without a value
    number REAL,                          -- where the value is a number
    PRIMARY KEY(run_id, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX params_by_number ON params(name, number, run_id) WHERE number IS NOT NULL;
CREATE INDEX params_by_text ON params(name, value, run_id, number) WHERE number IS NULL;
"""


def apply(connection: sqlite3.Connection, batch: Sequence[Recorded]) -> None:
    """Take events into the parameters."""
    connection.executemany(
        "INSERT OR REPLACE INTO params VALUES (?, ?, ?, ?)",
        [
            (recorded.run_id, storable(name), storable(value), number(value))
            for recorded in batch
            if isinstance(event := recorded.event, events.RunSubmitted)
            for name, value in parameters(event.config.get("arguments")).items()
        ],
    )
