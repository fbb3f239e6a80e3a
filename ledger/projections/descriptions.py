"""What people wrote about a run: its description (the last one counts) and its notes, in the order of writing."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from onrecord.ledger import events
from onrecord.ledger.projections.rows import Insert
from onrecord.ledger.recorded import Recorded
from onrecord.ledger.schema import PROJECTION_VERSIONS
from onrecord.ledger.text import storable

NAME = "descriptions"
VERSION = PROJECTION_VERSIONS[NAME]
TABLES: tuple[str, ...] = ("run_descriptions", "run_notes")
TYPES = frozenset({"run.described", "run.noted"})
SCHEMA = """
CREATE TABLE run_descriptions(
    run INTEGER PRIMARY KEY,              -- `seq` of the run
    text TEXT NOT NULL                    -- the last one; a run whose description is empty has no row
) STRICT;
CREATE VIEW descriptions AS SELECT runs.run_id, e.text FROM run_descriptions AS e JOIN runs ON runs.seq = e.run;
CREATE TABLE run_notes(
    run INTEGER NOT NULL,                 -- `seq` of the run
    seq INTEGER NOT NULL,                 -- of the event that holds the note
    at INTEGER NOT NULL,                  -- microseconds since the epoch, UTC
    author TEXT NOT NULL,                 -- who wrote it; empty where that is not known
    text TEXT NOT NULL,
    PRIMARY KEY(run, seq)
) STRICT, WITHOUT ROWID;
CREATE VIEW notes AS SELECT runs.run_id, e.seq, e.at, e.author, e.text
    FROM run_notes AS e JOIN runs ON runs.seq = e.run;
"""
_insert_descriptions = Insert("run_descriptions", 2, "ON CONFLICT DO UPDATE SET text = excluded.text")
_insert_notes = Insert("run_notes", 5)


def apply(connection: sqlite3.Connection, batch: Sequence[Recorded]) -> None:
    """Take events into the descriptions and the notes."""
    descriptions: dict[int, str] = {}
    notes: list[tuple[object, ...]] = []
    for recorded in batch:
        event, run = recorded.event, recorded.run
        if isinstance(event, events.RunDescribed):
            descriptions[run] = storable(event.description)
        elif isinstance(event, events.RunNoted):
            notes.append((run, recorded.seq, recorded.at, storable(event.by), storable(event.text)))
    emptied = [(run,) for run, text in descriptions.items() if not text]
    connection.executemany("DELETE FROM run_descriptions WHERE run = ?", emptied)
    _insert_descriptions(connection, [(run, text) for run, text in descriptions.items() if text])
    _insert_notes(connection, notes)
