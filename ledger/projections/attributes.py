"""Tags (the last value counts) and properties (the first value counts) of every run."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from onrecord.ledger import events
from onrecord.ledger.projections.rows import Insert
from onrecord.ledger.recorded import Recorded
from onrecord.ledger.schema import PROJECTION_VERSIONS
from onrecord.ledger.text import storable

NAME = "attributes"
VERSION = PROJECTION_VERSIONS[NAME]
TABLES: tuple[str, ...] = ("run_tags", "run_properties")
TYPES = frozenset({"run.submitted", "run.tagged", "run.properties_added"})
SCHEMA = """
CREATE TABLE run_tags(
    run INTEGER NOT NULL,                 -- `seq` of the run
    name TEXT NOT NULL,
    value TEXT NOT NULL,                  -- the last one that was set
    PRIMARY KEY(run, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX tags_by_name ON run_tags(name, value, run);
CREATE VIEW tags AS SELECT runs.run_id, e.name, e.value FROM run_tags AS e JOIN runs ON runs.seq = e.run;
CREATE TABLE run_properties(
    run INTEGER NOT NULL,                 -- `seq` of the run
    name TEXT NOT NULL,
    value TEXT NOT NULL,                  -- the first one that was set: it never changes
    PRIMARY KEY(run, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX properties_by_name ON run_properties(name, value, run);
CREATE VIEW properties AS SELECT runs.run_id, e.name, e.value FROM run_properties AS e JOIN runs ON runs.seq = e.run;
"""


_insert_tags = Insert("run_tags", 3, "ON CONFLICT DO UPDATE SET value = excluded.value")
_insert_properties = Insert("run_properties", 3, "ON CONFLICT DO NOTHING")


def apply(connection: sqlite3.Connection, batch: Sequence[Recorded]) -> None:
    """Take events into the tags and properties."""
    tags: dict[tuple[int, str], str | None] = {}
    properties: dict[tuple[int, str], str] = {}
    for recorded in batch:
        event, run = recorded.event, recorded.run
        if isinstance(event, events.RunTagged):
            for name in event.removed:
                tags[run, storable(name)] = None
        if isinstance(event, events.RunSubmitted | events.RunTagged):
            for name, value in event.tags.items():
                tags[run, storable(name)] = storable(value)
        if isinstance(event, events.RunSubmitted | events.PropertiesAdded):
            for name, value in event.properties.items():
                properties.setdefault((run, storable(name)), storable(value))
    removed = [key for key, value in tags.items() if value is None]
    connection.executemany("DELETE FROM run_tags WHERE run = ? AND name = ?", removed)
    _insert_tags(connection, [(*key, value) for key, value in tags.items() if value is not None])
    _insert_properties(connection, [(*key, value) for key, value in properties.items()])
