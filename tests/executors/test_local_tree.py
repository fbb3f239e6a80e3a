"""However a run ends, no process of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from local_helpers import lose_supervisor

from onrecord.executors.contract import end_of, launch_in, started_of, wait_for
from onrecord.executors.local import LocalExecutor
from onrecord.executors.protocol import Ended, Launch
from onrecord.executors.tree import Sample, Seed, members, sample

EVIL = Path(__file__).with_name("evil.py")
KINDS = 6  # lines that evil.py writes once all of it is up

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs a subreaper or /proc")


def evil_in(folder: Path, mode: str, **changes: object) -> Launch:
    command = (sys.executable, str(EVIL), str(folder / "pids"), *([mode] if mode else []))
    return launch_in(folder, *command, **{"grace_seconds": 0.5, **changes})


def wait_until_up(folder: Path) -> None:
    pids = folder / "pids"
    wait_for(lambda: pids.exists() and pids.read_text().count("\n") >= KINDS)
    wait_for((folder / "pids.respawn").exists)


def living(folder: Path) -> list[str]:
    """Lines of evil.py's record whose process runs still, and whatever has a log of the run open."""
    found = []
    for line in (folder / "pids").read_text().splitlines():
        pid = int(line.split()[1])
        if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            found.append(line)
    seed = Seed(None, outputs=(folder / "logs" / "stdout.txt",))
    return found + [str(process) for process in members(seed).values()]


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


@linux_only
@pytest.mark.parametrize("mode", ["", "ignore"])
def test_nothing_survives_a_stop(tmp_path: Path, mode: str) -> None:
    executor, launch = LocalExecutor(), evil_in(tmp_path, mode)
    executor.start(launch)
    wait_until_up(tmp_path)
    executor.stop(launch.control)
    ended = end_of(executor, launch.control)
    assert living(tmp_path) == []
    assert (ended.reason, ended.signal) == ("stopped", signal.SIGKILL if mode else signal.SIGTERM)
    assert ended.survivors_killed >= 1


@linux_only
@pytest.mark.parametrize("mode", ["", "ignore"])
def test_nothing_survives_the_time_limit(tmp_path: Path, mode: str) -> None:
    executor, launch = LocalExecutor(), evil_in(tmp_path, mode, time_limit_seconds=3.0)
    executor.start(launch)
    ended = end_of(executor, launch.control)
    assert living(tmp_path) == []
    assert ended.reason == "time_limit"


@linux_only
def test_nothing_survives_the_death_of_the_script(tmp_path: Path) -> None:
    executor, launch = LocalExecutor(), evil_in(tmp_path, "")
    executor.start(launch)
    wait_until_up(tmp_path)
    kill(started_of(executor, launch.control).pid)
    ended = end_of(executor, launch.control)
    assert living(tmp_path) == []
    assert (ended.reason, ended.signal) == ("exited", signal.SIGKILL)
    assert ended.survivors_killed >= 5


@linux_only
def test_nothing_survives_recovery_when_the_supervisor_was_killed(tmp_path: Path) -> None:
    executor, launch = LocalExecutor(), evil_in(tmp_path, "ignore")
    executor.start(launch)
    wait_until_up(tmp_path)
    started = started_of(executor, launch.control)
    lose_supervisor(launch.control)
    lost = executor.wait(launch.control, 60.0, started)
    assert isinstance(lost, Ended)
    assert (lost.reason, lost.exit_code, lost.signal, lost.started) == ("lost", None, None, started)
    settled = executor.recover(launch.control)
    assert living(tmp_path) == []
    assert isinstance(settled, Ended)
    assert (settled.reason, settled.started) == ("lost", started)
    assert settled.survivors_killed >= 5
    assert executor.poll(launch.control) == settled
    assert executor.recover(launch.control) == settled


@linux_only
def test_nothing_survives_when_script_and_supervisor_were_killed(tmp_path: Path) -> None:
    executor, launch = LocalExecutor(), evil_in(tmp_path, "")
    executor.start(launch)
    wait_until_up(tmp_path)
    started = started_of(executor, launch.control)
    lose_supervisor(launch.control)
    kill(started.pid)
    assert isinstance(executor.recover(launch.control), Ended)
    assert living(tmp_path) == []


def test_a_daemon_that_holds_the_output_does_not_delay_the_end_for_ever(tmp_path: Path) -> None:
    launch = launch_in(tmp_path, "sh", "-c", "(trap '' TERM HUP; sleep 600) & exit 0")
    executor = LocalExecutor()
    executor.start(launch)
    ended = end_of(executor, launch.control)
    assert (ended.reason, ended.exit_code) == ("exited", 0)
    assert ended.survivors_killed >= 1


def test_a_child_that_ends_soon_after_the_script_is_left_to_finish(tmp_path: Path) -> None:
    launch = launch_in(tmp_path, "sh", "-c", "(sleep 0.3; echo late) & exit 0")
    executor = LocalExecutor()
    executor.start(launch)
    ended = end_of(executor, launch.control)
    assert (ended.exit_code, ended.survivors_killed) == (0, 0)
    assert launch.stdout.read_text() == "late\n"


def test_a_stopped_descendant_does_not_escape(tmp_path: Path) -> None:
    launch = launch_in(tmp_path, "sh", "-c", "sh -c 'kill -STOP $$' & echo up; sleep 600")
    executor = LocalExecutor()
    executor.start(launch)
    wait_for(lambda: launch.stdout.exists() and launch.stdout.read_bytes())
    executor.stop(launch.control)
    assert end_of(executor, launch.control).reason == "stopped"


def test_a_fork_storm_is_ended_by_the_time_limit(tmp_path: Path) -> None:
    storm = "import os,time\nfor _ in range(400):\n  if os.fork() == 0: os.setsid(); time.sleep(600)\ntime.sleep(600)"
    launch = launch_in(tmp_path, sys.executable, "-S", "-c", storm, time_limit_seconds=0.6, grace_seconds=0.0)
    executor = LocalExecutor()
    executor.start(launch)
    assert end_of(executor, launch.control).reason == "time_limit"


def test_a_sample_counts_the_whole_tree(tmp_path: Path) -> None:
    launch = launch_in(tmp_path, "sh", "-c", "sleep 600 & sleep 600 & wait")
    executor = LocalExecutor()
    executor.start(launch)
    pid = started_of(executor, launch.control).pid

    def used() -> Sample:
        found = sample(pid)
        assert found is not None
        return found

    wait_for(lambda: used().processes == 3)
    assert used().threads == 3
    assert used().rss_bytes > 100_000
    assert used().cpu_seconds >= 0
    executor.stop(launch.control)
    end_of(executor, launch.control)
    assert sample(pid) is None


def test_this_process_and_its_ancestors_are_never_members(monkeypatch: pytest.MonkeyPatch) -> None:
    here = psutil.Process()
    token = here.environ().get("ONRECORD_EXECUTION", "")
    found = members(Seed(None, token=token))
    assert os.getpid() not in found
    assert not {parent.pid for parent in here.parents()} & found.keys()


@linux_only
def test_a_fork_bomb_that_is_deaf_is_ended_to_its_last_process(tmp_path: Path) -> None:
    executor, bomb = LocalExecutor(), Path(__file__).parents[1] / "crash" / "fork_bomb.py"
    command = (sys.executable, str(bomb), str(tmp_path), "60", "deaf")
    launch = launch_in(tmp_path, *command, grace_seconds=0.3)
    executor.start(launch)
    started_of(executor, launch.control)
    wait_for(lambda: (tmp_path / "pids").exists() and len((tmp_path / "pids").read_text().splitlines()) == 60)
    executor.stop(launch.control)
    assert end_of(executor, launch.control).survivors_killed == 60
    pids = [int(line) for line in (tmp_path / "pids").read_text().splitlines()]
    assert not [
        pid for pid in pids if psutil.pid_exists(pid) and "fork_bomb" in " ".join(psutil.Process(pid).cmdline())
    ]


@linux_only
def test_a_script_that_a_debugger_holds_is_ended_all_the_same(tmp_path: Path) -> None:
    executor, launch = LocalExecutor(), launch_in(tmp_path, "sleep", "600", grace_seconds=0.3)
    executor.start(launch)
    pid = started_of(executor, launch.control).pid
    holder = subprocess.Popen([sys.executable, "-c", DEBUGGER, str(pid)])
    try:
        wait_for(lambda: psutil.Process(pid).status() == psutil.STATUS_TRACING_STOP or holder.poll() is not None)
        if holder.poll() is not None:
            pytest.skip("may not trace a process here")
        executor.stop(launch.control)
        ended = end_of(executor, launch.control)
        assert (ended.reason, ended.exit_code, ended.signal) == ("stopped", None, None)
        assert "a debugger held it" in ended.message
        assert psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    finally:
        holder.kill()
        holder.wait()


# Takes hold of a process as a debugger does (ptrace(2): PTRACE_SEIZE, PTRACE_INTERRUPT), and never lets go of it.
DEBUGGER = """
import ctypes, sys, time
ptrace = ctypes.CDLL(None).ptrace
ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
if ptrace(0x4206, int(sys.argv[1]), None, None) or ptrace(0x4207, int(sys.argv[1]), None, None):
    sys.exit(1)
time.sleep(600)
"""
