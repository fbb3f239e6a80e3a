"""What else can happen to a run while it runs: each ends it in a truthful state, with nothing left and nothing lost."""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from crash_scene import ENDED_BY_ITSELF, ENDED_BY_SIGTERM, HERE, Scene, is_alive, kill, living, read, until

from onrecord import Experiment, ScriptRunConfig, Workspace
from onrecord.ledger.query import RunRow

DAY_SECONDS = 86_400


def begun(scene: Scene, seconds: float, **limits: Any) -> None:
    """A run of the usual script that has written its outputs and now sleeps."""
    arguments = [str(scene.outside), seconds, 3, ENDED_BY_ITSELF]
    submitted(scene, "worker.py", arguments, **limits)
    scene.ready()
    scene.reach("Running")


def submitted(scene: Scene, script: str, arguments: list[Any], **limits: Any) -> None:
    config = ScriptRunConfig(str(scene.source), script, arguments, **limits)
    scene.run_id = Experiment(scene.workspace, "crash").submit(config).id


def script(scene: Scene, text: str, *arguments: Any, **limits: Any) -> None:
    """A run of a script with this text."""
    (scene.source / "own.py").write_text(text)
    submitted(scene, "own.py", list(arguments), **limits)


def at_its_end(scene: Scene) -> RunRow:
    """What the ledger says once the run is over, which nobody had to help it to."""
    scene.ended()
    scene.is_sound()
    scene.outputs_are_kept()
    return scene.workspace.query.run(scene.run_id)


# ---- the workspace -----------------------------------------------------------------------------------


def test_a_workspace_that_is_moved_takes_its_running_runs_along(
    make_scene: Callable[[], Scene], rounds: Callable[[int, int], range], tmp_path: Path
) -> None:
    for number in rounds(1, 20):
        scene = make_scene()
        begun(scene, 1)
        place = tmp_path / f"elsewhere_{number}"
        place.mkdir()
        scene.workspace.layout.root.rename(place / ".onrecord")
        scene.workspace.close()
        scene.workspace = Workspace(place)
        row = at_its_end(scene)
        assert (row.status, row.exit_code) == ("Failed", ENDED_BY_ITSELF)
        assert scene.run.get_warnings() == []
        scene.close()


def test_a_workspace_that_is_moved_after_its_conductor_died_is_gone_on_with_there(scene: Scene, tmp_path: Path) -> None:
    begun(scene, 1)
    for pid in scene.conductors():
        kill(pid)
    place = tmp_path / "elsewhere"
    place.mkdir()
    scene.workspace.layout.root.rename(place / ".onrecord")
    scene.workspace.close()
    scene.workspace = Workspace(place)
    scene.recover()
    assert at_its_end(scene).exit_code == ENDED_BY_ITSELF


def test_a_workspace_that_is_deleted_leaves_no_process_behind(
    make_scene: Callable[[], Scene], rounds: Callable[[int, int], range]
) -> None:
    for _ in rounds(1, 20):
        scene = make_scene()
        begun(scene, 60)
        ours = {*scene.conductors(), *scene.supervisors(), *scene.processes()}
        assert len(ours) >= 3
        scene.workspace.close()
        while scene.workspace.layout.root.exists():
            shutil.rmtree(scene.workspace.layout.root, ignore_errors=True)
        until(lambda ours=ours: not any(map(is_alive, ours)), "something of the run lives on", seconds=60)
        # Nothing was made anew where the workspace was.
        assert not scene.workspace.layout.root.exists()
        scene.close()


def test_a_log_folder_that_is_removed_costs_what_was_printed_and_says_so(
    make_scene: Callable[[], Scene], rounds: Callable[[int, int], range]
) -> None:
    for _ in rounds(1, 20):
        scene = make_scene()
        begun(scene, 0.3)
        shutil.rmtree(scene.control / "logs")
        scene.ended()
        scene.is_sound()
        row = scene.workspace.query.run(scene.run_id)
        assert (row.status, row.exit_code) == ("Failed", ENDED_BY_ITSELF)
        names = scene.run.get_file_names()
        assert "outputs/file_2.txt" in names
        assert "logs/stdout.txt" not in names
        assert "stdout.txt was removed while the script ran" in " ".join(scene.run.get_warnings())
        scene.close()


# ---- processes that are stopped ----------------------------------------------------------------------


def stop(pids: list[int]) -> None:
    assert len(pids) == 1
    os.kill(pids[0], signal.SIGSTOP)
    until(lambda: read(pids[0], "stat").rpartition(b")")[2].split()[0] == b"T", "it does not stop")


def test_a_script_that_is_stopped_is_still_canceled(scene: Scene) -> None:
    begun(scene, 60)
    stop(scene.scripts())
    scene.run.cancel()
    row = at_its_end(scene)
    assert (row.status, row.exit_code) == ("Canceled", ENDED_BY_SIGTERM)


@pytest.mark.long
def test_a_script_that_is_stopped_and_goes_on_has_lost_nothing(scene: Scene) -> None:
    begun(scene, 0.5)
    [pid] = scene.scripts()
    stop([pid])
    time.sleep(0.8)
    assert scene.status() == "Running"
    os.kill(pid, signal.SIGCONT)
    assert at_its_end(scene).exit_code == ENDED_BY_ITSELF


def test_a_script_that_is_stopped_is_ended_by_its_time_limit(scene: Scene) -> None:
    begun(scene, 60, max_run_duration_seconds=1)
    stop(scene.scripts())
    row = at_its_end(scene)
    assert (row.status, row.error and row.error["code"]) == ("Canceled", "time_limit")


def test_a_supervisor_that_is_stopped_is_let_go_on(
    make_scene: Callable[[], Scene], rounds: Callable[[int, int], range]
) -> None:
    for _ in rounds(1, 20):
        scene = make_scene()
        begun(scene, 0.3)
        # Not waited for: it is let go on before that could be seen.
        for pid in scene.supervisors():
            os.kill(pid, signal.SIGSTOP)
        assert at_its_end(scene).exit_code == ENDED_BY_ITSELF
        scene.close()


def test_a_conductor_that_is_stopped_is_let_go_on_by_the_next_command(
    make_scene: Callable[[], Scene], rounds: Callable[[int, int], range]
) -> None:
    for _ in rounds(1, 20):
        scene = make_scene()
        begun(scene, 0.3)
        stop(scene.conductors())
        until(lambda scene=scene: not scene.scripts(), "the script does not end")
        scene.recover()
        assert at_its_end(scene).exit_code == ENDED_BY_ITSELF
        scene.close()


def test_whoever_follows_a_run_lets_a_stopped_conductor_go_on(scene: Scene) -> None:
    begun(scene, 0.3)
    stop(scene.conductors())
    assert scene.run.wait_for_completion(raise_on_error=False)["exitCode"] == ENDED_BY_ITSELF
    at_its_end(scene)


# ---- the clock ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("a clock that can be stepped needs a C compiler (apt-get install gcc)")
    library = tmp_path_factory.mktemp("clock") / "clock_shim.so"
    words = [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(HERE / "clock_shim.c"), "-ldl"]
    subprocess.run(words, check=True)
    return library


@pytest.fixture
def step_clock(shim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Steps the wall clock of every process that is started from now on: seconds from the true time."""
    place = tmp_path / "clock"
    place.write_bytes(bytes(8))
    monkeypatch.setenv("CLOCK_FILE", str(place))
    monkeypatch.setenv("LD_PRELOAD", str(shim))

    def step(seconds: int) -> None:
        with place.open("r+b") as file:
            file.write(struct.pack("<q", seconds))

    yield step


CLOCK = """
import sys, time
from pathlib import Path
from onrecord import Run
run, outside = Run.get_context(), Path(sys.argv[1])
for number in range(20):
    run.log("wall", time.time())
    (outside / "wall").write_text(str(time.time()))
    Path(f"outputs/{number}.txt").write_text(str(number))
    time.sleep(0.05)
sys.exit(7)
"""


@pytest.mark.parametrize("days", [400, pytest.param(-400, marks=pytest.mark.long)])
def test_a_clock_that_is_stepped_changes_no_end_and_loses_nothing(
    scene: Scene, step_clock: Callable[[int], None], days: int
) -> None:
    script(scene, CLOCK, str(scene.outside), max_run_duration_seconds=60)
    until((scene.outside / "wall").exists, "it does not start")
    scene.reach("Running")
    step_clock(days * DAY_SECONDS)
    row = at_its_end(scene)
    assert (row.status, row.exit_code) == ("Failed", 7)
    walls = scene.run.get_metrics()["wall"]
    assert len(walls) == 20
    assert abs(abs(walls[-1] - walls[0]) - abs(days) * DAY_SECONDS) < DAY_SECONDS, "the step was not seen"
    assert {f"outputs/{number}.txt" for number in range(20)} <= set(scene.run.get_file_names())
    events = list(scene.workspace.journal.read(scene.run_id))
    assert [event.seq for event in events] == sorted(event.seq for event in events)


def test_a_time_limit_is_kept_although_the_clock_is_stepped_back(
    scene: Scene, step_clock: Callable[[int], None]
) -> None:
    begun(scene, 60, max_run_duration_seconds=1)
    step_clock(-400 * DAY_SECONDS)
    row = at_its_end(scene)
    assert (row.status, row.error and row.error["code"]) == ("Canceled", "time_limit")


# ---- what scripts print, and what they start ---------------------------------------------------------

LINE = """
import sys
piece = b"x" * (1 << 20)
for _ in range(int(sys.argv[1])):
    sys.stdout.buffer.write(piece)
sys.stdout.buffer.flush()
"""


def most_memory(pid: int) -> int:
    """The most that a process has had in memory at once, in bytes; 0 when it is gone."""
    lines = read(pid, "status").splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(b"VmHWM")), 0)


def test_much_output_in_one_line_is_kept_whole_and_takes_little_of_our_memory(scene: Scene, long_form: bool) -> None:
    megabytes = 1024 if long_form else 64
    script(scene, LINE, megabytes)
    most = 0
    while not scene.run.has_ended():
        most = max(most, *(most_memory(pid) for pid in (*scene.conductors(), *scene.supervisors())), 0)
        time.sleep(0.02)
    print(f"at most {most / 1e6:.0f} MB")
    assert 0 < most < 128 << 20
    assert at_its_end(scene).status == "Completed"
    [log] = [row for row in scene.workspace.query.files(scene.run_id) if row.name == "logs/stdout.txt"]
    assert log.size == megabytes << 20
    copy = scene.outside / "copy"
    scene.run.download_file("logs/stdout.txt", copy)
    with copy.open("rb") as file:
        while piece := file.read(1 << 20):
            assert piece == b"x" * (1 << 20)


def test_output_of_every_byte_comes_back_as_it_was(scene: Scene) -> None:
    text = (
        "import sys\nfor one in (sys.stdout, sys.stderr):\n    one.buffer.write(bytes(range(256)) * 100)\nsys.exit(7)"
    )
    script(scene, text)
    row = at_its_end(scene)
    assert row.exit_code == 7
    for name in ("stdout", "stderr"):
        assert scene.run.read_file(f"logs/{name}.txt") == bytes(range(256)) * 100
    assert row.error is not None
    assert "exit code 7" in row.error["message"]


def test_a_script_that_closes_its_output_ends_as_it_says(scene: Scene) -> None:
    text = (
        "import os, pathlib\nprint('before', flush=True)\nos.close(1)\nos.close(2)\n"
        "pathlib.Path('outputs/after.txt').write_text('after')\nos._exit(7)"
    )
    script(scene, text)
    assert at_its_end(scene).exit_code == 7
    assert scene.run.read_file("logs/stdout.txt") == b"before\n"
    assert scene.run.read_file("outputs/after.txt") == b"after"


def test_a_fork_bomb_is_ended_by_the_time_limit_to_its_last_process(scene: Scene, long_form: bool) -> None:
    # What is deaf to SIGTERM has ten seconds before SIGKILL.
    most, deaf = (400, ["deaf"]) if long_form else (80, [])
    shutil.copy(HERE / "fork_bomb.py", scene.source)
    submitted(scene, "fork_bomb.py", [str(scene.outside), most, *deaf], max_run_duration_seconds=1)
    row = at_its_end(scene)
    assert (row.status, row.error and row.error["code"]) == ("Canceled", "time_limit")
    assert len((scene.outside / "pids").read_text().splitlines()) == most
    assert not [pid for pid in living() if b"fork_bomb" in read(pid, "cmdline")]
