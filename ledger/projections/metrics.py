"""Where each metric's points are: one row a series of a chunk, the points stay in their event."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from onrecord.ledger import events
from onrecord.ledger.recorded import Recorded
from onrecord.ledger.schema import PROJECTION_VERSIONS
from onrecord.ledger.text import storable

NAME = "metrics"
VERSION = PROJECTION_VERSIONS[NAME]
TABLES: tuple[str, ...] = ("metrics", "metric_chunks", "spools")
TYPES = frozenset({"run.metrics"})
SCHEMA = """
CREATE TABLE metrics(
    run_id TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, count INTEGER NOT NULL,
    last REAL, minimum REAL, maximum REAL, last_step INTEGER, last_at INTEGER,
    PRIMARY KEY(run_id, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX metrics_by_value ON metrics(name, last, run_id);
CREATE TABLE metric_chunks(
    run_id TEXT NOT NULL, name TEXT NOT NULL,
    first INTEGER NOT NULL,               -- index of the chunk's first point within the metric, from 0
    place INTEGER NOT NULL,               -- index of the series within its chunk, from 0
    count INTEGER NOT NULL,               -- points
    seq INTEGER NOT NULL,                 -- the event that holds them
    last REAL,                            -- the last point where it is a number
    PRIMARY KEY(run_id, name, first)
) STRICT, WITHOUT ROWID;
CREATE TABLE spools(run_id TEXT PRIMARY KEY, position INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""


def apply(connection: sqlite3.Connection, batch: Sequence[Recorded]) -> None:
    """Take events into the index of points."""
    for recorded in batch:
        _take(connection, recorded)


def _take(connection: sqlite3.Connection, recorded: Recorded) -> None:
    event = recorded.event
    if not isinstance(event, events.RunMetrics):
        return
    for place, series in enumerate(event.series):
        if series.values:
            _take_series(connection, recorded, place, series)
    connection.execute(
        "INSERT INTO spools VALUES (?, ?) ON CONFLICT DO UPDATE SET position = max(position, excluded.position)",
        (recorded.run_id, event.spool_end),
    )


def _take_series(connection: sqlite3.Connection, recorded: Recorded, place: int, series: events.Series) -> None:
    name, run_id, count = storable(series.name), recorded.run_id, len(series.values)
    last = _number(series.values[-1])
    connection.execute(
        "INSERT INTO metric_chunks SELECT ?1, ?2, coalesce(max(first + count), 0), ?3, ?4, ?5, ?6"
        " FROM metric_chunks WHERE run_id = ?1 AND name = ?2",
        (run_id, name, place, count, recorded.seq, last),
    )
    numbers = [number for value in series.values if (number := _number(value)) is not None]
    least, greatest = (min(numbers), max(numbers)) if numbers else (None, None)
    connection.execute(
        "INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET kind = excluded.kind,"
        " count = count + excluded.count, last = excluded.last,"
        " minimum = min(ifnull(minimum, excluded.minimum), ifnull(excluded.minimum, minimum)),"
        " maximum = max(ifnull(maximum, excluded.maximum), ifnull(excluded.maximum, maximum)),"
        " last_step = excluded.last_step, last_at = excluded.last_at",
        (run_id, name, series.kind, count, last, least, greatest, series.steps[-1], series.times[-1]),
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and value == value and abs(value) < 1e308 else None
