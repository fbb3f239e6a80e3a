"""A process is killed between any two calls: what had returned is on record, and no run is Running for ever."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from crash_scene import command_lines, kill, until

from onrecord import Run, Workspace
from onrecord.verification import verify

# Each line that is printed says what has returned by then. Unbuffered: it is in the pipe before the next call.
SCRIPT = """
import os, sys
from onrecord import Experiment, Workspace
def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())
experiment = Experiment(Workspace(sys.argv[1]), "tests")
keeps = sys.argv[2] == "files"
say("up")
for round in range(10**6):
    run = experiment.start_logging(outputs=keeps, snapshot_directory=None)
    say("begun", run.id)
    for number in range(3):
        run.log("a", number)
        say("logged", run.id, number)
    if keeps:
        os.makedirs("outputs", exist_ok=True)
        with open(f"outputs/{run.id}", "w") as file:
            file.write(run.id)
        say("written", run.id)
    child = run.child_run()
    say("begun", child.id)
    child.log("a", 0)
    say("logged", child.id, 0)
    run.tag("t", round)
    say("tagged", run.id, round)
    if round % 2:
        child.fail("on purpose")
        say("ended", child.id, "Failed")
    run.complete()
    say("ended", run.id, "Completed")
"""


EMPTY = {"conductor.lock", "process.lock", "conductor.log", "before.json"}


class Victim:
    """The script and what it has said to the last byte."""

    def __init__(self, workspace: Workspace, kind: str) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ONRECORD_")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(workspace.path), kind],
            cwd=workspace.path,
            env=environment,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline()

    def killed(self) -> list[list[str]]:
        self.process.kill()
        self.said += self.process.communicate()[0]
        return [line.split() for line in self.said.decode().split("\n")[:-1]]


def conductors(workspace: Workspace) -> list[int]:
    root = str(workspace.layout.root)
    return [pid for pid, words in command_lines() if root in words and "onrecord.conductor" in " ".join(words)]


def nothing_is_lost(workspace: Workspace, said: list[list[str]]) -> None:
    ends: dict[str, str] = {}
    for what, *words in said:
        if what == "up":
            continue
        run = Run(workspace, words[0])
        if what == "begun":
            assert run.has_ended()
        elif what == "logged":
            points = run.get_metrics()["a"]
            assert int(words[1]) in (points if isinstance(points, list) else [points])
        elif what == "written":
            assert run.read_file(f"outputs/{run.id}") == run.id.encode()
        elif what == "tagged":
            assert run.tags["t"] == words[1]
        else:
            ends[run.id] = words[1]
            assert run.status == words[1]
    for row in workspace.query.runs():
        if row.run_id not in ends:
            # Its end was on its way, it ended with its parent, or with its process.
            assert row.status in ("Completed", "Failed")
            assert row.error is None or "killed" in row.error["message"] or "on purpose" in row.error["message"]


@pytest.mark.parametrize("kind", ["files", "none"])
def test_a_process_that_is_killed_anywhere_loses_nothing_that_had_returned(
    tmp_path: Path, rounds: Callable[[int, int], range], chance: random.Random, kind: str
) -> None:
    for number in rounds(2, 500):
        workspace = Workspace.create(tmp_path / str(number))
        victim = Victim(workspace, kind)
        time.sleep(chance.uniform(0, 0.8))
        if number % 3 == 1:
            for pid in conductors(workspace):
                kill(pid)
        said = victim.killed()
        Workspace(workspace.path).recover()
        until(lambda workspace=workspace: not workspace.query.unfinished(), "a run is stuck")
        until(lambda workspace=workspace: not conductors(workspace), "a companion lives on")
        nothing_is_lost(workspace, said)
        assert verify(workspace).findings == []
        known = {row.run_id for row in workspace.query.runs()}
        # A folder that was made for a run that was not to be holds nothing of it.
        for folder in workspace.layout.runs.iterdir():
            assert folder.name in known or {path.name for path in folder.iterdir()} <= EMPTY
        workspace.close()


@pytest.mark.parametrize("moment", ["open", "fdatasync", "link"])
def test_a_process_that_is_killed_while_it_begins_a_run_leaves_a_true_one_or_none(tmp_path: Path, moment: str) -> None:
    workspace = Workspace.create(tmp_path)
    code = """
import os, signal, sys
from onrecord import Experiment, Workspace
from onrecord import interactive_session, interactive_start
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "open":
    interactive_start.remember_what_was_there = die
elif sys.argv[2] == "fdatasync":
    os.fdatasync = die
else:
    interactive_session.Session.recorded = die
Experiment(Workspace(sys.argv[1]), "tests").start_logging(snapshot_directory=None)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path), moment], cwd=tmp_path, check=False)
    assert done.returncode == -signal.SIGKILL
    until(lambda: not conductors(workspace), "a companion lives on")
    Workspace(tmp_path).recover()
    until(lambda: not workspace.query.unfinished(), "a run is stuck")
    runs = workspace.query.runs()
    assert [row.status for row in runs] == ([] if moment == "open" else ["Failed"])
    assert len(list(workspace.layout.runs.iterdir())) == len(runs)
