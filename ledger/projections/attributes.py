"""Tags (the last value counts) and properties (the first value counts) of every run."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from onrecord.ledger import events
from onrecord.ledger.recorded import Recorded
from onrecord.ledger.schema import PROJECTION_VERSIONS
from onrecord.ledger.text import storable

NAME = "attributes"
VERSION = PROJECTION_VERSIONS[NAME]
TABLES: tuple[str, ...] = ("tags", "properties")
TYPES = frozenset({"run.submitted", "run.tagged", "run.properties_added"})
SCHEMA = """
CREATE TABLE tags(
    run_id TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,                  -- the last one that was set
    PRIMARY KEY(run_id, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX tags_by_name ON tags(name, value);
CREATE TABLE properties(
    run_id TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,                  -- the first one that was set: it never changes
    PRIMARY KEY(run_id, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX properties_by_name ON properties(name, value);
"""


def apply(connection: sqlite3.Connection, batch: Sequence[Recorded]) -> None:
    """Take events into the tags and properties."""
    tags: dict[tuple[str, str], str | None] = {}
    properties: dict[tuple[str, str], str] = {}
    for recorded in batch:
        event, run_id = recorded.event, recorded.run_id
        if isinstance(event, events.RunTagged):
            tags.update({(run_id, storable(name)): None for name in event.removed})
        if isinstance(event, events.RunSubmitted | events.RunTagged):
            tags.update({(run_id, storable(name)): storable(value) for name, value in event.tags.items()})
        if isinstance(event, events.RunSubmitted | events.PropertiesAdded):
            for name, value in event.properties.items():
                properties.setdefault((run_id, storable(name)), storable(value))
    connection.executemany(
        "DELETE FROM tags WHERE run_id = ? AND name = ?", [key for key, value in tags.items() if value is None]
    )
    connection.executemany(
        "INSERT INTO tags VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
        [(*key, value) for key, value in tags.items() if value is not None],
    )
    connection.executemany(
        "INSERT INTO properties VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        [(*key, value) for key, value in properties.items()],
    )
