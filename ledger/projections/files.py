"""Files of every run: each content that a name ever had is a version, from 1."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from onrecord.ledger import events
from onrecord.ledger.recorded import Recorded
from onrecord.ledger.schema import PROJECTION_VERSIONS
from onrecord.ledger.text import storable

NAME = "files"
VERSION = PROJECTION_VERSIONS[NAME]
TABLES: tuple[str, ...] = ("files",)
TYPES = frozenset({"run.file_recorded", "run.file_removed"})
SCHEMA = """
CREATE TABLE files(
    run_id TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,             -- 1, 2, 3 … of this name
    digest TEXT NOT NULL,                 -- BLAKE3, 64 hex digits: the object that holds the content
    size INTEGER NOT NULL,                -- bytes
    recorded_at INTEGER NOT NULL,         -- microseconds since the epoch, UTC
    removed_at INTEGER,                   -- when this name was found gone with this content; NULL while it is there
    PRIMARY KEY(run_id, name, version)
) STRICT, WITHOUT ROWID;
"""


def apply(connection: sqlite3.Connection, batch: Sequence[Recorded]) -> None:
    """Take events into the files."""
    for recorded in batch:
        _take(connection, recorded)


def _take(connection: sqlite3.Connection, recorded: Recorded) -> None:
    event = recorded.event
    if isinstance(event, events.FileRemoved):
        connection.execute(
            "UPDATE files SET removed_at = ?3 WHERE run_id = ?1 AND name = ?2 AND version ="
            " (SELECT max(version) FROM files WHERE run_id = ?1 AND name = ?2)",
            (recorded.run_id, storable(event.name), recorded.at),
        )
        return
    if not isinstance(event, events.FileRecorded):
        return
    name = storable(event.name)
    connection.execute(
        "INSERT INTO files SELECT ?1, ?2, coalesce(max(version), 0) + 1, ?3, ?4, ?5, NULL"
        " FROM files WHERE run_id = ?1 AND name = ?2",
        (recorded.run_id, name, storable(event.digest), event.size, recorded.at),
    )
