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
TABLES: tuple[str, ...] = ("metrics", "spools")
TYPES = frozenset({"run.metrics"})
SCHEMA = """
CREATE TABLE metrics(
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
        if not series.values:
            continue
        last = series.values[-1]
        number = float(last) if isinstance(last, (int, float)) and abs(last) < 1e308 else None
        name = storable(series.name)
        connection.execute(
            "INSERT INTO metrics SELECT ?1, ?2, coalesce(max(first + count), 0), ?3, ?4, ?5, ?6"
            " FROM metrics WHERE run_id = ?1 AND name = ?2",
            (recorded.run_id, name, place, len(series.values), recorded.seq, number),
        )
    connection.execute(
        "INSERT INTO spools VALUES (?, ?) ON CONFLICT DO UPDATE SET position = max(position, excluded.position)",
        (recorded.run_id, event.spool_end),
    )
