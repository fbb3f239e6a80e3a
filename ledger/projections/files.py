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
TYPES = frozenset({"run.file_recorded", "run.file_uploaded", "run.file_removed"})
SCHEMA = """
CREATE TABLE files(
    run_id TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,             -- 1, 2, 3 … of this name
    digest TEXT NOT NULL,                 -- BLAKE3, 64 hex digits: the object that holds the content
    size INTEGER NOT NULL,                -- bytes
    recorded_at INTEGER NOT NULL,         -- microseconds since the epoch, UTC
    removed_at INTEGER,                   -- when this name was found gone with this content; NULL while it is there
    uploaded INTEGER NOT NULL,            -- 1: it was given to the run, and need not lie in its folder
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
            "UPDATE files SET removed_at = ?3 WHERE run_id = ?1 AND name = ?2 AND NOT uploaded AND version ="
            " (SELECT max(version) FROM files WHERE run_id = ?1 AND name = ?2)",
            (recorded.run_id, storable(event.name), recorded.at),
        )
    elif isinstance(event, events.FileRecorded | events.FileUploaded):
        _add(connection, recorded, event, uploaded=isinstance(event, events.FileUploaded))


def _add(
    connection: sqlite3.Connection,
    recorded: Recorded,
    event: events.FileRecorded | events.FileUploaded,
    *,
    uploaded: bool,
) -> None:
    name, digest = storable(event.name), storable(event.digest)
    newest = connection.execute(
        "SELECT version, digest, removed_at IS NULL FROM files WHERE run_id = ? AND name = ?"
        " ORDER BY version DESC LIMIT 1",
        (recorded.run_id, name),
    ).fetchone()
    # The script and the conductor may both have recorded the same content of the same file.
    if newest is not None and newest[1:] == (digest, 1):
        if uploaded:
            sql = "UPDATE files SET uploaded = 1 WHERE run_id = ? AND name = ? AND version = ?"
            connection.execute(sql, (recorded.run_id, name, newest[0]))
        return
    version = newest[0] + 1 if newest is not None else 1
    connection.execute(
        "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, NULL, ?)",
        (recorded.run_id, name, version, digest, event.size, recorded.at, uploaded),
    )
