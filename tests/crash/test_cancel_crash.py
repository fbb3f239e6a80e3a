"""Cancelling at any moment, and time limits: the truth is told, and nothing lives on."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

from crash_scene import ENDED_BY_ITSELF, ENDED_BY_SIGTERM, Scene, is_alive

from onrecord import Experiment, ScriptRunConfig
from onrecord.ledger.events import CancelRequested


def test_a_cancel_at_any_moment_ends_the_run_truthfully(
    make_scene: Callable[[], Scene], rounds: Callable[[int, int], range], chance: random.Random
) -> None:
    for _ in rounds(4, 100):
        scene = make_scene()
        delay, seconds = chance.uniform(0, 0.5), chance.choice([0.1, 60.0])
        print(f"canceled after {delay * 1000:.0f} ms, a script of {seconds} s")
        scene.begin_worker(seconds)
        scene.submitted()
        time.sleep(delay)
        scene.run.cancel()
        scene.run.cancel()
        scene.ended()
        scene.is_sound()
        scene.outputs_are_kept()
        row = scene.workspace.query.run(scene.run_id)
        if row.status == "Canceled":
            # SIGTERM may reach Python before the script has said what it wants done about it.
            assert row.exit_code in (None, ENDED_BY_SIGTERM, ENDED_BY_ITSELF)
        else:
            assert (row.status, row.exit_code, seconds) == ("Failed", ENDED_BY_ITSELF, 0.1)
        scene.run.cancel()
        assert scene.workspace.query.run(scene.run_id) == row
        scene.close()


def test_a_request_that_only_the_ledger_has_is_obeyed(scene: Scene) -> None:
    scene.begin_worker(60)
    scene.submitted()
    scene.ready()
    scene.reach("Running")
    # What a canceling process leaves that is killed before its second step.
    scene.workspace.journal.append(scene.run_id, [CancelRequested()])
    scene.ended()
    scene.is_sound()
    assert scene.status() == "Canceled"


def test_a_time_limit_leaves_nothing_of_a_tree_that_resists(scene: Scene) -> None:
    pids = scene.outside / "pids"
    config = ScriptRunConfig(
        source_directory=str(scene.source),
        script="evil_tree.py",
        arguments=[str(pids)],
        max_run_duration_seconds=1,
    )
    scene.run_id = Experiment(scene.workspace, "crash").submit(config).id
    scene.ended()
    scene.is_sound()
    row = scene.workspace.query.run(scene.run_id)
    assert row.status == "Canceled"
    assert {line.split()[0] for line in pids.read_text().splitlines()} >= {"main", "deaf_daemon", "own_session"}
    assert survivors(pids) == []
    # What is respawned every 50 ms is not hidden between two of its lives.
    time.sleep(0.2)
    assert survivors(pids) == []


def survivors(pids: Path) -> list[str]:
    found = [line for line in pids.read_text().splitlines() if is_alive(int(line.split()[1]))]
    return [line for line in found if is_of_the_tree(int(line.split()[1]))]


def is_of_the_tree(pid: int) -> bool:
    """A pid may have been given to another process meanwhile."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes()
    return b"evil_tree" in words or b"sleep\x00600" in words
