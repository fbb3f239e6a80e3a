"""What the tests of the contract are made of: launches, waiting, other processes, and what a test needs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from onrecord.executors.protocol import (
    Capabilities,
    Ended,
    Executor,
    Launch,
    Progress,
    Started,
    Waiting,
)

PATIENCE_SECONDS = 60.0

MakeLaunch = Callable[..., Launch]


def launch_in(folder: Path, *command: str, **changes: Any) -> Launch:
    """A dull launch of the command in a folder of its own."""
    work = folder / "work"
    work.mkdir(parents=True, exist_ok=True)
    values: dict[str, Any] = {
        "command": command,
        "working_directory": work,
        "environment": {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        "stdout": folder / "logs" / "stdout.txt",
        "stderr": folder / "logs" / "stderr.txt",
        "control": folder / "control",
        "grace_seconds": 1.0,
    }
    return Launch(**{**values, **changes})


def progress_until(executor: Executor, control: Path, kind: type[Progress]) -> Any:
    """Wait for progress of that kind (or the end)."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    progress: Progress = Waiting()
    while not isinstance(progress, (kind, Ended)):
        assert time.monotonic() < deadline, f"still {progress}"
        progress = executor.wait(control, 5.0, progress)
    assert isinstance(progress, kind), progress
    return progress


def end_of(executor: Executor, control: Path) -> Ended:
    """Wait for the end."""
    ended: Ended = progress_until(executor, control, Ended)
    return ended


def started_of(executor: Executor, control: Path) -> Started:
    """Wait for the start."""
    started: Started = progress_until(executor, control, Started)
    return started


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def in_another_process(work: Callable[[], object], *, then_kill: bool = False) -> int:
    """Run it in a forked process and return that one's wait status: 0 when it raised nothing."""
    child = os.fork()
    if child == 0:
        try:
            work()
            if then_kill:
                os.kill(os.getpid(), signal.SIGKILL)
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1]


def needs(*capabilities: str) -> Callable[[Any], Any]:
    """Marks a test of the contract that is for executors with these capabilities."""
    unknown = set(capabilities) - set(Capabilities._fields)
    if unknown:
        raise ValueError(f"no capability is called {', '.join(sorted(unknown))}")

    def mark(test: Any) -> Any:
        test.needs = capabilities
        return test

    return mark


def start_in_another_process(work: Callable[[], object]) -> int:
    """Begin it in a forked process; its pid, to be waited for."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return child
