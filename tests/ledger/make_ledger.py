"""Dull defaults for the ledger's tests."""

from __future__ import annotations

import hashlib
import itertools
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from onrecord.ledger import ids
from onrecord.ledger.events import (
    Event,
    FileRecorded,
    RunCompleted,
    RunMetrics,
    RunPreparing,
    RunRunning,
    RunSubmitted,
    RunTagged,
    Series,
)
from onrecord.ledger.journal import Journal

_numbers = itertools.count(1)
DIGEST = "ab" * 32


def run_id(number: int | None = None) -> str:
    """A new run id, also beside other processes; the same `number` gives the same id."""
    at, seed = (next(_numbers), f"{os.getpid()} {time.time_ns()}") if number is None else (number, str(number))
    return ids.encode(ids.new_id(1_700_000_000_000 + at, hashlib.sha256(seed.encode()).digest()))


def journal(folder: Path) -> Journal:
    """The ledger in `folder`."""
    return Journal(folder / "ledger.db")


def submitted(**fields: Any) -> RunSubmitted:
    """A run exists."""
    return RunSubmitted(**{"experiment": "exp", "config": {"script": "train.py"}, **fields})


def series(name: str = "loss", values: tuple[Any, ...] = (0.5,), kind: str = "float64") -> Series:
    """Some points of one metric."""
    return Series(name, kind, list(values), list(range(len(values))), [1_000 + n for n in range(len(values))])


def metrics(*pieces: Series, end: int = 0) -> RunMetrics:
    """A chunk."""
    return RunMetrics(series=list(pieces) or [series()], spool_end=end)


def file(name: str = "outputs/model", digest: str = DIGEST) -> FileRecorded:
    """A file of a run."""
    return FileRecorded(name=name, digest=digest, size=3)


def whole_life() -> list[Event]:
    """A run from start to end, with a fact of every kind on the way."""
    return [
        submitted(
            tags={"a": "1"},
            properties={"p": "1"},
            config={"script": "train.py", "arguments": ["--alpha", "0.5", "--fast"]},
            parent=run_id(0),
        ),
        RunPreparing(),
        RunRunning(pid=7, started_at=5),
        metrics(end=10),
        file(),
        RunTagged(tags={"b": "2"}, removed=["a"]),
        RunCompleted(),
    ]


def finished_run(book: Journal, number: int | None = None) -> str:
    """A run that was submitted, ended and sealed."""
    run = run_id(number)
    book.append(run, whole_life(), seal=True)
    return run


TABLES = (
    *(
        "runs",
        "run_tags",
        "run_properties",
        "run_params",
        "files",
        "run_metrics",
        "metric_chunks",
        "metric_buckets",
        "spools",
        "run_resources",
    ),
    *("families", "search", "projections", "tags", "properties", "params", "metrics", "resources"),
)


def tables(book: Journal) -> dict[str, list[Any]]:
    """Every row of every projection."""
    book.catch_up()
    return {table: sorted(book.fetch(f"SELECT * FROM {table}"), key=repr) for table in TABLES}  # noqa: S608


def raw(path: Path) -> sqlite3.Connection:
    """The file behind the library's back."""
    return sqlite3.connect(path, isolation_level=None)


def python(code: str, *arguments: object, prefix: Sequence[str] = (), **options: Any) -> subprocess.Popen[bytes]:
    """Another process that runs `code` with this folder's modules at hand."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [*prefix, sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def output(process: subprocess.Popen[bytes]) -> str:
    """What a process wrote, once it has ended well."""
    out, err = process.communicate(timeout=100)
    if process.returncode:
        raise RuntimeError(f"exit code {process.returncode}: {err.decode()}")
    return out.decode()


def in_fork(work: Callable[[], None]) -> int:
    """A forked child that does `work`; its pid."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def ended_well(child: int) -> bool:
    """Wait for a forked child."""
    return os.waitpid(child, 0)[1] == 0
