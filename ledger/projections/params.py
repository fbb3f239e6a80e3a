"""Parameters of every run: what its script's arguments say."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from onrecord.ledger import events
from onrecord.ledger.arguments import number, parameters
from onrecord.ledger.projections.rows import Insert
from onrecord.ledger.recorded import Recorded
from onrecord.ledger.schema import PROJECTION_VERSIONS
from onrecord.ledger.text import storable

NAME = "params"
VERSION = PROJECTION_VERSIONS[NAME]
TABLES: tuple[str, ...] = ("run_params",)
TYPES = frozenset({"run.submitted"})
SCHEMA = """
CREATE TABLE run_params(
    run INTEGER NOT NULL,                 -- `seq` of the run
    name TEXT NOT NULL,                   -- without the dashes before it
    value TEXT NOT NULL,                  -- as it was written; `true` for an option without a value
    number REAL,                          -- where the value is a number
    PRIMARY KEY(run, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX params_by_number ON run_params(name, number, run) WHERE number IS NOT NULL;
CREATE INDEX params_by_text ON run_params(name, value, run, number) WHERE number IS NULL;
CREATE VIEW params AS SELECT runs.run_id, e.name, e.value, e.number FROM run_params AS e JOIN runs ON runs.seq = e.run;
"""


_insert = Insert("run_params", 4, verb="INSERT OR REPLACE")


def apply(connection: sqlite3.Connection, batch: Sequence[Recorded]) -> None:
    """Take events into the parameters."""
    _insert(
        connection,
        [
            (recorded.run, storable(name), storable(value), number(value))
            for recorded in batch
            if isinstance(event := recorded.event, events.RunSubmitted)
            for name, value in parameters(event.config.get("arguments")).items()
        ],
    )
