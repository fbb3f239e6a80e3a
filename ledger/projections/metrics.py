"""Metrics: how each stands, where its points are, and its pyramid of buckets. The points stay in their events.

The pyramid's lowest level has a bucket for every 256 points, each next level one for 4 of the level below.
Buckets that are full never change; the last of the lowest level, which is not, is written anew until it is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

from onrecord.ledger import events
from onrecord.ledger.buckets import RATIO, SIZE, Bucket, Points, extent, joined, merged, points_of, summed_up
from onrecord.ledger.recorded import Recorded
from onrecord.ledger.schema import PROJECTION_VERSIONS
from onrecord.ledger.text import storable

NAME = "metrics"
VERSION = PROJECTION_VERSIONS[NAME]
TABLES: tuple[str, ...] = ("metrics", "metric_chunks", "metric_buckets", "spools")
TYPES = frozenset({"run.metrics"})
SCHEMA = """
CREATE TABLE metrics(
    run_id TEXT NOT NULL, name TEXT NOT NULL,
    kind TEXT NOT NULL,                   -- of the last point: float64, int64 or json
    count INTEGER NOT NULL,               -- points
    last REAL,                            -- NULL where the last point is NaN or not a number
    minimum REAL,                         -- finite or infinite, NaN ignored; NULL where there is no number
    maximum REAL,                         -- the same
    first_step INTEGER,                   -- NULL where none was given
    first_at INTEGER NOT NULL,            -- microseconds since the epoch, UTC
    last_step INTEGER,                    -- NULL where none was given
    last_at INTEGER NOT NULL,             -- microseconds since the epoch, UTC
    PRIMARY KEY(run_id, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX metrics_by_value ON metrics(name, last, run_id);
CREATE TABLE metric_chunks(
    run_id TEXT NOT NULL, name TEXT NOT NULL,
    first INTEGER NOT NULL,               -- index of the chunk's first point within the metric, from 0
    place INTEGER NOT NULL,               -- index of the series within its chunk, from 0
    count INTEGER NOT NULL,               -- points
    seq INTEGER NOT NULL,                 -- the event that holds them
    minimum REAL, maximum REAL,
    least_step INTEGER, greatest_step INTEGER,
    PRIMARY KEY(run_id, name, first)
) STRICT, WITHOUT ROWID;
CREATE TABLE metric_buckets(
    run_id TEXT NOT NULL, name TEXT NOT NULL,
    level INTEGER NOT NULL,
    start INTEGER NOT NULL, points INTEGER NOT NULL, nans INTEGER NOT NULL, stepless INTEGER NOT NULL,
    step INTEGER, at INTEGER NOT NULL, least_step INTEGER, greatest_step INTEGER, first REAL, last REAL,
    minimum REAL, minimum_index INTEGER, minimum_step INTEGER,
    maximum REAL, maximum_index INTEGER, maximum_step INTEGER,
    PRIMARY KEY(run_id, name, level, start)
) STRICT, WITHOUT ROWID;
CREATE TABLE spools(run_id TEXT PRIMARY KEY, position INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""
_STANDING = (
    "SELECT 0, count, 0, 0, first_step, first_at, NULL, NULL, NULL, last, minimum, NULL, NULL, maximum, NULL, NULL"
    " FROM metrics WHERE run_id = ? AND name = ?"
)
_INSERT_SPOOL = "INSERT INTO spools VALUES (?, ?) ON CONFLICT DO UPDATE SET position = max(position, excluded.position)"
_INSERT_METRIC = "INSERT OR REPLACE INTO metrics VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_INSERT_CHUNK = "INSERT INTO metric_chunks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_INSERT_BUCKET = f"INSERT OR REPLACE INTO metric_buckets VALUES (?, ?, ?{', ?' * len(Bucket._fields)})"  # noqa: S608


def apply(connection: sqlite3.Connection, batch: Sequence[Recorded]) -> None:
    """Take events into the tables."""
    touched: dict[tuple[str, str], _Metric] = {}
    standing, spools = _Standing(connection), dict[str, int]()
    for recorded in batch:
        event = recorded.event
        if not isinstance(event, events.RunMetrics):
            continue
        for place, series in enumerate(event.series):
            if len(series.values):
                key = recorded.run_id, storable(series.name)
                metric = touched.get(key) or touched.setdefault(key, _Metric(connection, key, standing.of(key)))
                metric.take(recorded.seq, place, series)
        spools[recorded.run_id] = max(event.spool_end, spools.get(recorded.run_id, 0))
    rows = _Rows()
    for metric in touched.values():
        metric.give(rows)
    rows.write(connection)
    connection.executemany(_INSERT_SPOOL, spools.items())


class _Rows:
    """What a batch makes, written table by table: a statement for each row costs more than the row."""

    def __init__(self) -> None:
        self.metrics: list[tuple[object, ...]] = []
        self.chunks: list[tuple[object, ...]] = []
        self.buckets: list[tuple[object, ...]] = []

    def write(self, connection: sqlite3.Connection) -> None:
        connection.executemany(_INSERT_METRIC, self.metrics)
        connection.executemany(_INSERT_CHUNK, self.chunks)
        connection.executemany(_INSERT_BUCKET, self.buckets)


class _Metric:
    """One metric while a batch is taken."""

    def __init__(self, connection: sqlite3.Connection, key: tuple[str, str], total: Bucket | None) -> None:
        self._connection = connection
        self._key = key
        # All points so far as one bucket, of which only what the table of metrics has is known.
        self._total = total
        self._count = self._total.points if self._total else 0
        full = self._count - self._count % SIZE
        # Of the lowest level: the one that is not full yet, then the new ones.
        self._buckets = _stored(connection, self._key, 0, full, self._count)
        # Points that are in no bucket yet: a run that logs slowly has chunks of one point each.
        self._parts: list[Points] = []
        self._waiting = 0
        self._chunks: list[tuple[object, ...]] = []
        self._last: tuple[str, int | None, int] = ("", None, 0)

    def take(self, seq: int, place: int, series: events.Series) -> None:
        """Go one series of a chunk on."""
        points, count = points_of(series), len(series.values)
        self._chunks.append((*self._key, self._count, place, count, seq, *extent(points)))
        self._parts.append(points)
        self._count += count
        self._waiting += count
        self._last = series.kind, points.steps[-1], points.times[-1]
        if self._waiting >= SIZE:
            self._sum_up()

    def give(self, rows: _Rows) -> None:
        """Add its rows to those that are to be written."""
        if self._waiting:
            self._sum_up()
        if self._total is None:
            return
        rows.metrics.append((*self._key, *self._standing_now(self._total)))
        rows.chunks += self._chunks
        rows.buckets += [(*self._key, level, *bucket) for level, bucket in self._pyramid()]

    def _standing_now(self, total: Bucket) -> tuple[object, ...]:
        kind, last_step, last_at = self._last
        extremes = total.last, total.minimum, total.maximum
        return kind, total.points, *extremes, total.step, total.at, last_step, last_at

    def _sum_up(self) -> None:
        start = self._count - self._waiting
        buckets = summed_up(joined(self._parts), start, SIZE)
        self._total = merged([self._total, *buckets] if self._total else buckets)
        if start % SIZE:
            buckets[0] = merged([self._buckets.pop(), buckets[0]])
        self._buckets += buckets
        self._parts, self._waiting = [], 0

    def _pyramid(self) -> Iterator[tuple[int, Bucket]]:
        """The new buckets of every level, with their level."""
        full = self._buckets
        if self._count % SIZE:
            yield 0, full.pop()
        level, size = 0, SIZE
        while full:
            yield from ((level, bucket) for bucket in full)
            above = size * RATIO
            begin, first = full[0].start - full[0].start % above, full[0].start
            children = _stored(self._connection, self._key, level, begin, first) + full
            groups = (children[place : place + RATIO] for place in range(0, len(children), RATIO))
            full = [merged(group) for group in groups if len(group) == RATIO]
            level, size = level + 1, above


class _Standing:
    """How metrics stand before a batch."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        # Whether a run has any: most runs have all their metrics in one batch when the tables are made anew.
        self._known: dict[str, bool] = {}

    def of(self, key: tuple[str, str]) -> Bucket | None:
        """All points of a metric as one bucket, of which only what the table of metrics has is known."""
        run_id = key[0]
        if run_id not in self._known:
            found = self._connection.execute("SELECT 1 FROM metrics WHERE run_id = ? LIMIT 1", (run_id,))
            self._known[run_id] = found.fetchone() is not None
        row = self._connection.execute(_STANDING, key).fetchone() if self._known[run_id] else None
        return row and Bucket._make(row)


def _stored(connection: sqlite3.Connection, key: tuple[str, str], level: int, begin: int, end: int) -> list[Bucket]:
    if begin == end:
        return []
    rows = connection.execute(
        f"SELECT {', '.join(Bucket._fields)} FROM metric_buckets"  # noqa: S608 - our own column names
        " WHERE run_id = ? AND name = ? AND level = ? AND start >= ? AND start < ? ORDER BY start",
        (*key, level, begin, end),
    )
    return [Bucket._make(row) for row in rows]
