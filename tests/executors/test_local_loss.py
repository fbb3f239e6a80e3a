"""When things break in the middle: what is said stays true, and nothing runs twice."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from local_helpers import lose_supervisor, supervisor_of

from onrecord.executors import lock, records, supervisor
from onrecord.executors.contract import end_of, in_another_process, launch_in, started_of, wait_for
from onrecord.executors.errors import AlreadyStarted, CannotSupervise, UnknownTarget
from onrecord.executors.identity import boot_id, is_same_process, start_ticks
from onrecord.executors.local import LocalExecutor
from onrecord.executors.protocol import Ended, Launch, Progress, Started, Waiting

OTHER_BOOT = "00000000-0000-0000-0000-000000000000"


def test_a_killed_supervisor_loses_the_exit_code_and_says_so(tmp_path: Path) -> None:
    executor, launch = LocalExecutor(), launch_in(tmp_path, "sleep", "600")
    executor.start(launch)
    started = started_of(executor, launch.control)
    lose_supervisor(launch.control)
    lost = executor.poll(launch.control)
    assert isinstance(lost, Ended)
    assert (lost.reason, lost.at) == ("lost", started.at)
    assert lost.message == "nobody could learn how it ended: its supervisor was killed"
    assert is_same_process(started.pid, started.start_ticks, started.boot_id), "poll only looks"
    settled = executor.recover(launch.control)
    assert isinstance(settled, Ended)
    assert not is_same_process(started.pid, started.start_ticks, started.boot_id)
    assert settled.message.endswith("processes of it that had to be ended: 1")


def test_a_restarted_machine_is_named_as_the_cause(tmp_path: Path) -> None:
    executor, launch = LocalExecutor(), launch_in(tmp_path, "sleep", "600")
    executor.start(launch)
    started = started_of(executor, launch.control)
    lose_supervisor(launch.control)
    executor.recover(launch.control)
    (launch.control / records.EXIT).unlink()
    for name in (records.STARTED, records.LOCK):
        text = (launch.control / name).read_text()
        (launch.control / name).write_text(text.replace(boot_id(), OTHER_BOOT))
    lost = executor.poll(launch.control)
    assert isinstance(lost, Ended)
    assert (lost.reason, lost.at) == ("lost", started.at)
    assert "the machine restarted" in lost.message
    settled = executor.recover(launch.control)
    assert isinstance(settled, Ended)
    assert settled.survivors_killed == 0


def test_recovery_after_a_restart_spares_whoever_has_the_pid_now(tmp_path: Path) -> None:
    executor, launch = LocalExecutor(), launch_in(tmp_path / "a", "sleep", "600")
    executor.start(launch)
    innocent = started_of(executor, launch.control)
    other = launch_in(tmp_path / "b", "true")
    other.control.mkdir()
    content = records.encode_launch(other, token="t" * 32, boot_id=OTHER_BOOT, written_at=1)
    (other.control / records.LAUNCH).write_bytes(content)
    stale = {"pid": innocent.pid, "start_ticks": innocent.start_ticks, "boot_id": OTHER_BOOT, "at": 5}
    (other.control / records.STARTED).write_text(json.dumps(stale))
    (other.control / records.LOCK).touch()
    settled = executor.recover(other.control)
    assert isinstance(settled, Ended)
    assert (settled.reason, settled.survivors_killed) == ("lost", 0)
    assert executor.poll(launch.control) == innocent
    executor.stop(launch.control)
    end_of(executor, launch.control)


def test_a_starter_killed_before_the_spawn_leaves_a_folder_that_is_lost_not_free(tmp_path: Path) -> None:
    executor, launch = LocalExecutor(), launch_in(tmp_path, "true")
    launch.control.mkdir()
    content = records.encode_launch(launch, token="t" * 32, boot_id=boot_id(), written_at=7)
    (launch.control / records.LAUNCH).write_bytes(content)
    lost = executor.poll(launch.control)
    assert isinstance(lost, Ended)
    assert (lost.reason, lost.started, lost.at) == ("lost", None, 7)
    assert "never came up" in lost.message
    with pytest.raises(AlreadyStarted):
        executor.start(launch)
    assert executor.recover(launch.control) == executor.poll(launch.control)


def test_a_supervisor_killed_at_any_moment_leaves_the_truth(tmp_path: Path) -> None:
    executor, dice = LocalExecutor(), random.Random(7)
    for turn in range(25):
        ran = tmp_path / f"ran{turn}"
        launch = launch_in(tmp_path / str(turn), "sh", "-c", f"echo x >> {ran}; sleep 600")
        executor.start(launch)
        pid = newest_child()
        time.sleep(dice.uniform(0.0, 0.04))
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda launch=launch: not lock.is_held(launch.control / records.LOCK))
        settled = executor.recover(launch.control)
        assert isinstance(settled, Ended), settled
        assert settled.reason == "lost"
        if ran.exists():
            assert settled.started is not None
            assert ran.read_text() == "x\n"
        with pytest.raises(AlreadyStarted):
            executor.start(launch)


def killed_before_the_spawn(folder: Path, boot: str) -> Launch:
    """What a starter leaves that is killed together with the child that was about to become the supervisor."""
    launch = launch_in(folder, "sh", "-c", f"echo x >> {folder / 'ran'}")
    launch.control.mkdir()
    held = lock.claim(launch.control / records.LOCK)
    assert held is not None
    os.close(held)
    content = records.encode_launch(launch, token="t" * 32, boot_id=boot, written_at=7)
    (launch.control / records.LAUNCH).write_bytes(content)
    return launch


def test_a_launch_that_started_nothing_can_be_withdrawn_and_made_again(tmp_path: Path) -> None:
    executor, launch = LocalExecutor(), killed_before_the_spawn(tmp_path, boot_id())
    assert isinstance(executor.poll(launch.control), Ended)
    assert executor.withdraw(launch.control)
    assert executor.poll(launch.control) == Waiting()
    assert not executor.withdraw(launch.control)
    executor.start(launch)
    assert end_of(executor, launch.control).exit_code == 0
    assert (tmp_path / "ran").read_text() == "x\n"


def test_a_launch_of_before_a_restart_of_the_machine_is_not_withdrawn_for_its_start_may_be_lost(
    tmp_path: Path,
) -> None:
    executor, launch = LocalExecutor(), killed_before_the_spawn(tmp_path, OTHER_BOOT)
    assert not executor.withdraw(launch.control)
    lost = executor.poll(launch.control)
    assert isinstance(lost, Ended)
    assert "the machine restarted" in lost.message


@pytest.mark.parametrize("what", ["no lock file", "a living process", "a supervisor that failed", "a copy", "held"])
def test_a_launch_that_may_have_started_something_is_not_withdrawn(tmp_path: Path, what: str) -> None:
    executor, launch = LocalExecutor(), killed_before_the_spawn(tmp_path, boot_id())
    control, held, process = launch.control, None, None
    if what == "no lock file":
        (control / records.LOCK).unlink()
    elif what == "a living process":
        process = subprocess.Popen(["sleep", "600"], env={records.MARKER: "t" * 32, "PATH": os.environ["PATH"]})
    elif what == "a supervisor that failed":
        (control / records.LOG).write_text("MemoryError\n")
    elif what == "a copy":
        control = Path(shutil.copytree(control, tmp_path / "copy"))
    else:
        held = lock.claim(control / records.LOCK)
    try:
        assert not executor.withdraw(control)
        assert (control / records.LAUNCH).exists()
    finally:
        if process is not None:
            process.kill()
            process.wait()
        if held is not None:
            os.close(held)


def newest_child() -> int:
    import psutil

    return max(psutil.Process().children(), key=lambda child: start_ticks(child.pid) * 10**6 + child.pid).pid


def test_many_starters_of_one_folder_start_one_script(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    launch = launch_in(tmp_path, "sh", "-c", f"echo x >> {ran}; sleep 0.2")
    outcomes: list[str] = []

    def start() -> None:
        try:
            LocalExecutor().start(launch)
            outcomes.append("started")
        except AlreadyStarted:
            outcomes.append("refused")

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused"] * 7 + ["started"]
    end_of(LocalExecutor(), launch.control)
    assert ran.read_text() == "x\n"


def test_many_recoveries_agree(tmp_path: Path) -> None:
    executor, launch = LocalExecutor(), launch_in(tmp_path, "sleep", "600")
    executor.start(launch)
    started_of(executor, launch.control)
    lose_supervisor(launch.control)
    results: list[Progress] = []
    threads = [
        threading.Thread(target=lambda: results.append(LocalExecutor().recover(launch.control))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert set(results) == {executor.poll(launch.control)}


def test_the_script_is_recorded_before_its_first_instruction(tmp_path: Path) -> None:
    launch = launch_in(tmp_path, "sh", "-c", "cat ../control/starting ../control/started; echo $$")
    executor = LocalExecutor()
    executor.start(launch)
    assert end_of(executor, launch.control).exit_code == 0
    record, *_, pid = launch.stdout.read_text().splitlines()
    assert json.loads(record)["pid"] == int(pid)


@pytest.mark.parametrize("name", [records.EXIT, records.STARTED, records.LOCK, records.LAUNCH, records.STOP])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"at": 1e999}', b"[" * 50_000, b"\xff\0", None])
def test_odd_files_never_raise(tmp_path: Path, name: str, content: bytes | None) -> None:
    executor = LocalExecutor()
    (tmp_path / records.LAUNCH).write_bytes(b"argument=true\0")
    place = tmp_path / name
    place.unlink(missing_ok=True)
    if content is None:
        place.mkdir()
    else:
        place.write_bytes(content)
    assert isinstance(executor.poll(tmp_path), (Waiting, Ended))
    place.rmdir() if content is None else place.unlink()
    os.mkfifo(place)
    assert isinstance(executor.poll(tmp_path), (Waiting, Ended))


def test_a_control_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    executor = LocalExecutor()
    place = tmp_path / "file"
    place.touch()
    assert executor.poll(place) == Waiting()
    with pytest.raises(CannotSupervise):
        executor.start(launch_in(tmp_path, "true", control=place))


def test_a_deleted_lock_file_does_not_make_a_living_script_lost(tmp_path: Path) -> None:
    executor, launch = LocalExecutor(), launch_in(tmp_path, "sleep", "600")
    executor.start(launch)
    started = started_of(executor, launch.control)
    found = supervisor_of(launch.control)
    (launch.control / records.LOCK).unlink()
    assert executor.poll(launch.control) == started
    os.kill(found.pid, signal.SIGTERM)
    assert end_of(executor, launch.control).reason == "stopped"


def test_a_moved_control_folder_still_receives_the_end(tmp_path: Path) -> None:
    executor, launch = LocalExecutor(), launch_in(tmp_path / "old", "sh", "-c", "echo hi; sleep 0.5; exit 3")
    executor.start(launch)
    started_of(executor, launch.control)
    (tmp_path / "old").rename(tmp_path / "new")
    moved = tmp_path / "new" / "control"
    assert end_of(executor, moved).exit_code == 3
    assert executor.logs(moved)[0].read_text() == "hi\n"


def test_a_deleted_control_folder_leaves_no_process(tmp_path: Path) -> None:
    executor, launch = LocalExecutor(), launch_in(tmp_path, "sleep", "600")
    executor.start(launch)
    started_of(executor, launch.control)
    found = supervisor_of(launch.control)
    shutil.rmtree(launch.control)
    assert executor.poll(launch.control) == Waiting()
    os.kill(found.pid, signal.SIGTERM)
    wait_for(lambda: not is_same_process(found.pid, found.start_ticks, found.boot_id))


def test_a_deleted_log_folder_does_not_end_the_script(tmp_path: Path) -> None:
    executor, launch = LocalExecutor(), launch_in(tmp_path, "sh", "-c", "sleep 0.3; echo x; exit 4")
    executor.start(launch)
    started_of(executor, launch.control)
    shutil.rmtree(launch.stdout.parent)
    assert end_of(executor, launch.control).exit_code == 4


def test_a_log_file_that_cannot_be_written_prevents_the_start(tmp_path: Path) -> None:
    executor, launch = LocalExecutor(), launch_in(tmp_path, "true", stdout=tmp_path)
    executor.start(launch)
    ended = end_of(executor, launch.control)
    assert (ended.reason, ended.message) == ("not_started", f"cannot write to {tmp_path}: Is a directory")


def test_sigterm_to_the_supervisor_is_a_stop(tmp_path: Path) -> None:
    executor, launch = LocalExecutor(), launch_in(tmp_path, "sleep", "600")
    executor.start(launch)
    started = started_of(executor, launch.control)
    found = supervisor_of(launch.control)
    for ignored in (signal.SIGHUP, signal.SIGUSR1, signal.SIGQUIT):
        os.kill(found.pid, ignored)
    assert executor.wait(launch.control, 0.1, started) == started
    os.kill(found.pid, signal.SIGTERM)
    assert end_of(executor, launch.control).reason == "stopped"


def supervise_by_hand(control: Path) -> int:
    command = [sys.executable, "-I", "-S", supervisor.__file__, str(control)]
    return subprocess.run(command, check=False).returncode


def test_a_second_supervisor_of_a_folder_refuses(tmp_path: Path) -> None:
    executor, launch = LocalExecutor(), launch_in(tmp_path, "sleep", "600")
    executor.start(launch)
    started_of(executor, launch.control)
    running = supervise_by_hand(launch.control)
    executor.stop(launch.control)
    end_of(executor, launch.control)
    assert (running, supervise_by_hand(launch.control)) == (75, 75)


def test_a_supervisor_by_hand_needs_no_caller_that_locks(tmp_path: Path) -> None:
    launch = launch_in(tmp_path, "sh", "-c", "exit 11")
    launch.control.mkdir()
    launch.stdout.parent.mkdir()
    content = records.encode_launch(launch, token="t" * 32, boot_id=boot_id(), written_at=7)
    (launch.control / records.LAUNCH).write_bytes(content)
    assert supervise_by_hand(launch.control) == 0
    assert end_of(LocalExecutor(), launch.control).exit_code == 11


def test_a_forked_process_does_not_disturb_the_supervisors_of_its_parent(tmp_path: Path) -> None:
    executor, launch = LocalExecutor(), launch_in(tmp_path, "sh", "-c", "sleep 0.3; exit 5")
    executor.start(launch)
    assert in_another_process(lambda: executor.poll(launch.control)) == 0
    assert end_of(executor, launch.control).exit_code == 5


def test_an_error_can_be_pickled_with_its_values() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(UnknownTarget.named("locl", ("local",), ("local",))))  # noqa: S301
    assert (error.target, error.known) == ("locl", ("local",))
    assert isinstance(Started(1, 2, "b", 3), Started)
