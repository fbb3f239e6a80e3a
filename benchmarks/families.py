"""What lists of runs cost where most runs are children: pages of a list, of children, of all generations.

Sweeps of 999 children each, written one after the other into two experiments, at two sizes; the time at the larger one
beside that at the smaller. The newest runs are all children, so that whoever looks for a run without a parent from the
newest on would look at many. Usage: python benchmarks/families.py [--runs 100000] [--rounds 200]
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from figures import print_figure

from onrecord import Experiment, Run, Workspace
from onrecord.ledger import ids
from onrecord.ledger.append import Append
from onrecord.ledger.events import RunCompleted, RunPreparing, RunRunning, RunSubmitted
from onrecord.ledger.journal import Journal

SWEEP = 1000
_Event = RunSubmitted | RunPreparing | RunRunning | RunCompleted


def run_id(index: int) -> str:
    """The id of the run with this number."""
    noise = hashlib.blake2b(str(index).encode(), digest_size=10).digest()
    return ids.encode(ids.new_id(1_700_000_000_000 + index * 1000, noise))


def fill(journal: Journal, runs: int) -> None:
    """The runs, through the same code as every append, 500 of them a transaction."""
    connection = journal.database.writable()
    for first in range(0, runs, 500):
        connection.execute("BEGIN IMMEDIATE")
        for index in range(first, min(first + 500, runs)):
            sweep, place = divmod(index, SWEEP)
            parent = run_id(sweep * SWEEP) if place else None
            tags = {"fold": str(place % 10)}
            submitted = RunSubmitted(experiment=f"sweeps-{sweep % 2}", config={}, parent=parent, tags=tags)
            life: list[_Event] = [submitted, RunPreparing(), RunRunning(pid=1), RunCompleted()]
            writer = Append(connection, run_id(index), 1_700_000_000_000_000 + index * 1_000_000, bytes)
            writer.add(Append.prepared(life, bytes))
            writer.done()
        connection.execute("COMMIT")
    journal.database.checkpoint()
    journal.catch_up()


def questions(workspace: Workspace) -> dict[str, Callable[[], object]]:
    """What is asked, by its name."""
    experiment, oldest = Experiment(workspace, "sweeps-0"), Run(workspace, run_id(0))
    return {
        "30 runs for `ls`": lambda: workspace.query.runs(children=False, limit=30),
        "the first run of get_runs()": lambda: next(experiment.get_runs()),
        "the first run of get_runs(include_children=True)": lambda: next(experiment.get_runs(include_children=True)),
        "50 children of the oldest sweep": lambda: list(itertools.islice(oldest.get_children(), 50)),
        "50 of them by a tag": lambda: list(itertools.islice(oldest.get_children(tags={"fold": "3"}), 50)),
        "50 of them over all generations": lambda: list(itertools.islice(oldest.get_children(recursive=True), 50)),
        "the experiments": workspace.query.experiments,
    }


def median_ms(rounds: int, work: Callable[[], object]) -> float:
    """Milliseconds of processor time, after one round that counts not."""
    work()
    taken = []
    for _ in range(rounds):
        begun = time.process_time()
        work()
        taken.append((time.process_time() - begun) * 1000)
    return statistics.median(taken)


def main() -> None:
    """Print a line for each question."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=200)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sizes = {runs: Workspace.create(Path(folder) / str(runs)) for runs in (given.runs // 10, given.runs)}
        for runs, workspace in sizes.items():
            fill(workspace.journal, runs)
        small, large = (questions(workspace) for workspace in sizes.values())
        for name in large:
            ours, reference = median_ms(given.rounds, large[name]), median_ms(given.rounds, small[name])
            print_figure(
                f"{name}, of {given.runs:,} runs", "ms", ours, reference, f"of {given.runs // 10:,}",
                "at most 2 times, or 1 ms more", ours <= max(2 * reference, reference + 1),
            )  # fmt: skip


if __name__ == "__main__":
    main()
