"""Metrics: how each stands, where its points are, and its pyramid of buckets. The points stay in their events.

The pyramid's lowest level has a bucket for every 256 points, each next level one for 4 of the level below.
Buckets that are full never change; the last of the lowest level, which is not, is written anew until it is. The
first point alone has none: its metric's row says the same.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Sequence

from onrecord.ledger import events
from onrecord.ledger.buckets import RATIO, SIZE, Bucket, Points, extent, joined, merged, points_of, summed_up
from onrecord.ledger.chunk import Point, single_points
from onrecord.ledger.projections.rows import Insert
from onrecord.ledger.recorded import Recorded
from onrecord.ledger.schema import PROJECTION_VERSIONS
from onrecord.ledger.text import storable

NAME = "metrics"
VERSION = PROJECTION_VERSIONS[NAME]
TABLES: tuple[str, ...] = ("run_metrics", "metric_chunks", "metric_buckets", "spools")
TYPES = frozenset({"run.metrics"})
SCHEMA = """
CREATE TABLE run_metrics(
    run INTEGER NOT NULL,                 -- `seq` of the run
    name TEXT NOT NULL,
    kind TEXT NOT NULL,                   -- of the last point: float64, int64, json, list, row, table …
    count INTEGER NOT NULL,               -- points
    last REAL,                            -- NULL where the last point is NaN or not a number
    minimum REAL,                         -- finite or infinite, NaN ignored; NULL where there is no number
    maximum REAL,                         -- the same
    first_step INTEGER,                   -- NULL where none was given
    first_at INTEGER NOT NULL,            -- microseconds since the epoch, UTC
    last_step INTEGER,                    -- NULL where none was given
    last_at INTEGER NOT NULL,             -- microseconds since the epoch, UTC
    PRIMARY KEY(run, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX metrics_by_value ON run_metrics(name, last, run);
CREATE VIEW metrics AS SELECT runs.run_id, e.name, e.kind, e.count, e.last, e.minimum, e.maximum,
    e.first_step, e.first_at, e.last_step, e.last_at FROM run_metrics AS e JOIN runs ON runs.seq = e.run;
CREATE TABLE metric_chunks(
    run INTEGER NOT NULL,                 -- `seq` of the run
    name TEXT NOT NULL,
    first INTEGER NOT NULL,               -- index of the chunk's first point within the metric, from 0
    place INTEGER NOT NULL,               -- index of the series within its chunk, from 0
    count INTEGER NOT NULL,               -- points
    seq INTEGER NOT NULL,                 -- the event that holds them
    minimum REAL, maximum REAL,
    least_step INTEGER, greatest_step INTEGER,
    PRIMARY KEY(run, name, first)
) STRICT, WITHOUT ROWID;
CREATE TABLE metric_buckets(
    run INTEGER NOT NULL,                 -- `seq` of the run
    name TEXT NOT NULL,
    level INTEGER NOT NULL,
    start INTEGER NOT NULL, points INTEGER NOT NULL, nans INTEGER NOT NULL, stepless INTEGER NOT NULL,
    step INTEGER, at INTEGER NOT NULL, least_step INTEGER, greatest_step INTEGER, first REAL, last REAL,
    minimum REAL, minimum_index INTEGER, minimum_step INTEGER,
    maximum REAL, maximum_index INTEGER, maximum_step INTEGER,
    PRIMARY KEY(run, name, level, start)
) STRICT, WITHOUT ROWID;
CREATE TABLE spools(run INTEGER PRIMARY KEY, position INTEGER NOT NULL) STRICT;
"""
_STANDING = (
    "SELECT 0, count, 0, 0, first_step, first_at, NULL, NULL, NULL, last, minimum, NULL, NULL, maximum, NULL, NULL"
    " FROM run_metrics WHERE run = ? AND name = ?"
)
_insert_spools = Insert("spools", 2, "ON CONFLICT DO UPDATE SET position = max(position, excluded.position)")
_insert_metrics = Insert("run_metrics", 11, verb="INSERT OR REPLACE")
_insert_chunks = Insert("metric_chunks", 10)
_insert_buckets = Insert("metric_buckets", 3 + len(Bucket._fields), verb="INSERT OR REPLACE")


def apply(connection: sqlite3.Connection, batch: Sequence[Recorded]) -> None:
    """Take events into the tables."""
    taken = _Taken(connection)
    spools = dict[int, int]()
    for recorded in batch:
        run = recorded.run
        points = single_points(recorded.payload or b"")
        if points is not None:
            end = points.spool_end
            for place, point in enumerate(points.series):
                taken.point(run, recorded.seq, place, point)
        elif isinstance(event := recorded.event, events.RunMetrics):
            end = event.spool_end
            for place, series in enumerate(event.series):
                if len(series.values):
                    taken.metric((run, storable(series.name))).take(recorded.seq, place, series.kind, points_of(series))
        else:
            continue
        spools[run] = max(end, spools.get(run, 0))
    taken.write()
    _insert_spools(connection, list(spools.items()))


class _Taken:
    """The metrics of a batch."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._standing = _Standing(connection)
        self._metrics: dict[tuple[int, str], _Metric] = {}
        # Those of one point in all, of which nothing has to be summed up: `seq`, place and the point.
        self._single: dict[tuple[int, str], tuple[int, int, Point]] = {}

    def point(self, run: int, seq: int, place: int, point: Point) -> None:
        """Take a series of one point."""
        key = run, storable(point[0])
        if key not in self._single and key not in self._metrics and self._standing.of(key) is None:
            self._single[key] = seq, place, point
        else:
            self.metric(key).take_point(seq, place, point)

    def metric(self, key: tuple[int, str]) -> _Metric:
        """The metric, with all that it has so far."""
        metric = self._metrics.get(key)
        if metric is None:
            metric = self._metrics[key] = _Metric(self._connection, key, self._standing.of(key))
            single = self._single.pop(key, None)
            if single is not None:
                metric.take_point(*single)
        return metric

    def write(self) -> None:
        """Write the rows, table by table: a statement for each row costs more than the row."""
        rows = _Rows()
        for (run, name), (seq, place, (_, kind, number, step, at)) in self._single.items():
            real = number if number == number else None
            rows.metrics.append((run, name, kind, 1, real, real, real, step, at, step, at))
            rows.chunks.append((run, name, 0, place, 1, seq, real, real, step, step))
        for metric in self._metrics.values():
            metric.give(rows)
        rows.write(self._connection)


class _Rows:
    """What a batch makes."""

    def __init__(self) -> None:
        self.metrics: list[tuple[object, ...]] = []
        self.chunks: list[tuple[object, ...]] = []
        self.buckets: list[tuple[object, ...]] = []

    def write(self, connection: sqlite3.Connection) -> None:
        _insert_metrics(connection, self.metrics)
        _insert_chunks(connection, self.chunks)
        _insert_buckets(connection, self.buckets)


class _Metric:
    """One metric while a batch is taken."""

    def __init__(self, connection: sqlite3.Connection, key: tuple[int, str], total: Bucket | None) -> None:
        self._connection = connection
        self._key = key
        # All points so far as one bucket, of which only what the table of metrics has is known.
        self._total = total
        self._count = self._total.points if self._total else 0
        full = self._count - self._count % SIZE
        # Of the lowest level: the one that is not full yet, then the new ones.
        self._buckets = _stored(connection, key, 0, full, self._count)
        if total is not None and total.points == 1:
            self._buckets = [_only(total)]
        # Points that are in no bucket yet: a run that logs slowly has chunks of one point each.
        self._parts: list[Points] = []
        self._waiting = 0
        self._chunks: list[tuple[object, ...]] = []
        self._last: tuple[str, int | None, int] = ("", None, 0)

    def take_point(self, seq: int, place: int, point: Point) -> None:
        """Go one series of one point on."""
        _, kind, number, step, at = point
        self.take(seq, place, kind, Points([number], [step], [at]))

    def take(self, seq: int, place: int, kind: str, points: Points) -> None:
        """Go one series of a chunk on."""
        count = len(points.times)
        self._chunks.append((*self._key, self._count, place, count, seq, *extent(points)))
        self._parts.append(points)
        self._count += count
        self._waiting += count
        self._last = kind, points.steps[-1], points.times[-1]
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
        if self._count > 1:
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
        # Most runs have all their metrics in one batch when the tables are made anew: those behind the last are new.
        self._last = connection.execute("SELECT max(run) FROM run_metrics").fetchone()[0] or 0

    def of(self, key: tuple[int, str]) -> Bucket | None:
        """All points of a metric as one bucket, of which only what the table of metrics has is known."""
        row = self._connection.execute(_STANDING, key).fetchone() if key[0] <= self._last else None
        return row and Bucket._make(row)


def _only(standing: Bucket) -> Bucket:
    """The bucket of a metric's only point, which is not stored: the table of metrics has all of it."""
    number = math.nan if standing.last is None else standing.last
    return summed_up(Points([number], [standing.step], [standing.at]), 0, SIZE)[0]


def _stored(connection: sqlite3.Connection, key: tuple[int, str], level: int, begin: int, end: int) -> list[Bucket]:
    if begin == end:
        return []
    rows = connection.execute(
        f"SELECT {', '.join(Bucket._fields)} FROM metric_buckets"  # noqa: S608 - our own column names
        " WHERE run = ? AND name = ? AND level = ? AND start >= ? AND start < ? ORDER BY start",
        (*key, level, begin, end),
    )
    return [Bucket._make(row) for row in rows]
