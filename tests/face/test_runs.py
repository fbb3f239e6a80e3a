"""What a run keeps: its source as it was, its files however it ended, its environment."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from face_make import project, run_to_end, submit, wait_until

from onrecord import Environment, Experiment, Workspace
from onrecord.ledger.events import RunRunning
from onrecord.run_errors import NothingKnown

WRITES = """
import os, pathlib, sys, time
pathlib.Path("outputs/deep/er").mkdir(parents=True)
pathlib.Path("outputs/deep/er/model.bin").write_bytes(b"model")
pathlib.Path("logs/own.log").write_text("own")
print("said", flush=True)
print("warned", file=sys.stderr, flush=True)
pathlib.Path(sys.argv[1]).touch()
time.sleep(600)
"""


def test_editing_the_source_after_submit_does_not_change_the_run(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": "import helper, time; time.sleep(0.2); import late\n"})
    project(tmp_path, {"helper.py": "print('helper as it was')\n", "late.py": "print('late as it was')\n"})
    run = submit(tmp_path)
    for name in ("train.py", "helper.py", "late.py"):
        (tmp_path / name).write_text("raise SystemExit('changed')\n")
    assert run.wait_for_completion()["status"] == "Completed"
    assert run.read_file("logs/stdout.txt") == b"helper as it was\nlate as it was\n"


def test_a_run_does_not_change_its_source(tmp_path: Path) -> None:
    run = run_to_end(tmp_path, "open('train.py', 'w').write('gone'); open('new.txt', 'w').write('new')\n")
    assert run.status == "Completed"
    assert "gone" in (tmp_path / "train.py").read_text().split("'")
    assert not (tmp_path / "new.txt").exists()
    assert run.restore_snapshot(tmp_path / "again").joinpath("train.py").read_text() != "gone"


def test_an_unchanged_source_gives_the_same_snapshot_and_stores_nothing(tmp_path: Path) -> None:
    first = run_to_end(tmp_path, "print(1)\n")
    second = submit(tmp_path)
    assert second.get_snapshot_id() == first.get_snapshot_id()
    assert second.snapshot is not None
    assert second.snapshot.bytes_stored == 0
    second.wait_for_completion()
    (tmp_path / "train.py").write_text("print(2)\n")
    third = submit(tmp_path)
    assert third.get_snapshot_id() != first.get_snapshot_id()
    third.wait_for_completion()


def keeps_what_was_written(tmp_path: Path, how: str) -> None:
    mark = tmp_path / "begun"
    project(tmp_path / "source", {"train.py": WRITES})
    workspace = Workspace.create(tmp_path / "source")
    limit = 1 if how == "limit" else None
    run = submit(workspace.path, arguments=[mark], max_run_duration_seconds=limit)
    wait_until(mark.exists)
    if how == "cancel":
        run.cancel()
    if how == "kill":
        events = wait_until(
            lambda: [event for event in workspace.journal.read(run.id) if event.type == RunRunning.type]
        )
        os.kill(events[0].event.pid, signal.SIGKILL)
    details = run.wait_for_completion(raise_on_error=False)
    assert details["status"] == ("Failed" if how == "kill" else "Canceled")
    assert run.read_file("outputs/deep/er/model.bin") == b"model"
    assert run.read_file("logs/own.log") == b"own"
    assert run.read_file("logs/stdout.txt") == b"said\n"
    assert run.read_file("logs/stderr.txt") == b"warned\n"


def test_files_are_in_the_history_after_a_cancel(tmp_path: Path) -> None:
    keeps_what_was_written(tmp_path, "cancel")


def test_files_are_in_the_history_after_the_time_limit(tmp_path: Path) -> None:
    keeps_what_was_written(tmp_path, "limit")


def test_files_are_in_the_history_after_kill_9_of_the_script(tmp_path: Path) -> None:
    keeps_what_was_written(tmp_path, "kill")


LINKS = """
import os, pathlib
os.mkdir("checkpoints")
pathlib.Path("checkpoints/7.bin").write_bytes(b"seven")
os.symlink("../checkpoints/7.bin", "outputs/last.bin")
os.symlink("../checkpoints", "outputs/folder")
os.symlink("nowhere", "outputs/broken")
os.makedirs("outputs/a/b/c")
pathlib.Path("outputs/a/b/c/empty").touch()
pathlib.Path("outputs/a/b/c/ü ö").write_text("name")
"""


def test_outputs_that_are_links_or_lie_deep_are_kept(tmp_path: Path) -> None:
    run = run_to_end(tmp_path, LINKS)
    assert run.status == "Completed"
    assert run.read_file("outputs/last.bin") == b"seven"
    assert run.read_file("outputs/a/b/c/empty") == b""
    assert run.read_file("outputs/a/b/c/ü ö") == b"name"
    dropped = [name for name in run.get_file_names() if "broken" in name or "folder" in name]
    assert dropped == []
    told = "\n".join(run.get_warnings())
    assert "a link was kept as the file that it leads to: outputs/last.bin" in told
    assert "not in the history, because they are links to a folder or to nothing: outputs/broken, outputs/fol" in told


def test_the_environment_is_a_file_of_the_run(tmp_path: Path) -> None:
    run = run_to_end(tmp_path, "print(1)\n")
    inventory = json.loads(run.read_file("onrecord/environment.json"))
    assert inventory["python"]["executable"] == sys.executable
    assert inventory["python"]["version"] == sys.version
    assert inventory["platform"]["machine"] == os.uname().machine
    assert {name.lower() for name in inventory["packages"]} >= {"onrecord", "pytest", "attrs"}


def test_a_run_tells_the_environment_that_it_was_submitted_with(tmp_path: Path) -> None:
    environment = Environment("mine", environment_variables={"DEPTH": "3"})
    environment.python.user_managed_dependencies = True
    run = run_to_end(tmp_path, "print(1)\n", environment=environment)
    environment.environment_variables["DEPTH"] = "4"
    found = run.get_environment()
    assert (found.name, found.environment_variables) == ("mine", {"DEPTH": "3"})
    assert found.python.user_managed_dependencies
    run.erase()
    with pytest.raises(NothingKnown, match="does not say what environment"):
        run.get_environment()


def test_runs_of_an_experiment_are_found_by_tag_and_status(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": "import sys; sys.exit(int(sys.argv[1]))\n"})
    runs = [submit(tmp_path, arguments=[code]) for code in (0, 4)]
    for run in runs:
        run.wait_for_completion(raise_on_error=False)
    runs[0].tag("keep", "yes")
    experiment = Experiment(Workspace(tmp_path), "tests")
    assert list(experiment.get_runs()) == runs[::-1]
    assert list(experiment.get_runs(tags="keep")) == [runs[0]]
    assert list(experiment.get_runs(tags={"keep": "no"})) == []
    assert list(experiment.get_runs(status="Failed")) == [runs[1]]
    assert [run.number for run in runs] == [1, 2]
    assert runs[0].experiment.name == "tests"
