"""Submitters that die half-way, and submitters that come all at once."""

from __future__ import annotations

import fcntl
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from crash_scene import ENDED_BY_ITSELF, HERE, Scene, kill, until

from onrecord import Workspace
from onrecord.verification import verify

SUBMITTERS, RUNS_EACH = 8, 3


def none_or_whole(scene: Scene) -> bool:
    """Whether there is a run; then it comes to its end, else nothing of it is left but perhaps a lock file."""
    until(lambda: scene.workspace.query.unfinished() or not scene.conductors(), "the conductor waits for ever")
    scene.recover()
    runs = scene.workspace.query.runs()
    if runs:
        assert [row.run_id for row in runs] == [scene.run_id]
        scene.ended()
        scene.is_sound()
        scene.outputs_are_kept()
        assert runs[0].snapshot_id
        assert scene.workspace.query.run(scene.run_id).exit_code == ENDED_BY_ITSELF
        return True
    until(lambda: not scene.conductors(), "a conductor without a run lives on")
    left = {path.name for path in scene.control.iterdir()} if scene.control.exists() else set()
    assert left <= {"conductor.lock", "conductor.log"}
    assert verify(scene.workspace).findings == []
    assert scene.said("starts") == []
    return False


def test_a_submitter_killed_between_its_snapshot_and_the_ledger_leaves_no_run(scene: Scene) -> None:
    lock = os.open(scene.workspace.layout.root / "ledger.db-lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        scene.begin_worker(0)
        scene.appeared()
        assert scene.submitter is not None
        waits = f"/proc/{scene.submitter.pid}/wchan"
        until(lambda: "lock" in Path(waits).read_text() or "flock" in _stack(scene), "it never waits for the ledger")
        kill(scene.submitter.pid)
    finally:
        os.close(lock)
    assert none_or_whole(scene) is False


def _stack(scene: Scene) -> str:
    """Where the kernel does not tell what a process waits for: the locks that are waited for, by pid."""
    assert scene.submitter is not None
    waiting = [line for line in Path("/proc/locks").read_text().splitlines() if "->" in line]
    return "flock" if any(f" {scene.submitter.pid} " in line for line in waiting) else ""


def test_a_submitter_killed_at_any_moment_leaves_no_run_or_one_that_ends(
    make_scene: Callable[[], Scene], rounds: Callable[[int, int], range], chance: random.Random
) -> None:
    for _ in rounds(4, 100):
        scene = make_scene()
        scene.grow_source(200)
        scene.begin_worker(0.1)
        scene.appeared()
        assert scene.submitter is not None
        time.sleep(chance.uniform(0, 0.08))
        kill(scene.submitter.pid)
        said = scene.submitter.communicate()[0].strip()
        is_there = none_or_whole(scene)
        assert is_there or not said, "a run that was acknowledged is lost"
        scene.close()


def test_many_submit_at_once_and_every_run_ends(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "train.py").write_text("from onrecord import Run\nRun.get_context().log('one', 1.0)\n")
    workspace = Workspace.create(tmp_path)
    words = [str(word) for word in (tmp_path, source, "train.py", RUNS_EACH)]
    submitters = [
        subprocess.Popen(
            [sys.executable, str(HERE / "submit_several.py"), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(SUBMITTERS)
    ]
    acknowledged = set()
    for submitter in submitters:
        said, complaints = submitter.communicate(timeout=100)
        assert (submitter.returncode, complaints) == (0, "")
        acknowledged |= set(said.split())
    rows = workspace.query.runs()
    assert {row.run_id for row in rows} == acknowledged
    assert sorted(row.number for row in rows) == list(range(1, SUBMITTERS * RUNS_EACH + 1))
    for row in rows:
        run = workspace.get_run(row.run_id)
        until(run.has_ended, f"run {row.run_id} does not end")
        assert run.status == "Completed", run.get_details()
        assert run.get_metrics() == {"one": 1.0}
    assert verify(workspace).findings == []
    for log in workspace.layout.runs.glob("*/conductor.log"):
        assert "locked" not in log.read_text()
    workspace.close()
