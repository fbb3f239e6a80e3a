"""A script's own control group: nothing can leave it unseen, and it is gone when the script is."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_helpers import lose_supervisor

from onrecord.executors import control_group, records
from onrecord.executors.contract import end_of, launch_in, started_of, wait_for
from onrecord.executors.control_group import is_ours, processes_of
from onrecord.executors.local import LocalExecutor
from onrecord.executors.protocol import Ended
from onrecord.executors.supervisor import make_group, remove_group
from onrecord.executors.usage import Meter

EVIL = Path(__file__).with_name("evil.py")


@pytest.fixture(autouse=True)
def groups() -> Iterator[None]:
    """Only where this process may make groups; none of them stays."""
    group = make_group(b"test%d" % os.getpid())
    if not group:
        pytest.skip("may not make control groups here")
    parent = Path(group).parent
    remove_group(group)
    before = set(parent.glob("onrecord-*"))
    yield
    wait_for(lambda: set(parent.glob("onrecord-*")) <= before)


def test_everything_that_a_script_starts_is_in_its_group_and_ends_with_it(tmp_path: Path) -> None:
    executor = LocalExecutor()
    pids = tmp_path / "pids"
    launch = launch_in(tmp_path, sys.executable, str(EVIL), str(pids), "ignore", grace_seconds=0.2)
    executor.start(launch)
    started = started_of(executor, launch.control)
    group = records.read_group(launch.control)
    assert group is not None
    wait_for(lambda: pids.exists() and len(pids.read_text().splitlines()) >= 5)
    told = {int(line.split()[1]) for line in pids.read_text().splitlines()}
    assert told <= set(processes_of(group))
    assert started.pid in told
    executor.stop(launch.control)
    assert end_of(executor, launch.control).reason == "stopped"
    assert not group.exists()


def test_a_script_that_forks_without_end_is_ended(tmp_path: Path) -> None:
    text = (
        "import os, signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True:\n    if os.fork(): os._exit(0)\n"
    )
    executor = LocalExecutor()
    launch = launch_in(tmp_path, sys.executable, "-c", text, grace_seconds=0.1, time_limit_seconds=0.5)
    executor.start(launch)
    ended = end_of(executor, launch.control)
    assert ended.reason in ("exited", "time_limit")
    assert ended.survivors_killed >= 1


def test_a_daemon_that_gave_up_every_mark_is_ended_when_the_supervisor_was_killed(tmp_path: Path) -> None:
    text = (
        "import os, subprocess\n"
        "if os.fork() == 0:\n    os.setsid()\n    if os.fork(): os._exit(0)\n"
        "    null = os.open('/dev/null', os.O_RDWR)\n    for fd in (0, 1, 2): os.dup2(null, fd)\n"
        "    open('daemon.new', 'w').write(str(os.getpid())); os.rename('daemon.new', 'daemon')\n"
        "    os.execve('/bin/sleep', ['sleep', '600'], {})\n"
        "import time; time.sleep(600)\n"
    )
    executor = LocalExecutor()
    launch = launch_in(tmp_path, sys.executable, "-c", text)
    executor.start(launch)
    told = launch.working_directory / "daemon"
    wait_for(told.exists)
    daemon = int(told.read_text())
    wait_for(lambda: Path(f"/proc/{daemon}/cmdline").read_bytes().startswith(b"sleep"))
    lose_supervisor(launch.control)
    settled = executor.recover(launch.control)
    assert isinstance(settled, Ended)
    assert settled.survivors_killed >= 2
    wait_for(lambda: not _lives(daemon))


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_the_group_counts_what_has_ended(tmp_path: Path) -> None:
    burn = "sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done' & wait; touch done; sleep 600"
    executor = LocalExecutor()
    launch = launch_in(tmp_path, "sh", "-c", burn, grace_seconds=0.1)
    executor.start(launch)
    started = started_of(executor, launch.control)
    wait_for((launch.working_directory / "done").exists)
    usage = Meter(launch.control, started.pid).read()
    assert usage is not None
    assert usage.cpu_seconds > 0.02
    assert usage.processes >= 1
    executor.stop(launch.control)
    end_of(executor, launch.control)
    assert Meter(launch.control, started.pid).read() is None


def test_nothing_but_a_group_of_ours_is_ever_ended() -> None:
    assert is_ours("/sys/fs/cgroup/unified/onrecord-0123")
    for path in ("/sys/fs/cgroup", "/sys/fs/cgroup/user.slice", "/sys/fs/cgroup/onrecord-1/..", "/tmp/onrecord-1", ""):
        assert not is_ours(path)
    assert control_group.kill(Path("/sys/fs/cgroup/onrecord-never-made"), 1.0) == 0
