"""What questions cost on many runs, and what a rebuild of every read model costs.

100,000 runs with 5 parameters, 3 metrics and 2 tags each: a filter on one key with order and limit, one on three
keys, and a page of 50 runs with all their attributes. With `--mlflow PYTHON` (an interpreter that has mlflow or
mlflow-skinny with sqlalchemy) the same questions to MLflow's SQLite store on 5,000 runs, beside ours on as many.
Usage: python benchmarks/queries.py [--runs 100000] [--folder FOLDER] [--rounds 40] [--mlflow PYTHON] [--profile]
"""

from __future__ import annotations

import argparse
import cProfile
import hashlib
import json
import pstats
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from figures import print_figure

from onrecord.ledger import ids
from onrecord.ledger.append import Append
from onrecord.ledger.events import (
    RunCompleted,
    RunFinalizing,
    RunMetrics,
    RunPreparing,
    RunQueued,
    RunRunning,
    RunSubmitted,
    RunTagged,
    Series,
)
from onrecord.ledger.journal import Journal
from onrecord.ledger.query import Query

MLFLOW_RUNS = 5000
# Ours, and the same as MLflow's filter and order; MLflow compares parameters as text only.
QUESTIONS = {
    "one key": ("metrics.mse < 0.5 order by metrics.mse limit 20", "metrics.mse < 0.5", "metrics.mse ASC"),
    "three keys": (
        "metrics.mse < 0.5 and metrics.loss >= 0.1 and tags.team = a order by metrics.mse limit 20",
        "metrics.mse < 0.5 and metrics.loss >= 0.1 and tags.team = 'a'",
        "metrics.mse ASC",
    ),
}
# More of each kind, so that the goal is not held by one lucky question.
ONE_KEY = [
    QUESTIONS["one key"][0],
    "params.alpha >= 0.5 order by params.alpha desc limit 20",
    "tags.team = b limit 20",
    "experiment = experiment-3 order by created limit 20",
    "status = Failed order by metrics.mse limit 20",
    "metrics.mse > 0.9999 order by created desc limit 20",
    "order by metrics.mse desc limit 20",
]
THREE_KEYS = [
    QUESTIONS["three keys"][0],
    "metrics.mse < 0.5 and params.alpha >= 0.1 and tags.team = a order by metrics.mse limit 20",
    "experiment = experiment-3 and metrics.mse < 0.1 and params.depth = 4 order by metrics.loss desc limit 20",
    "tags.team = c and params.optimizer = adam and metrics.accuracy > 0.99 order by created limit 20",
    "status = Completed and metrics.loss < 0.01 and params.batch in (16, 32) limit 20",
    "experiment = experiment-3 and tags.team = a and params.rate < 0.00001 order by params.rate limit 20",
]


def number_of(*words: object) -> float:
    """A number in [0, 1) that looks random, the same for the same words."""
    return int.from_bytes(hashlib.blake2b(repr(words).encode(), digest_size=6).digest(), "big") / 2**48


def parameters(index: int) -> dict[str, str]:
    """Five parameters, in their usual spellings."""
    return {
        "alpha": str(round(number_of("alpha", index), 2)),
        "rate": f"{10 ** (-1 - 5 * number_of('rate', index)):.3e}",
        "depth": str(1 + index % 8),
        "batch": str(2 ** (3 + index % 6)),
        "optimizer": ("adam", "sgd", "lion")[index % 3],
    }


def life(index: int, created: int) -> list[object]:
    """Nine events of one run, all but the seal."""
    values = [number_of(name, index) for name in ("mse", "loss", "accuracy")]
    arguments = [word for name, value in parameters(index).items() for word in (f"--{name}", value)]
    series = [
        Series(name, "float64", [value], [1], [created])
        for name, value in zip(("mse", "loss", "accuracy"), values, strict=True)
    ]
    return [
        RunSubmitted(
            experiment=f"experiment-{index % 7}",
            config={"script": "train.py", "arguments": arguments, "target": "local"},
            snapshot_id="0" * 64,
            tags={"team": "abcdefgh"[index % 8], "index": str(index)},
            properties={"onrecord.git.commit": "0" * 40},
        ),
        RunQueued(),
        RunPreparing(),
        RunRunning(pid=index, started_at=created + 1000),
        RunMetrics(series=series, spool_end=100),
        RunTagged(tags={"index": str(index)}),
        RunFinalizing(outcome="exited", exit_code=0, ended_at=created + 5_000_000),
        RunCompleted(),
    ]


def fill(journal: Journal, runs: int) -> None:
    """The runs, through the same code as every append, 500 of them a transaction."""
    connection, start = journal.database.writable(), 1_700_000_000_000
    for first in range(0, runs, 500):
        connection.execute("BEGIN IMMEDIATE")
        for index in range(first, min(first + 500, runs)):
            noise = hashlib.blake2b(str(index).encode(), digest_size=10).digest()
            run_id, created = ids.encode(ids.new_id(start + index * 60_000, noise)), (start + index * 60_000) * 1000
            writer = Append(connection, run_id, created, lambda size: b"\0" * size)
            writer.add(Append.prepared(life(index, created), lambda size: b"\0" * size))
            writer.seal()
            writer.done()
        connection.execute("COMMIT")
        if first % 10_000 == 0:
            journal.database.checkpoint()
    journal.database.checkpoint()


def ready(folder: Path, runs: int) -> Journal:
    """The ledger with so many runs, made where it is not there."""
    path, partial = folder / f"queries-{runs}.db", folder / f"queries-{runs}.partial.db"
    if not path.exists():
        # Under another name until it is whole: an interrupted one would answer at once.
        for left in folder.glob(f"{partial.name}*"):
            left.unlink()
        with Journal(partial) as journal:
            fill(journal, runs)
        partial.rename(path)
    journal = Journal(path)
    assert journal.fetch("SELECT count(*) FROM runs") == [(runs,)], f"{path} is not a ledger of {runs} runs"
    return journal


def median_ms(rounds: int, work: Callable[[], object]) -> float:
    """The median of `rounds` calls after one that warms up."""
    work()
    taken = []
    for _ in range(rounds):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken) * 1000


def worst(query: Query, questions: list[str], rounds: int) -> float:
    """The median of the slowest of the questions, each printed."""
    slowest = 0.0
    for question in questions:
        taken = median_ms(rounds, lambda question=question: query.search(question))  # type: ignore[misc]
        print(json.dumps({"question": question, "ms": round(taken, 3), "rows": len(query.search(question).rows)}))
        slowest = max(slowest, taken)
    return slowest


def page(query: Query) -> object:
    """A page of 50 runs with all their attributes, from the middle of the list."""
    rows = query.search("", limit=50).rows
    return query.facts([row.run_id for row in rows])


def print_questions(journal: Journal, runs: int, rounds: int) -> None:
    """The three figures."""
    query = Query(journal)
    journal.catch_up()
    bare = median_ms(rounds, lambda: journal.fetch("SELECT count(*) FROM (SELECT 1 FROM runs LIMIT 20)"))
    name = f"on {runs} runs, slowest of its kind, p50"
    one, three = worst(query, ONE_KEY, rounds), worst(query, THREE_KEYS, rounds)
    print_figure(f"filter on one key, order, limit 20, {name}", "ms", one, bare, "an empty statement", "<= 1", one <= 1)
    print_figure(f"filter on three keys {name}", "ms", three, bare, "an empty statement", "<= 15", three <= 15)
    paged = median_ms(rounds * 3, lambda: page(query))
    print_figure(
        f"page of 50 with attributes on {runs} runs, p50",
        "ms",
        paged,
        bare,
        "an empty statement",
        "<= 0.6",
        paged <= 0.6,
    )


def print_rebuild(journal: Journal, *, profile: bool) -> None:
    """How many events a second all read models take together."""
    profiler = cProfile.Profile() if profile else None
    if profiler:
        profiler.enable()
    begun, cpu = time.perf_counter(), time.process_time()
    events = journal.rebuild()
    wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
    if profiler:
        profiler.disable()
        pstats.Stats(profiler).sort_stats("tottime").print_stats(25)
    begun = time.perf_counter()
    for after in range(0, events, 10_000):
        columns = "SELECT seq, stream, rseq, type, ts, payload FROM events"
        journal.fetch(f"{columns} WHERE seq > ? ORDER BY seq LIMIT 10000", (after,))
    reading = time.perf_counter() - begun
    rate, read = events / wall, events / reading
    print(json.dumps({"rebuild": {"events": events, "wall_s": round(wall, 2), "cpu_s": round(cpu, 2)}}))
    print_figure("rebuild", "events/s", rate, read, "reading the rows alone", ">= 100000", rate >= 100_000)


MLFLOW = """
import json, statistics, sys, time
from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
path, questions, rounds = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
store = SqlAlchemyStore("sqlite:///" + path, path + "-artifacts")
known = store.get_experiment_by_name("all")
experiment = known.experiment_id if known else store.create_experiment("all")
for line in [] if known else sys.stdin:
    run = json.loads(line)
    made = store.create_run(experiment, "me", run["at"], [], run["name"])
    store.log_batch(made.info.run_id, [Metric(k, v, run["at"], 1) for k, v in run["metrics"].items()],
                    [Param(k, v) for k, v in run["params"].items()], [RunTag(k, v) for k, v in run["tags"].items()])
for wanted, order in questions:
    taken = []
    for _ in range(rounds + 1):
        begun = time.perf_counter()
        found = store.search_runs([experiment], wanted, ViewType.ACTIVE_ONLY, 20, [order] if order else None)
        taken.append(time.perf_counter() - begun)
    print(json.dumps({"ms": statistics.median(taken[1:]) * 1000, "rows": len(found)}))
"""


def mlflow_runs() -> Iterator[bytes]:
    """The same runs as `life` makes, one JSON line each."""
    for index in range(MLFLOW_RUNS):
        document = {
            "at": 1_700_000_000_000 + index * 60_000,
            "name": f"run-{index}",
            "params": parameters(index),
            "metrics": {name: number_of(name, index) for name in ("mse", "loss", "accuracy")},
            "tags": {"team": "abcdefgh"[index % 8], "index": str(index)},
        }
        yield json.dumps(document).encode() + b"\n"


def print_beside_mlflow(folder: Path, interpreter: str, rounds: int) -> None:
    """Both stores with the same 5,000 runs and the same questions."""
    questions = [(wanted, order) for _, wanted, order in QUESTIONS.values()]
    result = subprocess.run(
        [interpreter, "-c", MLFLOW, str(folder.absolute() / "mlflow.db"), json.dumps(questions), str(rounds)],
        input=b"".join(mlflow_runs()),
        stdout=subprocess.PIPE,
        check=True,
    )
    theirs = [json.loads(line) for line in result.stdout.splitlines() if line.startswith(b"{")]
    journal = ready(folder, MLFLOW_RUNS)
    journal.catch_up()
    query = Query(journal)
    for (name, (ours, _, _)), their in zip(QUESTIONS.items(), theirs, strict=True):
        taken = median_ms(rounds, lambda ours=ours: query.search(ours))  # type: ignore[misc]
        held = their["ms"] >= 100 * taken
        figure = f"filter on {name}, order, limit 20, on {MLFLOW_RUNS} runs, p50"
        print_figure(figure, "ms", taken, their["ms"], "MLflow's SQLite store", "at most 1/100", held)
    journal.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--folder", type=Path, help="keep the ledgers here for the next time")
    parser.add_argument("--mlflow", metavar="PYTHON", help="compare with the mlflow of this interpreter")
    parser.add_argument("--profile", action="store_true", help="say where the time of the rebuild goes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if options.mlflow:
            print_beside_mlflow(folder, options.mlflow, options.rounds)
        with ready(folder, options.runs) as journal:
            print_rebuild(journal, profile=options.profile)
            print_questions(journal, options.runs, options.rounds)


if __name__ == "__main__":
    main()
