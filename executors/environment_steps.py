"""The programs that a build runs, one after the other: their output in one log, their end on request.

A build may be killed with everything in its tree still running. So each program's identity is written beside
the log before anything else is done, and whoever builds next ends what is left of it.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from onrecord.executors.environment_diagnosis import diagnosed
from onrecord.executors.environment_errors import BuildStopped, EnvironmentBuildFailed, last_lines
from onrecord.executors.identity import boot_id, start_ticks
from onrecord.executors.protocol import Started
from onrecord.executors.records import MARKER

LOOK_SECONDS = 0.1
RECORD = "building.json"
# What points a Python, pip or uv at another environment than the one that is meant.
_MISLEADING = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "CONDA_PREFIX", "PIP_TARGET", "PIP_PREFIX", "PIP_USER",
               "PIP_REQUIRE_VIRTUALENV", "UV_PROJECT_ENVIRONMENT", "UV_PYTHON", "UV_SYSTEM_PYTHON")  # fmt: skip


class Steps:
    """Programs of one build. `folder` holds the record of who runs; `should_stop` is asked ten times a second."""

    def __init__(self, folder: Path, log: Path, should_stop: Callable[[], bool]) -> None:
        self.log = log
        self._record = folder / RECORD
        self._should_stop = should_stop
        self._token = os.urandom(16).hex()

    def say(self, text: str) -> None:
        """A line of our own in the log."""
        with self.log.open("a", encoding="utf-8") as file:
            file.write(f"onrecord: {text}\n")

    def run(self, command: Sequence[str], what: str, *, variables: Mapping[str, str] | None = None) -> None:
        """Run a program to its end. Raises EnvironmentBuildFailed (`what` could not be done), BuildStopped."""
        if self._should_stop():
            raise BuildStopped("the build was stopped")
        self.say("$ " + " ".join(_shortened(word) for word in command))
        code = self._end_of(command, variables or {}, what)
        if code != 0:
            found = diagnosed(last_lines(self.log, lines=60, characters=12_000))
            raise EnvironmentBuildFailed.because(what, self.log, why=found.why, next_step=found.next_step)

    def _end_of(self, command: Sequence[str], variables: Mapping[str, str], what: str) -> int:
        environment = {name: value for name, value in os.environ.items() if name not in _MISLEADING}
        with self.log.open("ab") as output:
            try:
                process = subprocess.Popen(
                    command,
                    # Not in the project, whose own configuration of these programs is no part of the recipe.
                    cwd="/",
                    env={**environment, **variables, MARKER: self._token},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            except OSError as problem:
                reason = f"{command[0]}: {problem.strerror or problem}"
                raise EnvironmentBuildFailed.because(what, self.log, why=reason) from problem
        started = Started(process.pid, start_ticks(process.pid), boot_id(), time.time_ns() // 1000)
        try:
            self._record.write_text(json.dumps({"started": started, "token": self._token}))
            while not _has_ended(process, LOOK_SECONDS):
                if self._should_stop():
                    raise BuildStopped("the build was stopped")
        except BaseException:
            _end(started, self._token)
            process.wait()
            raise
        return process.returncode


def end_leftovers(folder: Path) -> None:
    """End what a build that was killed has left running."""
    try:
        left = json.loads((folder / RECORD).read_bytes())
        started, token = Started(*left["started"]), str(left["token"])
    except (OSError, ValueError, KeyError, TypeError):
        return
    _end(started, token)


def _end(started: Started, token: str) -> None:
    from onrecord.executors import tree

    tree.end_tree(tree.Seed(script=started, token=token), grace_seconds=1.0)


def _has_ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Sleep until the program ends, at most that long. `Popen.wait` with a time would look every 50 ms only."""
    if process.poll() is not None:
        return True
    try:
        fd = os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        time.sleep(min(seconds, 0.01))
        return process.poll() is not None
    try:
        watched = select.poll()
        watched.register(fd, select.POLLIN)
        watched.poll(seconds * 1000)
    finally:
        os.close(fd)
    return process.poll() is not None


def _shortened(word: str) -> str:
    text = " ".join(word.split())
    return text if len(text) <= 200 else text[:197] + "..."
