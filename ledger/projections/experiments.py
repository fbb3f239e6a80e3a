"""Experiments that were archived, and their tags. An experiment without either has no row anywhere but in `runs`."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from onrecord.ledger import events
from onrecord.ledger.recorded import Recorded
from onrecord.ledger.schema import PROJECTION_VERSIONS
from onrecord.ledger.text import storable

NAME = "experiments"
VERSION = PROJECTION_VERSIONS[NAME]
TABLES: tuple[str, ...] = ("archivals", "experiment_tags")
TYPES = frozenset({"experiment.archived", "experiment.reactivated", "experiment.tagged"})
# A view, because what it says changes when a run is submitted, and that must cost nothing. Numbers rise in the order
# of submission, and `runs` has an index for them.
SCHEMA = """
CREATE TABLE archivals(
    experiment TEXT PRIMARY KEY,
    seq INTEGER NOT NULL,                 -- of the event that archived it
    at INTEGER NOT NULL                   -- microseconds since the epoch, UTC
) STRICT, WITHOUT ROWID;
CREATE VIEW archived_experiments AS SELECT experiment, at FROM archivals WHERE archivals.seq > coalesce(
    (SELECT runs.seq FROM runs WHERE runs.experiment = archivals.experiment ORDER BY number DESC LIMIT 1), 0
);
CREATE TABLE experiment_tags(
    experiment TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,                  -- the last one that was set
    PRIMARY KEY(experiment, name)
) STRICT, WITHOUT ROWID;
"""


def apply(connection: sqlite3.Connection, batch: Sequence[Recorded]) -> None:
    """Take events into the tables."""
    for recorded in batch:
        event = recorded.event
        if isinstance(event, events.ExperimentArchived):
            row = (storable(event.name), recorded.seq, recorded.at)
            connection.execute("INSERT OR REPLACE INTO archivals VALUES (?, ?, ?)", row)
        elif isinstance(event, events.ExperimentReactivated):
            connection.execute("DELETE FROM archivals WHERE experiment = ?", (storable(event.name),))
        elif isinstance(event, events.ExperimentTagged):
            _tag(connection, storable(event.name), event)


def _tag(connection: sqlite3.Connection, experiment: str, event: events.ExperimentTagged) -> None:
    removed = [(experiment, storable(name)) for name in event.removed]
    connection.executemany("DELETE FROM experiment_tags WHERE experiment = ? AND name = ?", removed)
    rows = [(experiment, storable(name), storable(value)) for name, value in event.tags.items()]
    connection.executemany("INSERT OR REPLACE INTO experiment_tags VALUES (?, ?, ?)", rows)


def forget(connection: sqlite3.Connection, run_id: str) -> None:
    """Nothing: what is in here is of no run."""
