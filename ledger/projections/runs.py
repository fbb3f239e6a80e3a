"""One row a run: its state, its times and how it ended."""

from __future__ import annotations

import json
import sqlite3

from onrecord.ledger import events
from onrecord.ledger.projections.text import storable, storable_or_none
from onrecord.ledger.recorded import Recorded
from onrecord.ledger.states import MOVING_EVENTS, TERMINAL, state_after

NAME = "runs"
VERSION = 1
TABLES: tuple[str, ...] = ("runs",)
SCHEMA = """
CREATE TABLE runs(
    seq INTEGER PRIMARY KEY,              -- of the event that submitted it: newest first is descending
    run_id TEXT NOT NULL UNIQUE,
    head INTEGER NOT NULL,                -- events in the run
    experiment TEXT NOT NULL,
    number INTEGER NOT NULL,              -- 1, 2, 3 … within the experiment
    name TEXT NOT NULL,
    run_type TEXT NOT NULL,
    parent TEXT,
    status TEXT NOT NULL,
    created_at INTEGER NOT NULL,          -- microseconds since the epoch, UTC
    started_at INTEGER,
    ended_at INTEGER,
    exit_code INTEGER,
    signal INTEGER,
    error TEXT,                           -- JSON object with code and message
    snapshot_id TEXT,
    sealed INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX runs_experiment ON runs(experiment, number);
CREATE INDEX runs_unfinished ON runs(seq) WHERE status NOT IN ('Completed', 'Failed', 'Canceled');
"""

_TOUCH = "UPDATE runs SET head = ? WHERE run_id = ?"
_MOVE = "UPDATE runs SET head = ?, status = ? WHERE run_id = ?"


def apply(connection: sqlite3.Connection, recorded: Recorded) -> None:
    """Take one event into the run's row."""
    if recorded.type == "run.submitted":
        _insert(connection, recorded)
        return
    if recorded.type not in MOVING_EVENTS:
        connection.execute(_TOUCH, (recorded.version, recorded.run_id))
        _note(connection, recorded)
        return
    row = connection.execute("SELECT status FROM runs WHERE run_id = ?", (recorded.run_id,)).fetchone()
    status = state_after(row[0], recorded.type) or row[0]
    connection.execute(_MOVE, (recorded.version, status, recorded.run_id))
    _note(connection, recorded)
    if status in TERMINAL:
        connection.execute(
            "UPDATE runs SET ended_at = coalesce(ended_at, ?) WHERE run_id = ?",
            (recorded.at, recorded.run_id),
        )


def _insert(connection: sqlite3.Connection, recorded: Recorded) -> None:
    event = recorded.event
    if not isinstance(event, events.RunSubmitted):
        # Erased, or of a later version: the run is there, what it was is not known.
        event = events.RunSubmitted(experiment="", config={}, run_type="")
    experiment = storable(event.experiment)
    number = connection.execute(
        "SELECT coalesce(max(number), 0) + 1 FROM runs WHERE experiment = ?", (experiment,)
    ).fetchone()[0]
    connection.execute(
        "INSERT INTO runs(seq, run_id, head, experiment, number, name, run_type, parent, status, created_at,"
        " snapshot_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            recorded.seq,
            recorded.run_id,
            recorded.version,
            experiment,
            number,
            storable(event.name),
            storable(event.run_type),
            storable_or_none(event.parent),
            state_after(None, "run.submitted"),
            recorded.at,
            storable_or_none(event.snapshot_id),
        ),
    )


def _note(connection: sqlite3.Connection, recorded: Recorded) -> None:
    event = recorded.event
    if isinstance(event, events.RunRunning):
        _set(connection, recorded, started_at=event.started_at or recorded.at)
    elif isinstance(event, events.RunFinalizing):
        _set(connection, recorded, exit_code=event.exit_code, signal=event.signal, ended_at=event.ended_at)
    elif isinstance(event, events.RunCompleted):
        _set(connection, recorded, exit_code=event.exit_code)
    elif isinstance(event, events.RunFailed):
        error = json.dumps(event.error, sort_keys=True)
        _set(connection, recorded, exit_code=event.exit_code, signal=event.signal, error=error)
    elif isinstance(event, events.RunCanceled):
        error = json.dumps({"code": event.reason, "message": event.message}, sort_keys=True)
        _set(connection, recorded, exit_code=event.exit_code, signal=event.signal, error=error)
    elif isinstance(event, events.RunSealed):
        _set(connection, recorded, sealed=event.count)


def _set(connection: sqlite3.Connection, recorded: Recorded, **columns: object) -> None:
    # Column names come from the calls above, never from data. What a later event does not say (the exit code,
    # when only `run.finalizing` knew it) stays as it was.
    names = ", ".join(f"{name} = coalesce(?, {name})" for name in columns)
    connection.execute(
        f"UPDATE runs SET {names} WHERE run_id = ?",  # noqa: S608
        (*columns.values(), recorded.run_id),
    )
