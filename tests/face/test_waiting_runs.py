"""Runs that wait for room: in order, without a process of their own, whoever dies."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path

import pytest
from face_make import onrecord, project, shown, wait_until

from onrecord import Experiment, Run, ScriptRunConfig, Workspace
from onrecord.compute_target import BadTarget, ComputeTarget, targets_of
from onrecord.conductor_process import is_conducted
from onrecord.executors.errors import UnknownTarget
from onrecord.resources import BadResources, Resources, Room

# Runs until a file of its first argument's name is there.
WAITS = "import sys, time, pathlib\nwhile not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.01)\n"


def workspace_with(folder: Path, config: str) -> Workspace:
    project(folder, {"train.py": WAITS})
    workspace = Workspace.create(folder)
    with workspace.layout.config.open("a") as file:
        file.write(config)
    return workspace


def submit(workspace: Workspace, mark: Path, **options: object) -> Run:
    config = ScriptRunConfig(workspace.path, "train.py", [mark], **options)  # type: ignore[arg-type]
    return Experiment(workspace, "tests").submit(config)


def started_in_order(workspace: Workspace) -> list[str]:
    rows = [row for row in workspace.query.runs() if row.started_at is not None]
    return [row.run_id for row in sorted(rows, key=lambda row: row.started_at or 0)]


def test_a_run_beyond_the_limit_waits_without_a_process_and_starts_when_another_ends(tmp_path: Path) -> None:
    workspace = workspace_with(tmp_path, "[targets.local]\nmax_concurrent = 1\n")
    first, second = submit(workspace, tmp_path / "a"), submit(workspace, tmp_path / "b")
    assert (second.status, is_conducted(workspace.layout.run(second.id).lock)) == ("Queued", False)
    events = [recorded.event for recorded in workspace.journal.read(second.id)]
    assert events[-1].reason == "local: 1 of 1 runs at once"  # type: ignore[attr-defined]
    (tmp_path / "a").touch()
    (tmp_path / "b").touch()
    assert second.wait_for_completion()["status"] == "Completed"
    assert first.status == "Completed"
    assert started_in_order(workspace) == [first.id, second.id]


def test_those_that_wait_start_by_priority_and_then_by_time(tmp_path: Path) -> None:
    workspace = workspace_with(tmp_path, "[targets.small]\nmax_concurrent = 1\n")
    blocker = submit(workspace, tmp_path / "go", compute_target="small")
    low, early, late = (
        submit(workspace, tmp_path / "go", compute_target="small", priority=priority) for priority in (-1, 5, 5)
    )
    (tmp_path / "go").touch()
    for run in (low, early, late):
        assert run.wait_for_completion()["status"] == "Completed"
    assert started_in_order(workspace) == [blocker.id, early.id, late.id, low.id]


def test_a_run_that_needs_much_is_not_overtaken_by_small_ones(tmp_path: Path) -> None:
    workspace = workspace_with(tmp_path, "[targets.local]\ncores = 4\n")
    first = submit(workspace, tmp_path / "a", resources=Resources(cores=2))
    large = submit(workspace, tmp_path / "b", resources=Resources(cores=4))
    small = submit(workspace, tmp_path / "b", resources=Resources(cores=1))
    assert (first.status in ("Preparing", "Running"), large.status, small.status) == (True, "Queued", "Queued")
    for name in "ab":
        (tmp_path / name).touch()
    small.wait_for_completion()
    assert started_in_order(workspace) == [first.id, large.id, small.id]


def test_no_more_than_the_limit_ever_run_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "import pathlib, time, os\nhere = pathlib.Path(os.environ['HERE'])\n(here / str(os.getpid())).touch()\n"
    source += "print(len(list(here.iterdir())))\ntime.sleep(0.1)\n(here / str(os.getpid())).unlink()\n"
    project(tmp_path, {"train.py": source})
    workspace = Workspace.create(tmp_path)
    with workspace.layout.config.open("a") as file:
        file.write("[targets.local]\nmax_concurrent = 3\n")
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HERE", str(tmp_path / "here"))
    config, runs = ScriptRunConfig(tmp_path, "train.py"), []
    threads = [
        threading.Thread(target=lambda: runs.append(Experiment(workspace, "tests").submit(config))) for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for run in runs:
        assert run.wait_for_completion()["status"] == "Completed"
    assert max(int(run.read_file("logs/stdout.txt")) for run in runs) <= 3


def test_a_run_that_waits_survives_its_submitter_and_a_killed_conductor(tmp_path: Path) -> None:
    workspace = workspace_with(tmp_path, "[targets.local]\nmax_concurrent = 1\n")
    first = onrecord("run", "-d", "train.py", str(tmp_path / "a"), cwd=tmp_path).stdout.decode().strip()
    second = onrecord("run", "-d", "train.py", str(tmp_path / "b"), cwd=tmp_path).stdout.decode().strip()
    assert shown(tmp_path, second)["status"] == "Queued"
    lock = workspace.layout.run(first).lock
    conductor = next(
        int(path.name)
        for path in Path("/proc").glob("[0-9]*")
        if path.name != str(os.getpid()) and _holds(path, lock) and b"conductor" in (path / "cmdline").read_bytes()
    )
    os.kill(conductor, signal.SIGKILL)
    for name in "ab":
        (tmp_path / name).touch()
    # Any command takes care of the first, whose new conductor then starts the second.
    assert wait_until(lambda: shown(tmp_path, second)["status"] == "Completed")
    assert shown(tmp_path, first)["status"] == "Completed"


def _holds(process: Path, path: Path) -> bool:
    try:
        return any(link.readlink() == path for link in (process / "fd").iterdir())
    except OSError:
        return False


def test_a_run_that_waits_can_be_canceled(tmp_path: Path) -> None:
    workspace = workspace_with(tmp_path, "[targets.local]\nmax_concurrent = 1\n")
    first, second = submit(workspace, tmp_path / "a"), submit(workspace, tmp_path / "b")
    second.cancel()
    assert second.wait_for_completion()["status"] == "Canceled"
    (tmp_path / "a").touch()
    assert first.wait_for_completion()["status"] == "Completed"
    assert started_in_order(workspace) == [first.id]


def test_each_run_gets_gpus_of_its_own(tmp_path: Path) -> None:
    source = "import os, time, pathlib, sys\nprint(os.environ['CUDA_VISIBLE_DEVICES'], flush=True)\n"
    workspace = workspace_with(tmp_path, "[targets.local]\ngpus = [1, 3, 4]\n")
    (tmp_path / "train.py").write_text(source + WAITS)
    wanted = Resources(gpus=1), Resources(gpus=2), Resources(gpus=1)
    runs = [submit(workspace, tmp_path / "go", resources=resources) for resources in wanted]
    assert runs[2].status == "Queued"
    (tmp_path / "go").touch()
    for run in runs:
        run.wait_for_completion()
    said = [run.read_file("logs/stdout.txt").decode().strip() for run in runs]
    assert (said[0], said[1]) == ("1", "3,4")
    assert said[2] in ("1", "3")


def test_a_run_that_never_fits_is_refused_before_it_exists(tmp_path: Path) -> None:
    workspace = workspace_with(tmp_path, '[targets.local]\ncores = 2\nmemory = "1 GB"\n')
    with pytest.raises(BadResources, match="asks for more than the target local has"):
        submit(workspace, tmp_path / "a", resources=Resources(memory="2 GB"))
    assert workspace.query.runs() == []


def test_an_unknown_target_is_told_with_the_nearest(tmp_path: Path) -> None:
    workspace = workspace_with(tmp_path, "[targets.small]\nmax_concurrent = 1\n")
    with pytest.raises(UnknownTarget, match="small"):
        submit(workspace, tmp_path / "a", compute_target="smal")
    failed = onrecord("run", "--target", "smal", "train.py", cwd=tmp_path)
    assert (failed.returncode, b"did you mean" in failed.stderr.lower()) == (125, True), failed.stderr


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("[targets.a]\ncoers = 2\n", "coers is 2"),
        ("[targets.a]\ncores = 0\n", "cores is 0"),
        ("[targets.a]\nmemory = 'much'\n", "memory is 'much'"),
        ("[targets.a]\ngpus = [-1]\n", r"gpus is \[-1\]"),
        ("[targets.a]\nexecutor = 'lokal'\n", "executor is 'lokal'"),
        ("[targets.a\n", "cannot be read"),
        ("targets = 3\n", "targets is 3"),
    ],
)
def test_a_target_described_wrongly_is_told_with_its_place(tmp_path: Path, table: str, words: str) -> None:
    workspace = workspace_with(tmp_path, table)
    with pytest.raises(BadTarget, match=words):
        targets_of(workspace)


@pytest.mark.parametrize("wrong", [Resources(cores=0), Resources(memory="much"), Resources(gpus=-1)])
def test_resources_that_cannot_be_are_refused(wrong: Resources) -> None:
    with pytest.raises(BadResources):
        wrong.as_document()


def test_room_is_what_the_running_leave() -> None:
    target = ComputeTarget("t", "local", 3, 4, 8_000_000_000, (0, 1))
    room = Room(target, [(Resources(2, 4_000_000_000, 1), (1,))])
    assert room.lacks(Resources(2, 4_000_000_000, 1)) == ""
    assert room.gpus_for(Resources(1, 0, 1)) == (0,)
    assert room.lacks(Resources(3)) == "2 of 4 cores taken"
    assert room.lacks(Resources(1, 5_000_000_000)) == "4.0 of 8.0 GB of memory taken"
    assert room.lacks(Resources(1, 0, 2)) == "1 of 2 GPUs taken"


def test_the_command_lists_targets_with_their_limits(tmp_path: Path) -> None:
    workspace_with(tmp_path, '[targets.small]\nmax_concurrent = 2\nmemory = "16 GB"\n')
    listed = {entry["name"]: entry for entry in json.loads(onrecord("targets", "--json", cwd=tmp_path).stdout)}
    assert (listed["small"]["max_concurrent"], listed["small"]["memory"]) == (2, 16_000_000_000)
    assert b"2 at once, 16 GB" in onrecord("targets", cwd=tmp_path).stdout
