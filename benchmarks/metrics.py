"""A million points of one metric: logged, taken in, stored and read, beside one row a point in plain SQLite.

The series is a smooth loss with noise as float64, step + 1, 10 ms with jitter between two points. The
reference is a table (run, name, step, time, value) with an index that finds a metric, in a write-ahead log
with synchronous=NORMAL, which is as safe as ours: one INSERT statement a point, 1,000 a transaction. Usage:
    python benchmarks/metrics.py [--points 1000000] [--rounds 3] [--without-numpy]
"""

from __future__ import annotations

import argparse
import math
import os
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from figures import interleaved, print_figure

Row = tuple[str, str, int, int, float]
TABLE = """
CREATE TABLE points(run_id TEXT NOT NULL, name TEXT NOT NULL, step INTEGER, at INTEGER NOT NULL, value REAL);
CREATE INDEX points_by_metric ON points(run_id, name);
"""
INSERT = "INSERT INTO points VALUES (?, ?, ?, ?, ?)"
READ = "SELECT step, at, value FROM points WHERE run_id = ? AND name = ? ORDER BY rowid"
BUCKETS = """
SELECT min(step), min(at), count(*), min(value), max(value) FROM
(SELECT *, ntile(1000) OVER (ORDER BY rowid) AS bucket FROM points WHERE run_id = ? AND name = ?) GROUP BY bucket
"""
RUN = "0" * 26


def series(points: int) -> Iterator[tuple[float, int]]:
    """Values, and nanoseconds since the epoch."""
    chance, at = random.Random(1), 1_700_000_000_000_000_000
    for step in range(points):
        at += max(1000, int(chance.gauss(10e6, 0.5e6)))
        yield 2 * math.exp(-step / 300_000) + 0.3 + chance.gauss(0, 0.02), at


class Reference:
    """One row a point."""

    def __init__(self, folder: Path, rows: list[Row]) -> None:
        self._rows = rows
        self._numbers = count()
        self._folder = folder
        self.path = folder

    def insert(self, a_transaction: int, *, many: bool = False, points: int | None = None) -> float:
        """Points a second."""
        self.path = self._folder / f"reference{next(self._numbers)}.db"
        connection = sqlite3.connect(self.path, isolation_level=None)
        connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;" + TABLE)
        rows = self._rows[:points]
        begun = time.perf_counter()
        for start in range(0, len(rows), a_transaction):
            connection.execute("BEGIN")
            if many:
                connection.executemany(INSERT, rows[start : start + a_transaction])
            else:
                for row in rows[start : start + a_transaction]:
                    connection.execute(INSERT, row)
            connection.execute("COMMIT")
        elapsed = time.perf_counter() - begun
        connection.close()
        return len(rows) / elapsed

    def fetch(self, sql: str) -> float:
        """Seconds for a question."""
        connection = sqlite3.connect(self.path)
        begun = time.perf_counter()
        connection.execute(sql, (RUN, "loss")).fetchall()
        elapsed = time.perf_counter() - begun
        connection.close()
        return elapsed


class Ours:
    """The spool, the ledger and its read models."""

    def __init__(self, folder: Path, rows: list[Row]) -> None:
        from onrecord.spool import SpoolWriter

        self._folder = folder
        self._spool = folder / "spool"
        self._numbers = count()
        times = iter([row[3] * 1000 for row in rows])
        writer = SpoolWriter(self._spool, clock=lambda: next(times))
        for _, name, step, _, value in rows:
            writer.write(name, value, step)
        writer.close()
        self._points = len(rows)
        self.path = folder

    def ingest(self) -> float:
        """Points a second, from the spool into events."""
        from onrecord.ingest import ingest
        from onrecord.ledger.events import RunSubmitted
        from onrecord.ledger.journal import Journal

        self.path = self._folder / f"ours{next(self._numbers)}.db"
        with Journal(self.path) as journal:
            journal.append(RUN, [RunSubmitted(experiment="benchmark", config={})])
            begun = time.perf_counter()
            taken = ingest(journal, RUN, self._spool)
            elapsed = time.perf_counter() - begun
            assert taken == self._points
            journal.catch_up()
        return taken / elapsed

    def read(self) -> float:
        """Seconds until every value, step and time is in a list."""
        from onrecord.ledger.journal import Journal
        from onrecord.ledger.query import Query

        with Journal(self.path) as journal:
            journal.catch_up()
            begun = time.perf_counter()
            pieces = Query(journal).metrics(RUN)["loss"]
            lists = [(list(piece.values), list(piece.steps), list(piece.times)) for piece in pieces]
            elapsed = time.perf_counter() - begun
        assert sum(len(values) for values, _, _ in lists) == self._points
        return elapsed

    def overview(self) -> float:
        """Seconds for 1,000 buckets."""
        from onrecord.ledger.journal import Journal
        from onrecord.ledger.query import Query

        with Journal(self.path) as journal:
            journal.catch_up()
            begun = time.perf_counter()
            buckets = Query(journal).downsampled(RUN, "loss", 1000)
            elapsed = time.perf_counter() - begun
        assert sum(bucket.points for bucket in buckets) == self._points
        return elapsed


def measure_calls(folder: Path) -> tuple[float, float, float]:
    """Microseconds of processor time, medians of 1,000 calls, in turns.

    Of one `run.log()`, of one bare write of as many bytes, and of one value of a `run.log_many()` of 20.
    """
    from onrecord import Run, Workspace

    run = Run(Workspace.create(folder), RUN)
    run.log("loss", 0.5, step=0)
    size = run.workspace.layout.run(RUN).spool.stat().st_size
    fd, frame = os.open(folder / "bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND), bytes(size)
    logged, bare, many = [], [], []
    values = {f"metric {number}": number / 2 for number in range(20)}
    for _ in range(300):
        begun = time.process_time_ns()
        for step in range(1000):
            run.log("loss", 0.5, step=step)
        between = time.process_time_ns()
        for _ in range(1000):
            os.write(fd, frame)
        last = time.process_time_ns()
        for step in range(50):
            run.log_many(values, step=step)
        many.append((time.process_time_ns() - last) / 1e6)
        logged.append((between - begun) / 1e6)
        bare.append((last - between) / 1e6)
    os.close(fd)
    return statistics.median(logged), statistics.median(bare), statistics.median(many)


def print_ingest(ours: Ours, reference: Reference, rounds: int) -> None:
    def pair(other: Callable[[], float], name: str, goal: float | None) -> None:
        mine, theirs = interleaved(rounds, [ours.ingest, other])
        said = f"ratio >= {goal:g}" if goal else "none"
        print_figure("spool to events", "points/s", mine, theirs, name, said, goal is None or mine / theirs >= goal)

    # The last one fills the reference that the other figures are taken from.
    pair(lambda: reference.insert(1, points=20_000), "one INSERT and one commit a point", None)
    pair(lambda: reference.insert(1000, many=True), "executemany, 1,000 rows a transaction", None)
    pair(lambda: reference.insert(1000), "one INSERT a point, 1,000 a transaction", 15)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-numpy", action="store_true", help="as where it is not installed")
    options = parser.parse_args()
    if options.without_numpy:
        sys.modules["numpy"] = None  # type: ignore[assignment]
    points, rounds, plain = options.points, options.rounds, "one row a point"
    rows = [(RUN, "loss", step, at // 1000, value) for step, (value, at) in enumerate(series(points))]
    with tempfile.TemporaryDirectory() as folder:
        ours, reference = Ours(Path(folder), rows), Reference(Path(folder), rows)
        print_ingest(ours, reference, rounds)
        mine, theirs = (one.path.stat().st_size / points for one in (ours, reference))
        print_figure("stored, with index and pyramid", "bytes/point", mine, theirs, plain, "<= 9", mine <= 9)
        mine, theirs = interleaved(rounds, [ours.read, lambda: reference.fetch(READ)])
        print_figure("all points read", "s", mine, theirs, plain, "<= 0.2", mine <= 0.2)
        mine, theirs = (1000 * one for one in interleaved(rounds, [ours.overview, lambda: reference.fetch(BUCKETS)]))
        print_figure("1,000 buckets of all points", "ms", mine, theirs, f"{plain}, ntile", "<= 20", mine <= 20)
        mine, theirs, each = measure_calls(Path(folder))
        bare = "a bare write of as many bytes"
        print_figure("run.log(), processor time", "us", mine, theirs, bare, "<= 2", mine <= 2)
        print_figure("a value of run.log_many(), processor time", "us", each, theirs, bare, "none", True)


if __name__ == "__main__":
    main()
