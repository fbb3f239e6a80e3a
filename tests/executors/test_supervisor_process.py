"""The supervisor as a process: what it passes on, what it costs, and how it writes on a full disk."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_helpers import supervisor_of

from onrecord.executors import lock, records, supervisor
from onrecord.executors.contract import end_of, in_another_process, launch_in, progress_until, started_of, wait_for
from onrecord.executors.errors import CannotSupervise
from onrecord.executors.identity import is_same_process
from onrecord.executors.local import LocalExecutor
from onrecord.executors.protocol import Ended, Started, Waiting

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@linux_only
def test_the_script_has_no_signal_blocked_or_ignored(tmp_path: Path) -> None:
    launch = launch_in(tmp_path, "cat", "/proc/self/status")
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM, signal.SIGCHLD})
    try:
        LocalExecutor().start(launch)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1, signal.SIGTERM, signal.SIGCHLD})
        signal.signal(signal.SIGHUP, before)
    assert end_of(LocalExecutor(), launch.control).exit_code == 0
    lines = dict(line.split(":\t", 1) for line in launch.stdout.read_text().splitlines() if ":\t" in line)
    # The C library's posix_spawn ignores 32 and 33, which are its own and no one else's.
    shown = {int(lines[name], 16) & ~0x180000000 for name in ("SigBlk", "SigIgn", "SigCgt", "SigPnd")}
    assert shown == {0}


@linux_only
def test_the_script_inherits_no_descriptor_but_the_first_three(tmp_path: Path) -> None:
    launch = launch_in(tmp_path, "sh", "-c", "readlink /proc/$$/fd/*; echo; ls /proc/$$/fd")
    leaked = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(leaked, True)
    try:
        LocalExecutor().start(launch)
    finally:
        os.close(leaked)
    end_of(LocalExecutor(), launch.control)
    links, numbers = launch.stdout.read_text().split("\n\n")
    assert links.split() == ["/dev/null", str(launch.stdout), str(launch.stderr)]
    assert numbers.split() == ["0", "1", "2"]


def test_the_lock_is_free_once_the_supervisor_is_gone_whatever_the_script_does(tmp_path: Path) -> None:
    executor, launch = LocalExecutor(), launch_in(tmp_path, "sh", "-c", "trap '' TERM HUP; sleep 600 & sleep 600")
    executor.start(launch)
    started = started_of(executor, launch.control)
    assert lock.is_held(launch.control / records.LOCK)
    found = supervisor_of(launch.control)
    os.kill(found.pid, signal.SIGKILL)
    wait_for(lambda: not is_same_process(found.pid, found.start_ticks, found.boot_id))
    assert is_same_process(started.pid, started.start_ticks, started.boot_id)
    assert not lock.is_held(launch.control / records.LOCK)
    executor.recover(launch.control)


def test_the_lock_is_held_when_start_returns(tmp_path: Path) -> None:
    executor, launch = LocalExecutor(), launch_in(tmp_path, "sleep", "600")
    executor.start(launch)
    assert lock.is_held(launch.control / records.LOCK)
    assert lock.claim(launch.control / records.LOCK) is None
    executor.stop(launch.control)
    end_of(executor, launch.control)


def test_script_and_supervisor_have_sessions_of_their_own(tmp_path: Path) -> None:
    executor, launch = LocalExecutor(), launch_in(tmp_path, "sleep", "600")
    executor.start(launch)
    started = started_of(executor, launch.control)
    found = supervisor_of(launch.control)
    assert os.getsid(started.pid) == started.pid
    assert os.getsid(found.pid) == found.pid
    executor.stop(launch.control)
    end_of(executor, launch.control)


@linux_only
def test_a_waiting_supervisor_never_wakes_and_stays_small(tmp_path: Path) -> None:
    executor, launch = LocalExecutor(), launch_in(tmp_path, "sleep", "600", time_limit_seconds=600)
    executor.start(launch)
    started = started_of(executor, launch.control)
    found = supervisor_of(launch.control)
    wait_for(lambda: status_of(found.pid)["State"].startswith("S"))
    executor.wait(launch.control, 0.2, started)
    before = status_of(found.pid)["voluntary_ctxt_switches"]
    executor.wait(launch.control, 1.0, started)
    after = status_of(found.pid)
    assert after["voluntary_ctxt_switches"] == before
    assert int(after["VmRSS"].split()[0]) < 14 * 1024
    executor.stop(launch.control)
    end_of(executor, launch.control)


def test_the_supervisor_imports_nothing_that_is_slow() -> None:
    heavy = "{'json', 'signal', 're', 'subprocess', 'ctypes', 'typing', 'enum', 'pathlib', 'threading'}"
    probe = (
        "import sys; source = open(sys.argv[1]).read(); "
        "exec(compile(source, sys.argv[1], 'exec'), {'__name__': 'x'}); "
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    asked = subprocess.run(
        [sys.executable, "-I", "-S", "-c", probe, supervisor.__file__], capture_output=True, check=True
    )
    assert asked.stdout.decode().strip() == "[]"


def test_its_json_is_what_the_standard_library_reads() -> None:
    values = {"text": 'ü "\\\n\x00\x7f\u2028 𝄞', "none": None, "yes": True, "no": False, "n": -3, "x": 0.25}
    assert json.loads(supervisor.dumps({**values, "inner": values})) == {**values, "inner": values}
    assert json.loads(supervisor.dumps("\udcff")) == "?"


def test_the_end_says_what_it_used(tmp_path: Path) -> None:
    executor = LocalExecutor()
    launch = launch_in(tmp_path, sys.executable, "-S", "-c", "x = b'x' * 50_000_000; sum(range(10**6))")
    executor.start(launch)
    ended = end_of(executor, launch.control)
    assert ended.cpu_seconds is not None
    assert 0 < ended.cpu_seconds < 60
    assert ended.max_rss_bytes is not None
    assert ended.max_rss_bytes > 50_000_000


def test_many_scripts_at_once_each_tell_their_own_end(tmp_path: Path) -> None:
    executor = LocalExecutor()
    launches = [launch_in(tmp_path / str(n), "sh", "-c", f"sleep 0.1; exit {n}") for n in range(30)]
    for launch in launches:
        executor.start(launch)
    assert [end_of(executor, launch.control).exit_code for launch in launches] == list(range(30))


def test_a_gigabyte_of_output_in_one_line_is_no_concern_of_the_supervisor(tmp_path: Path) -> None:
    executor, launch = LocalExecutor(), launch_in(tmp_path, "head", "-c", "100000000", "/dev/zero")
    executor.start(launch)
    ended = end_of(executor, launch.control)
    assert (ended.exit_code, launch.stdout.stat().st_size) == (0, 100_000_000)
    assert ended.max_rss_bytes is not None
    assert ended.max_rss_bytes < 50_000_000


# ---- a full disk -------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if sys.platform != "linux" or subprocess.run(mounting, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a small file system here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> None:
    with (place / "fill").open("ab", buffering=0) as file:
        for size in (4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue


def test_the_end_is_recorded_on_a_full_disk(tmp_path: Path, small_disk: Path) -> None:
    executor = LocalExecutor()
    launch = launch_in(tmp_path, "sh", "-c", "read x < go; exit 21", control=small_disk / "control")
    os.mkfifo(launch.working_directory / "go")
    executor.start(launch)
    started_of(executor, launch.control)
    fill(small_disk)
    (launch.working_directory / "go").write_text("\n")
    assert end_of(executor, launch.control).exit_code == 21


def test_the_end_is_recorded_as_soon_as_there_is_room(tmp_path: Path, small_disk: Path) -> None:
    executor = LocalExecutor()
    launch = launch_in(tmp_path, "sh", "-c", "read x < go; exit 22", control=small_disk / "control")
    os.mkfifo(launch.working_directory / "go")
    executor.start(launch)
    started = started_of(executor, launch.control)
    (launch.control / "exit.tmp").unlink()
    fill(small_disk)
    (launch.working_directory / "go").write_text("\n")
    wait_for(lambda: not is_same_process(started.pid, started.start_ticks, started.boot_id))
    assert executor.wait(launch.control, 0.3, started) == started
    (small_disk / "fill").unlink()
    assert end_of(executor, launch.control).exit_code == 22


def test_a_disk_that_is_full_at_the_start_is_said_at_once_and_nothing_runs(tmp_path: Path, small_disk: Path) -> None:
    executor = LocalExecutor()
    launch = launch_in(tmp_path, "sh", "-c", "exit 23", control=small_disk / "control")
    fill(small_disk)
    with pytest.raises(CannotSupervise, match="No space left on device"):
        executor.start(launch)
    assert executor.poll(launch.control) == Waiting()
    (small_disk / "fill").unlink()
    executor.start(launch)
    assert end_of(executor, launch.control).exit_code == 23


# ---- out of memory -----------------------------------------------------------------------------------


@pytest.fixture
def little_memory() -> Iterator[Path]:
    """A control group of 100 MB to put processes into."""
    for root, limit in (
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        ("/sys/fs/cgroup", "memory.max"),
    ):
        group = Path(root) / f"onrecord-test-{os.getpid()}"
        try:
            group.mkdir()
            (group / limit).write_text("100000000")
        except OSError:
            if group.exists():
                group.rmdir()
            continue
        yield group
        wait_for(lambda group=group: not (group / "cgroup.procs").read_text())
        group.rmdir()
        return
    pytest.skip("may not make a memory control group here")


def test_a_script_killed_for_want_of_memory_says_so(tmp_path: Path, little_memory: Path) -> None:
    executor = LocalExecutor()
    launch = launch_in(tmp_path, sys.executable, "-S", "-c", "x = b'x' * 10**9")

    def start() -> None:
        (little_memory / "cgroup.procs").write_text(str(os.getpid()))
        executor.start(launch)

    assert in_another_process(start) == 0
    ended = end_of(executor, launch.control)
    assert (ended.reason, ended.signal) == ("exited", signal.SIGKILL)
    assert "out of memory" in ended.message


# ---- the program that is started ---------------------------------------------------------------------


def test_the_control_folder_holds_just_its_documented_files(tmp_path: Path) -> None:
    executor, launch = LocalExecutor(), launch_in(tmp_path, "true")
    executor.start(launch)
    progress_until(executor, launch.control, Ended)
    names = sorted(path.name for path in launch.control.iterdir())
    assert names == ["exit", "launch", "started", "supervisor.lock", "supervisor.log"]
    assert (launch.control / "supervisor.log").read_text() == ""
    modes = {path.stat().st_mode & 0o077 for path in launch.control.iterdir()}
    assert modes == {0}, "environments hold secrets"


def test_a_reader_in_the_way_does_not_make_a_start_fail(tmp_path: Path) -> None:
    launch = launch_in(tmp_path, "true")
    launch.control.mkdir()
    reader = (launch.control / records.LOCK).open("w")
    fcntl.flock(reader, fcntl.LOCK_SH)
    release = os.fork()
    if release == 0:
        os._exit(0)
    os.waitpid(release, 0)
    reader.close()
    LocalExecutor().start(launch)
    assert isinstance(end_of(LocalExecutor(), launch.control), Ended)


def test_started_is_a_value() -> None:
    assert Started(1, 2, "boot", 3) == Started(1, 2, "boot", 3)
