"""Tags (the last value counts) and properties (the first value counts) of every run."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

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
    for recorded in batch:
        _take(connection, recorded)


def _take(connection: sqlite3.Connection, recorded: Recorded) -> None:
    event = recorded.event
    if isinstance(event, events.RunSubmitted):
        _set_tags(connection, recorded.run_id, event.tags)
        _add_properties(connection, recorded.run_id, event.properties)
    elif isinstance(event, events.RunTagged):
        connection.executemany(
            "DELETE FROM tags WHERE run_id = ? AND name = ?",
            [(recorded.run_id, storable(name)) for name in event.removed],
        )
        _set_tags(connection, recorded.run_id, event.tags)
    elif isinstance(event, events.PropertiesAdded):
        _add_properties(connection, recorded.run_id, event.properties)


def _set_tags(connection: sqlite3.Connection, run_id: str, tags: Mapping[str, str]) -> None:
    connection.executemany(
        "INSERT INTO tags VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
        [(run_id, storable(name), storable(value)) for name, value in tags.items()],
    )


def _add_properties(connection: sqlite3.Connection, run_id: str, properties: Mapping[str, str]) -> None:
    connection.executemany(
        "INSERT INTO properties VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        [(run_id, storable(name), storable(value)) for name, value in properties.items()],
    )
