"""The ledger's tables, made and changed step by step with sqlite-utils.

Imported only when a file is new or old: sqlite-utils costs more to import than a run costs to append.
"""

from __future__ import annotations

import sqlite3

import sqlite_utils
from sqlite_utils import Migrations

from onrecord.ledger.replay import make_current, run_script
from onrecord.ledger.schema import APPLICATION_ID, VERSION

SCHEMA = Migrations("onrecord")

_EVENTS = """
CREATE TABLE events(
    seq INTEGER PRIMARY KEY,
    stream BLOB NOT NULL CHECK(length(stream) = 16),
    rseq INTEGER NOT NULL,
    type TEXT NOT NULL,
    ts INTEGER NOT NULL,
    salt BLOB,
    payload BLOB,
    pcommit BLOB NOT NULL CHECK(length(pcommit) = 32),
    leaf BLOB NOT NULL CHECK(length(leaf) = 32)
) STRICT;
CREATE UNIQUE INDEX events_stream ON events(stream, rseq);
CREATE TRIGGER events_are_never_deleted BEFORE DELETE ON events BEGIN
    SELECT RAISE(ABORT, 'events are append-only: this row cannot be deleted');
END;
CREATE TRIGGER events_are_never_changed BEFORE UPDATE ON events
WHEN NOT (
    NEW.payload IS NULL AND NEW.salt IS NULL AND OLD.payload IS NOT NULL
    AND NEW.seq IS OLD.seq AND NEW.stream IS OLD.stream AND NEW.rseq IS OLD.rseq AND NEW.type IS OLD.type
    AND NEW.ts IS OLD.ts AND NEW.pcommit IS OLD.pcommit AND NEW.leaf IS OLD.leaf
) BEGIN
    SELECT RAISE(ABORT, 'events are append-only: only a payload and its salt can be erased, together');
END;
CREATE TRIGGER events_have_no_gaps BEFORE INSERT ON events
WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM events)
    OR NEW.rseq IS NOT (SELECT coalesce(max(rseq), 0) + 1 FROM events WHERE stream = NEW.stream)
BEGIN
    SELECT RAISE(ABORT, 'events are append-only: a new event takes the next seq and the next rseq of its stream');
END;
"""


@SCHEMA()
def events_and_projections(db: sqlite_utils.Database) -> None:
    """Version 1: the events, and the read models."""
    run_script(db.conn, _EVENTS)
    db.execute("CREATE TABLE projections(name TEXT PRIMARY KEY, version INTEGER, seq INTEGER) STRICT")
    make_current(db.conn)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {VERSION}")


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the file to the newest schema. The caller holds the writers' lock."""
    # A deferred BEGIN, as sqlite-utils issues it, is safe only under that lock.
    SCHEMA.apply(sqlite_utils.Database(connection, execute_plugins=False))
