"""What evidence costs: verifying a ledger beside reading it, making and checking the proof of one event.

The bare scan selects every column of every event in batches of the audit's size and goes over the rows, without
hashing or comparing anything. Both are timed in processor seconds and on the clock. Usage:
    python benchmarks/evidence.py [--events 1000000] [--rounds 3] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import os
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from figures import interleaved, print_figure

from onrecord.ledger import merkle
from onrecord.ledger.audit import audit
from onrecord.ledger.audit_pieces import BATCH
from onrecord.ledger.codec import encode
from onrecord.ledger.events import (
    Event,
    FileRecorded,
    RunCompleted,
    RunFinalizing,
    RunMetrics,
    RunPreparing,
    RunRunning,
    RunSealed,
    RunSubmitted,
    RunTagged,
    Series,
)
from onrecord.ledger.history import History
from onrecord.ledger.ids import new_id
from onrecord.ledger.journal import Journal
from onrecord.ledger.read_models import differences
from onrecord.ledger.schema import TRIGGERS

CHUNKS = 20
RATIO, SECONDS, PROOF_MICROSECONDS = 3.0, 6.0, 100.0


def life(number: int) -> Iterator[Event]:
    """A run as a project has them: most of its events are chunks of metrics."""
    yield RunSubmitted(
        experiment=f"experiment-{number % 7}",
        config={"script": "train.py", "arguments": ["--alpha", str(number / 100)]},
        snapshot_id="0" * 64,
        tags={"team": "a"},
        properties={"onrecord.git.commit": "0" * 40},
    )
    yield RunPreparing()
    yield RunRunning(pid=number, started_at=number)
    for chunk in range(CHUNKS):
        values = [1 / (step + 1 + chunk) for step in range(8)]
        loss = Series("loss", "float64", values, list(range(8)), list(range(8)))
        yield RunMetrics(series=[loss], spool_start=chunk * 100, spool_end=chunk * 100 + 100)
    yield RunTagged(tags={"stage": "trained"})
    for name in ("logs/stdout.txt", "logs/stderr.txt", "outputs/model.bin"):
        yield FileRecorded(name=name, digest="ab" * 32, size=number)
    yield RunFinalizing(outcome="exited", exit_code=0, ended_at=number + 5)
    yield RunCompleted()


def rows(events: int) -> Iterator[tuple[object, ...]]:
    """Rows of `events`, with right hashes: as `append` would write them, without its fsyncs."""
    seq = number = 0
    while seq < events:
        stream, leaves = new_id(1_700_000_000_000 + number, os.urandom(10)), []
        number += 1
        for event in [*life(number), None]:
            if seq == events:
                return
            sealed = RunSealed(count=len(leaves), root=merkle.root_of(leaves).hex()) if event is None else event
            kind, payload = encode(sealed)
            seq, salt = seq + 1, os.urandom(16)
            commitment = merkle.payload_commitment(salt, payload)
            leaves.append(merkle.leaf_hash(seq, stream, len(leaves) + 1, seq, kind, commitment))
            yield seq, stream, len(leaves), kind, seq, salt, payload, commitment, leaves[-1]


def fill(path: Path, events: int) -> None:
    """A ledger with its projections."""
    with Journal(path) as journal:
        journal.size()
    connection = sqlite3.connect(path)
    triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for name in TRIGGERS:
        connection.execute(f"DROP TRIGGER {name}")
    connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows(events))
    for _, sql in triggers:
        connection.execute(sql)
    connection.commit()
    connection.close()
    with Journal(path) as journal:
        journal.rebuild()


def scan(journal: Journal) -> None:
    """The bare scan."""
    after = 0
    while True:
        found = journal.fetch(
            "SELECT seq, stream, rseq, type, ts, salt, payload, pcommit, leaf FROM events"
            " WHERE seq > ? ORDER BY seq LIMIT ?",
            (after, BATCH),
        )
        if not found:
            return
        for row in found:
            after = row[0]


def clean_audit(journal: Journal) -> None:
    """The ledger part of `onrecord verify` (hashes, order, states, tree, seals, the table of runs) of an intact one."""
    assert audit(journal, read_models=False).findings == []


def replay_read_models(journal: Journal) -> None:
    """The rest: every other table made again from the events and compared."""
    assert list(differences(journal)) == []


def timed(clock: Callable[[], float], work: Callable[[], None]) -> float:
    """Seconds by `clock`."""
    begun = clock()
    work()
    return clock() - begun


def measure_proofs(journal: Journal, count: int = 2000) -> float:
    """Microseconds to make one inclusion proof and check it, the median of `count` events."""
    history = History(journal)
    checkpoint = history.checkpoint()
    taken = []
    for _ in range(count):
        index = random.randrange(checkpoint.size)
        begun = time.perf_counter()
        leaf, proof = history.inclusion(index + 1, checkpoint)
        proof.check(leaf)
        taken.append(time.perf_counter() - begun)
    return sorted(taken)[count // 2] * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="make the ledger here, or use the one that is here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        path = (arguments.keep or Path(temporary)) / "ledger.db"
        if not path.exists():
            fill(path, arguments.events)
        with Journal(path) as journal:
            report(journal, arguments.rounds)


def report(journal: Journal, rounds: int) -> None:
    """Print the figures."""
    events = journal.size()
    first = timed(time.perf_counter, History(journal).catch_up)
    print_figure(f"tree of {events} events filled for the first time", "s", first, 0, "none", "none", True)
    scan(journal)
    for name, clock in (("processor", time.process_time), ("clock", time.perf_counter)):
        works: list[Callable[[], None]] = [lambda: clean_audit(journal), lambda: scan(journal)]
        verified, scanned = interleaved(rounds, [partial(timed, clock, work) for work in works])
        goal = f"at most {RATIO:g} times a bare scan, under {SECONDS:g} s"
        held = verified <= RATIO * scanned and verified < SECONDS
        print_figure(f"verify {events} events, {name} time", "s", verified, scanned, "bare scan", goal, held)
    replayed = timed(time.perf_counter, lambda: replay_read_models(journal))
    print_figure("the other read models replayed and compared", "s", replayed, scanned, "bare scan", "none", True)
    proved = measure_proofs(journal)
    goal = f"at most {PROOF_MICROSECONDS:g} us"
    print_figure("inclusion proof made and checked", "us", proved, 0, "none", goal, proved <= PROOF_MICROSECONDS)


if __name__ == "__main__":
    main()
