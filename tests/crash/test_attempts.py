"""Runs that are submitted again when they fail: one next attempt for each failure, whoever was killed meanwhile."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from crash_scene import Scene, kill, until

from onrecord import Environment, Experiment, Run, RunFailedError, ScriptRunConfig
from onrecord.ledger.events import CancelRequested
from onrecord.script_run_config import BadConfig
from onrecord.verification import verify

# OUTSIDE FAILURES SECONDS: fails so often, each time after so many seconds, and then does not.
SCRIPT = """
import os, sys, time
from pathlib import Path
from onrecord import Run
outside, failures, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
with (outside / "starts").open("a") as file:
    file.write(f"{os.getpid()}\\n")
tries = len((outside / "starts").read_text().splitlines())
Run.get_context().log("try", tries)
Path("outputs/try.txt").write_text(str(tries))
print(f"try {os.environ['ONRECORD_ATTEMPT']}", flush=True)
time.sleep(seconds)
sys.exit(3 if tries <= failures else 0)
"""


def submit(scene: Scene, retries: Any, failures: int, seconds: float = 0, **settings: Any) -> Run:
    (scene.source / "flaky.py").write_text(SCRIPT)
    arguments = [str(scene.outside), failures, seconds]
    config = ScriptRunConfig(str(scene.source), "flaky.py", arguments, **settings)
    run = Experiment(scene.workspace, "crash").submit(config, {"team": "a"}, display_name="flaky", retries=retries)
    scene.run_id = run.id
    return run


def is_sound(run: Run, count: int) -> list[Run]:
    """Every attempt ended and is sealed, its script ran once, and there are as many as there should be."""
    runs = run.get_attempts()
    assert verify(run.workspace).findings == []
    assert len(runs) == count == len(run.workspace.query.runs())
    for place, attempt in enumerate(runs):
        row = run.workspace.query.run(attempt.id)
        assert row.ended
        assert row.parent == (run.id if place else None)
        assert attempt.get_attempts() == runs
        assert sum(event.type == "run.sealed" for event in run.workspace.journal.read(attempt.id)) == 1
    return runs


def test_a_run_that_fails_is_submitted_again_until_it_does_not(scene: Scene) -> None:
    run = submit(scene, retries=3, failures=2)
    last = run.wait_for_last_attempt()
    runs = is_sound(run, 3)
    assert last == runs[-1]
    assert [attempt.status for attempt in runs] == ["Failed", "Failed", "Completed"]
    assert [attempt.get_properties()["onrecord.attempt"] for attempt in runs] == ["1 of 4", "2 of 4", "3 of 4"]
    for number, attempt in enumerate(runs, 1):
        assert attempt.get_metrics() == {"try": number}
        assert attempt.read_file("outputs/try.txt") == b"%d" % number
        assert attempt.read_file("logs/stdout.txt") == b"try %d\n" % number
        assert (attempt.get_tags(), attempt.display_name) == ({"team": "a"}, "flaky")
        assert attempt.get_snapshot_id() == run.get_snapshot_id()


def test_after_the_last_retry_the_failure_stays(scene: Scene) -> None:
    run = submit(scene, retries=1, failures=9)
    with pytest.raises(RunFailedError, match="exit code 3"):
        run.wait_for_last_attempt()
    assert [attempt.status for attempt in is_sound(run, 2)] == ["Failed", "Failed"]


def test_a_run_without_retries_is_its_only_attempt(scene: Scene) -> None:
    run = submit(scene, retries=0, failures=0)
    assert run.wait_for_last_attempt() == run
    assert is_sound(run, 1) == [run]
    assert "retries" not in scene.workspace.query.config(run.id)
    assert "onrecord.attempt" not in run.get_properties()


@pytest.mark.parametrize("retries", [-1, 1.5, True, "2"])
def test_what_is_no_number_of_retries_is_refused_and_nothing_is_recorded(scene: Scene, retries: object) -> None:
    with pytest.raises(BadConfig, match="retries"):
        submit(scene, retries=retries, failures=0)
    assert scene.workspace.query.runs() == []


def test_a_canceled_run_is_not_submitted_again(scene: Scene) -> None:
    run = submit(scene, retries=3, failures=9, seconds=60)
    until(lambda: scene.said("starts"), "it does not start")
    run.cancel()
    assert run.wait_for_last_attempt(raise_on_error=False) == run
    assert is_sound(run, 1)[0].status == "Canceled"


def test_a_failure_after_a_request_to_cancel_is_not_followed_by_an_attempt(scene: Scene) -> None:
    run = submit(scene, retries=3, failures=9, seconds=0.3)
    until(lambda: scene.said("starts"), "it does not start")
    # A request that its script forestalls: it ends by itself before the conductor has seen it.
    scene.workspace.journal.append(run.id, [CancelRequested()])
    run.wait_for_last_attempt(raise_on_error=False)
    assert is_sound(run, 1)[0].status in ("Failed", "Canceled")


def test_a_run_past_its_time_limit_is_not_submitted_again(scene: Scene) -> None:
    run = submit(scene, retries=3, failures=9, seconds=60, max_run_duration_seconds=0.5)
    run.wait_for_last_attempt()
    assert is_sound(run, 1)[0].status == "Canceled"


def test_a_run_whose_script_could_not_be_started_is_not_submitted_again(scene: Scene) -> None:
    broken = scene.outside / "python"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o755)
    environment = Environment("broken")
    environment.python.user_managed_dependencies = True
    environment.python.interpreter_path = str(broken)
    run = submit(scene, retries=3, failures=9, environment=environment)
    run.wait_for_last_attempt(raise_on_error=False)
    assert is_sound(run, 1)[0].get_details()["error"]["code"] == "StartFailed"


def test_attempts_wait_for_room_as_every_run_does(scene: Scene) -> None:
    with scene.workspace.layout.config.open("a") as config:
        config.write("[targets.local]\nmax_concurrent = 1\n")
    run = submit(scene, retries=2, failures=9)
    run.wait_for_last_attempt(raise_on_error=False)
    is_sound(run, 3)


@pytest.mark.parametrize("victim", ["conductor", "supervisor", "script", "conductor and supervisor"])
def test_each_failure_is_followed_by_exactly_one_attempt_whoever_is_killed(
    make_scene: Callable[[], Scene], rounds: Callable[[int, int], range], chance: random.Random, victim: str
) -> None:
    for _ in rounds(1, 25):
        scene = make_scene()
        run = submit(scene, retries=2, failures=9, seconds=0.2)
        until(lambda scene=scene: scene.said("starts"), "it does not start")
        delay = chance.uniform(0, 0.35)
        print(f"{victim} after {delay * 1000:.0f} ms")
        time.sleep(delay)
        for name in victim.split(" and "):
            for pid in {"conductor": scene.conductors, "supervisor": scene.supervisors, "script": scene.scripts}[
                name
            ]():
                kill(pid)
        # Several commands at once, as people type them.
        looks = [subprocess.Popen([sys.executable, "-c", LOOK, str(scene.workspace.path)]) for _ in range(3)]
        assert [look.wait(60) for look in looks] == [0, 0, 0]
        run.wait_for_last_attempt(raise_on_error=False)
        runs = is_sound(run, 3)
        assert all(attempt.status == "Failed" for attempt in runs)
        assert len(scene.said("starts")) == 3
        scene.close()


LOOK = "import sys; from onrecord import Workspace; Workspace(sys.argv[1]).recover()"


def test_the_command_streams_every_attempt_and_ends_with_the_code_of_the_last(scene: Scene) -> None:
    (scene.source / "flaky.py").write_text(SCRIPT)
    words = ["run", "--retries", "2", "--source", str(scene.source), "flaky.py", str(scene.outside), "9", "0"]
    done = command(scene.workspace.path, *words)
    assert done.returncode == 3
    assert done.stdout == "try 1\ntry 2\ntry 3\n"
    assert "onrecord: attempt 2 of 3: run " in done.stderr
    assert done.stderr.count("onrecord: Failed in") == 3
    first, second, _ = (row.run_id for row in reversed(scene.workspace.query.runs()))
    assert "source_1 (attempt 1 of 3) (2 children)" in command(scene.workspace.path, "ls").stdout
    assert "source_3 (attempt 3 of 3)" in command(scene.workspace.path, "ls", "--parent", first).stdout
    assert f"1 of 3; followed by {second[:10]}" in command(scene.workspace.path, "show", first).stdout
    assert f"2 of 3, after {first[:10]}; followed by" in command(scene.workspace.path, "show", second).stdout


def test_attempts_of_a_detached_run_need_nobody_who_watches(scene: Scene) -> None:
    (scene.source / "flaky.py").write_text(SCRIPT)
    words = ["run", "-d", "--retries", "1", "--source", str(scene.source), "flaky.py", str(scene.outside), "1", "0"]
    run_id = command(scene.workspace.path, *words).stdout.strip()
    # Nothing of ours looks at the workspace meanwhile.
    until(lambda: len(scene.said("starts")) == 2, "the second attempt never starts")
    run = scene.workspace.get_run(run_id)
    assert run.wait_for_last_attempt().status == "Completed"
    is_sound(run, 2)


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "onrecord", *words]
    return subprocess.run(program, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
