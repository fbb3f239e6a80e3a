"""Runs that are on record without a script having run: quick, with real events, objects and snapshots."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from onrecord import Run, Workspace
from onrecord.ledger.events import (
    Event,
    FileRecorded,
    PropertiesAdded,
    RunCompleted,
    RunMetrics,
    RunRunning,
    RunSubmitted,
    RunTagged,
    Series,
)
from onrecord.ledger.ids import encode, new_id
from onrecord.snapshot.take import take_snapshot


def workspace(folder: Path) -> Workspace:
    """A workspace in the new folder `folder`."""
    return Workspace.create(folder)


def recorded(
    found: Workspace,
    *,
    experiment: str = "exp",
    parent: str | None = None,
    files: dict[str, bytes] | None = None,
    source: dict[str, bytes] | None = None,
    end: bool = True,
    seal: bool = True,
) -> Run:
    """A run of a source, with files, points and tags; `end`ed and `seal`ed unless it is not to be."""
    run_id = encode(new_id(time.time_ns() // 1_000_000, os.urandom(10)))
    folder = found.path / f"source-{run_id}"
    (folder / "sub").mkdir(parents=True)
    for name, content in (source or {"train.py": b"print(1)\n", "sub/data.csv": b"1,2\n" * 100}).items():
        (folder / name).write_bytes(content)
    snapshot = take_snapshot(folder, found.store)
    events: list[Event] = [
        RunSubmitted(
            experiment=experiment, config={"script": "train.py"}, snapshot_id=snapshot.snapshot_id, parent=parent
        ),
        RunRunning(pid=7, started_at=time.time_ns() // 1000),
        RunMetrics(series=[Series("loss", "float64", [0.5, 0.25], [0, 1], [1, 2])], spool_end=10),
    ]
    for name, content in (files or {"outputs/m.bin": b"\x00\xff" * 500, "logs/stdout.txt": b"hello\n"}).items():
        stored = found.store.put_bytes(content)
        events.append(FileRecorded(name=name, digest=stored.digest, size=stored.size))
    events += [RunTagged(tags={"team": "ä"}), PropertiesAdded(properties={"p": "1"})]
    if end:
        events.append(RunCompleted())
    found.journal.append(run_id, events, seal=end and seal)
    return Run(found, run_id)


def killed_at(line: int, files: tuple[str, ...], work: Callable[[], None]) -> bool:
    """Do `work` in a process that is killed at its n-th line of some source files; whether it was."""
    child = os.fork()
    if child == 0:
        left = line

        def count(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal left
            if not frame.f_code.co_filename.endswith(files):
                return None
            if event == "line":
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return count

        code = 1
        try:
            sys.settrace(count)
            work()
            code = 0
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)
