"""Scripts that begin runs of their own, and what is on record of them afterwards."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from face_make import LONG_SECONDS, clean_environment, wait_until

from onrecord import Run, Workspace
from onrecord.run_types import INTERACTIVE

BEGIN = """
import os, signal, subprocess, sys, threading, time
from onrecord import Experiment, Run, Workspace
workspace = Workspace.create(".", exist_ok=True)
experiment = Experiment(workspace, "tests")
"""


def by_hand(folder: Path, source: str, *words: str, name: str = "train.py", **more: str) -> Any:
    """`python train.py` with this source in `folder`, to its end; as a person would start it, not as a test."""
    (folder / name).write_text(source)
    return subprocess.run(
        [sys.executable, name, *words],
        cwd=folder,
        env=outside_of_tests(**more),
        capture_output=True,
        text=True,
        check=False,
        timeout=LONG_SECONDS,
    )


def outside_of_tests(**more: str) -> dict[str, str]:
    """The environment of a process that no test started."""
    kept = clean_environment(**more)
    return {name: value for name, value in kept.items() if not name.startswith("PYTEST_")}


def ended_runs(folder: Path) -> list[Run]:
    """The runs of a workspace, the oldest first, once all have ended; the next command sees to it."""
    workspace = Workspace(folder)
    workspace.recover()
    wait_until(lambda: not workspace.query.unfinished())
    return [Run(workspace, row.run_id) for row in reversed(workspace.query.runs())]


def ended_run(folder: Path) -> Run:
    """The only run of a workspace, once it has ended."""
    (run,) = ended_runs(folder)
    return run


def companions(workspace: Workspace) -> Iterator[int]:
    """Processes that care for runs of this workspace."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            is_zombie = b") Z " in (entry / "stat").read_bytes()
        except OSError:
            continue
        if str(workspace.layout.root).encode() in words and b"onrecord.conductor" in b" ".join(words) and not is_zombie:
            yield int(entry.name)


def is_interactive(run: Run) -> bool:
    """Whether it says of itself that its process began it."""
    return run._row().run_type == INTERACTIVE
