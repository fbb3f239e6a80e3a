"""The ledger's write path beside plain SQLite: the same table, index and triggers, with values computed before.

    python benchmarks/ledger.py [durable light batches writers] [--rounds 7] [--appends 1000000]

Flushes take a fixed 1 ms (shim.py), so the disk does not matter; CPU time is of all threads of a process, in user
and kernel. The reference inserts what an append inserts and nothing else. For 8 processes it is what one writes
without a lock of one's own: `synchronous=FULL` and SQLite's busy handler (timeout 60 s), each process a
transaction a row. `--appends 1000000` is the long form of those, for the errors and the longest wait.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from figures import interleaved, print_figure
from shim import fixed_fsync

from onrecord.ledger import ids
from onrecord.ledger.append import Append
from onrecord.ledger.errors import LedgerError
from onrecord.ledger.events import Event, FileRecorded, RunMetrics, RunSubmitted, RunTagged, Series
from onrecord.ledger.journal import Journal

WRITERS = 8
BATCH = 1000
INSERT = "INSERT INTO events(seq, stream, rseq, type, ts, salt, payload, pcommit, leaf) VALUES (?,?,?,?,?,?,?,?,?)"
NEXT = (
    "INSERT INTO events(seq, stream, rseq, type, ts, salt, payload, pcommit, leaf)"
    " SELECT coalesce(max(seq), 0) + 1, ?1,"
    " (SELECT coalesce(max(rseq), 0) + 1 FROM events WHERE stream = ?1), ?2, ?3, ?4, ?5, ?6, ?7 FROM events"
)
DURABLE = RunTagged(tags={"lr": "0.003"})
LIGHT = FileRecorded(name="outputs/checkpoint-000010.pt", digest="ab" * 32, size=123_456)


def new_run() -> str:
    return ids.encode(ids.new_id(time.time_ns() // 1_000_000, os.urandom(10)))


def raw_ledger(path: Path, level: str) -> sqlite3.Connection:
    """A file with the ledger's own tables, in the hands of plain sqlite3."""
    if not path.exists():
        with Journal(path) as book:
            book.size()
    connection = sqlite3.connect(path, isolation_level=None, timeout=60)
    connection.execute(f"PRAGMA synchronous = {level}")
    return connection


def values_of(event: Event) -> tuple[object, ...]:
    """What an append would insert of an event, but for its place."""
    ((_, kind, payload, salt, commitment),) = Append.prepared([event], os.urandom)
    return kind, time.time_ns() // 1000, salt, payload, commitment, os.urandom(32)


class Plain:
    """Inserts into a ledger's table of events; every value is there before."""

    def __init__(self, path: Path, level: str, event: Event) -> None:
        self.connection = raw_ledger(path, level)
        self.stream = os.urandom(16)
        self.values = values_of(event)

    def prepared(self, rounds: int, count: int) -> list[list[tuple[object, ...]]]:
        """The rows of each round, those of the first round last."""
        starts = range((rounds - 1) * count, -1, -count)
        return [[(n, self.stream, n, *self.values) for n in range(start + 1, start + count + 1)] for start in starts]

    def single(self, rows: list[tuple[object, ...]]) -> None:
        execute = self.connection.execute
        for row in rows:
            execute("BEGIN IMMEDIATE")
            execute(INSERT, row)
            execute("COMMIT")

    def batch(self, rows: list[tuple[object, ...]]) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.executemany(INSERT, rows)
        self.connection.execute("COMMIT")


class Ours:
    """Appends to a ledger."""

    def __init__(self, path: Path) -> None:
        self.book = Journal(path)
        self.run = new_run()
        self.book.append(self.run, [RunSubmitted(experiment="benchmark", config={})])

    def single(self, event: Event, count: int) -> None:
        append, run = self.book.append, self.run
        for _ in range(count):
            append(run, [event])


def measured(clock: Callable[[], float], work: Callable[[], None]) -> float:
    begun = clock()
    work()
    return clock() - begun


# One process. These run in a process of their own, under the shim.


def durable(folder: Path, rounds: int) -> None:
    count = 200
    ours, plain = Ours(folder / "ours.db"), Plain(folder / "plain.db", "FULL", DURABLE)
    rows = plain.prepared(rounds, count)
    mine, theirs = interleaved(
        rounds,
        [
            lambda: measured(time.perf_counter, lambda: ours.single(DURABLE, count)),
            lambda: measured(time.perf_counter, lambda: plain.single(rows.pop())),
        ],
    )
    rate, reference = count / mine, count / theirs
    goal = "ratio >= 0.95"
    print_figure("durable appends", "1/s", rate, reference, "INSERT, synchronous=FULL", goal, rate >= 0.95 * reference)


def light(folder: Path, rounds: int) -> None:
    count = 2000  # as many as lie between two checkpoints, so each round has one
    ours, plain = Ours(folder / "ours.db"), Plain(folder / "plain.db", "NORMAL", LIGHT)
    ours.single(LIGHT, count)
    rows = plain.prepared(rounds + 1, count)
    plain.single(rows.pop())
    mine, theirs = interleaved(
        rounds,
        [
            lambda: measured(time.process_time, lambda: ours.single(LIGHT, count)),
            lambda: measured(time.process_time, lambda: plain.single(rows.pop())),
        ],
    )
    mine, theirs = mine / count * 1e6, theirs / count * 1e6
    goal = "ratio <= 2.2"
    print_figure("one append, not durable", "us CPU", mine, theirs, "INSERT, NORMAL", goal, mine <= 2.2 * theirs)


def batches(folder: Path, rounds: int) -> None:
    files: list[Event] = [
        FileRecorded(name=f"outputs/checkpoint-{n:06}.pt", digest=f"{n:064x}", size=n) for n in range(BATCH)
    ]
    chunks: list[Event] = [
        RunMetrics(series=[Series("loss", "float64", [0.5 / (n + 1)], [n], [1_700_000_000_000_000 + n])])
        for n in range(BATCH)
    ]
    for name, events, goal in (("file events", files, 1.6), ("metric chunks of one point", chunks, None)):
        ours = Ours(folder / f"{name}.db")
        plain = Plain(folder / f"{name}-plain.db", "NORMAL", events[BATCH // 2])
        rows = plain.prepared(4 * rounds, BATCH)
        mine, theirs = interleaved(
            4 * rounds,
            [
                lambda: measured(time.process_time, lambda: ours.book.append(ours.run, events) and None),  # noqa: B023
                lambda: measured(time.process_time, lambda: plain.batch(rows.pop())),  # noqa: B023
            ],
        )
        rate, reference = BATCH / mine, BATCH / theirs
        held = goal is None or (rate >= 90_000 and mine <= goal * theirs)
        wanted = "none" if goal is None else ">= 90000/s of CPU time and ratio >= 0.625"
        print_figure(f"{name}, 1000 an append", "1/s CPU", rate, reference, "executemany, NORMAL", wanted, held)


# Eight processes. Each appends until its count or its time is up, and says how long the longest append took.


def writer(kind: str, path: Path, count: int, seconds: float) -> None:
    if kind == "ours":
        ours = Ours(path)

        def append() -> None:
            ours.book.append(ours.run, [DURABLE])
    else:
        connection, values = raw_ledger(path, "FULL"), (os.urandom(16), *values_of(DURABLE))

        def append() -> None:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(NEXT, values)
            connection.execute("COMMIT")

    print("ready", flush=True)
    sys.stdin.readline()
    done, errors, longest = 0, 0, 0.0
    begun = before = time.perf_counter()
    while done < count and before - begun < seconds:
        try:
            append()
            done += 1
        except (sqlite3.OperationalError, LedgerError):
            errors += 1
        now = time.perf_counter()
        longest, before = max(longest, now - before), now
    print(json.dumps({"done": done, "seconds": before - begun, "longest": longest, "errors": errors}), flush=True)


def crowd(folder: Path, kind: str, count: int, seconds: float) -> list[dict[str, float]]:
    path = folder / f"{kind}-crowd.db"
    raw_ledger(path, "FULL").close()
    command = [sys.executable, __file__, "writer", kind, str(path), str(count), str(seconds)]
    writers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(WRITERS)
    ]
    for one in writers:
        assert one.stdout is not None
        one.stdout.readline()
    for one in writers:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    return [json.loads(one.communicate()[0]) for one in writers]


def writers(folder: Path, appends: int, seconds: float) -> None:
    endless = 10**12
    theirs = crowd(folder, "raw", endless, seconds)
    ours = crowd(folder, "ours", appends // WRITERS, 1e9) if appends else crowd(folder, "ours", endless, seconds)
    name = "INSERT, synchronous=FULL, busy handler"
    print_figure("appends of all", "count", total(ours), total(theirs), name, "none", True)
    rate, reference = throughput(ours), throughput(theirs)
    print_figure(
        f"durable appends of {WRITERS} processes", "1/s", rate, reference, name, "ratio >= 7", rate >= 7 * reference
    )
    fair = jain(ours)
    print_figure("fairness between them (Jain)", "1", fair, jain(theirs), name, "ours >= 0.99", fair >= 0.99)
    longest, reference = (max(one["longest"] for one in crowd_) * 1000 for crowd_ in (ours, theirs))
    print_figure("the longest wait", "ms", longest, reference, name, "ratio <= 0.02", longest <= reference / 50)
    errors, reference = (sum(one["errors"] for one in crowd_) for crowd_ in (ours, theirs))
    print_figure("errors, such as 'locked'", "count", errors, reference, name, "ours = 0", errors == 0)


def total(crowd: list[dict[str, float]]) -> float:
    return sum(one["done"] for one in crowd)


def throughput(crowd: list[dict[str, float]]) -> float:
    return total(crowd) / max(one["seconds"] for one in crowd)


def jain(crowd: list[dict[str, float]]) -> float:
    rates = [one["done"] / one["seconds"] for one in crowd]
    return sum(rates) ** 2 / (len(rates) * sum(rate**2 for rate in rates))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="*", default=["durable", "light", "batches", "writers"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=10, help="how long eight processes append")
    parser.add_argument("--appends", type=int, default=0, help="how many appends ours makes instead, in all")
    options = parser.parse_args()
    if options.part[0] == "writer":
        kind, path, count, seconds = options.part[1:]
        writer(kind, Path(path), int(count), float(seconds))
    elif "FSYNC_MICROSECONDS" not in os.environ:
        with fixed_fsync(1000) as environment:
            subprocess.run([sys.executable, *sys.argv], env=environment, check=True)
    else:
        for part in options.part:
            with tempfile.TemporaryDirectory() as folder:
                if part == "writers":
                    writers(Path(folder), options.appends, options.seconds)
                else:
                    {"durable": durable, "light": light, "batches": batches}[part](Path(folder), options.rounds)


if __name__ == "__main__":
    main()
