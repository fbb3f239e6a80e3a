"""One row a run: its state, its times and how it ended."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from onrecord.ledger.projections.rows import Insert
from onrecord.ledger.recorded import Recorded
from onrecord.ledger.run_state import RunState
from onrecord.ledger.schema import PROJECTION_VERSIONS

NAME = "runs"
VERSION = PROJECTION_VERSIONS[NAME]
TABLES: tuple[str, ...] = ("runs",)
SCHEMA = """
CREATE TABLE runs(
    seq INTEGER PRIMARY KEY,              -- of its first event: newest first is descending; other tables say `run`
    run_id TEXT NOT NULL UNIQUE,          -- 26 characters
    head INTEGER NOT NULL,                -- events in the run
    experiment TEXT NOT NULL,
    number INTEGER NOT NULL,              -- 1, 2, 3 … within the experiment
    name TEXT NOT NULL,                   -- empty where none was given: people then see experiment_number
    run_type TEXT NOT NULL,
    parent TEXT,                          -- the run that it was started from
    status TEXT NOT NULL,                 -- NotStarted to Completed, Failed or Canceled
    created_at INTEGER NOT NULL,          -- microseconds since the epoch, UTC
    started_at INTEGER,                   -- the same, of the script
    ended_at INTEGER,
    exit_code INTEGER,
    signal INTEGER,                       -- the signal that ended the script
    error TEXT,                           -- JSON object with code and message
    snapshot_id TEXT,                     -- of the source, 64 hex digits
    sealed INTEGER NOT NULL DEFAULT 0,    -- events under the last seal
    archived_at INTEGER                   -- when it was archived; NULL while it is not
) STRICT;
CREATE UNIQUE INDEX runs_experiment ON runs(experiment, number);
CREATE INDEX runs_created ON runs(created_at, seq);
CREATE INDEX runs_status ON runs(status, seq);
CREATE INDEX runs_parent ON runs(parent, seq) WHERE parent IS NOT NULL;
CREATE INDEX runs_without_parent ON runs(seq) WHERE parent IS NULL;
CREATE INDEX runs_without_parent_by_experiment ON runs(experiment, seq) WHERE parent IS NULL;
CREATE INDEX runs_unfinished ON runs(seq) WHERE status NOT IN ('Completed', 'Failed', 'Canceled');
"""

_COLUMNS = ", ".join(RunState.COLUMNS)
_SELECT = f"SELECT {_COLUMNS} FROM runs WHERE run_id = ?"  # noqa: S608
_INSERT = f"INSERT INTO runs({_COLUMNS}) VALUES ({', '.join('?' * len(RunState.COLUMNS))})"  # noqa: S608
_UPDATE = f"UPDATE runs SET {', '.join(f'{name} = ?' for name in RunState.MUTABLE)} WHERE seq = ?"  # noqa: S608
_TOUCH = "UPDATE runs SET head = ? WHERE seq = ?"
_PLACE = (
    "SELECT (SELECT coalesce(max(seq), 0) FROM events), runs.seq, head, status"
    " FROM (SELECT 1) LEFT JOIN runs ON run_id = ?"
)
# Erased runs without an experiment have negative numbers.
_NEXT_NUMBER = "SELECT coalesce(max(max(number), 0), 0) + 1 FROM runs WHERE experiment = ?"


_insert_rows = Insert(f"runs({_COLUMNS})", len(RunState.COLUMNS))


def place(connection: sqlite3.Connection, run_id: str) -> tuple[int, int | None, int, str | None]:
    """Where an append goes: the ledger's last seq; the run's row, its head and status, None, 0 and None without one."""
    last, row, head, status = connection.execute(_PLACE, (run_id,)).fetchone()
    return last, row, head or 0, status


def load(connection: sqlite3.Connection, run_id: str) -> RunState:
    """The row of a run that is in the table."""
    return RunState(*connection.execute(_SELECT, (run_id,)).fetchone())


def submit(connection: sqlite3.Connection, recorded: Recorded) -> RunState:
    """A new run, in the table."""

    state = RunState.submitted(recorded, lambda experiment: next_number(connection, experiment))
    connection.execute(_INSERT, state.values)
    return state


def next_number(connection: sqlite3.Connection, experiment: str) -> int:
    """The number that the next run of an experiment gets."""
    return int(connection.execute(_NEXT_NUMBER, (experiment,)).fetchone()[0])


def update(connection: sqlite3.Connection, state: RunState) -> None:
    """Write what can have changed of a run that is in the table."""
    connection.execute(_UPDATE, (*state.mutable_values, state.seq))


def touch(connection: sqlite3.Connection, row: int, head: int) -> None:
    """Write how many events the run in this row has, where nothing else of it changed."""
    connection.execute(_TOUCH, (head, row))


def replace(connection: sqlite3.Connection, state: RunState) -> None:
    """Write every column of a run that is in the table."""
    connection.execute("DELETE FROM runs WHERE seq = ?", (state.seq,))
    connection.execute(_INSERT, state.values)


def insert(connection: sqlite3.Connection, states: Iterable[RunState]) -> None:
    """Write many runs into the empty table."""
    _insert_rows(connection, [state.values for state in states])
