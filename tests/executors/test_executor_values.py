"""Launches that cannot be, and who a process is."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from onrecord.executors.contract import launch_in
from onrecord.executors.errors import InvalidLaunch
from onrecord.executors.identity import boot_id, is_same_process, start_ticks
from onrecord.executors.protocol import Ended, Launch, Started, Waiting
from onrecord.executors.records import EXIT, encode_exit, read_exit


@pytest.mark.parametrize(
    "changes",
    [
        {"command": ()},
        {"command": ("",)},
        {"command": ("a", "b\0")},
        {"environment": {"": "x"}},
        {"environment": {"a=b": "x"}},
        {"environment": {"a": "x\0"}},
        {"time_limit_seconds": 0},
        {"time_limit_seconds": -1.0},
        {"time_limit_seconds": float("nan")},
        {"time_limit_seconds": float("inf")},
        {"grace_seconds": -1.0},
        {"grace_seconds": float("nan")},
        {"working_directory": Path("a\0b")},
    ],
)
def test_a_launch_that_cannot_be_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidLaunch):
        launch_in(tmp_path, "true", **changes)


def test_a_launch_is_absolute_and_frozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"A": "1"}
    launch = Launch(
        command=["true"], working_directory=".", environment=given, stdout="o", stderr="e", control="c/../d"
    )
    given["A"] = "2"
    assert launch.environment == {"A": "1"}
    assert (launch.working_directory, launch.control) == (tmp_path, tmp_path / "d")


def test_a_launch_is_made_by_position_as_well_and_has_no_time_limit_unless_it_is_given_one(tmp_path: Path) -> None:
    launch = Launch(("true",), tmp_path, {}, tmp_path / "o", tmp_path / "e", tmp_path / "c")
    assert (launch.time_limit_seconds, launch.grace_seconds) == (None, 10.0)
    assert launch == Launch(["true"], str(tmp_path), {}, tmp_path / "o", tmp_path / "e", tmp_path / "c", None, 10)
    with pytest.raises(AttributeError):
        launch.grace_seconds = 1.0  # type: ignore[misc]


def test_everything_that_a_poll_can_say_is_true_and_equal_to_its_like() -> None:
    started = Started(1, 2, "b", 3)
    said = [Waiting(), started, Ended("exited", 0, None, "", started, 4)]
    assert all(said)
    assert [one == other for one in said for other in said] == [place % 4 == 0 for place in range(9)]
    assert {Waiting(): 1}[Waiting()] == 1
    assert repr(Waiting()) == "Waiting()"


def test_this_process_is_itself() -> None:
    me = os.getpid()
    assert is_same_process(me, start_ticks(me), boot_id())
    assert not is_same_process(me, start_ticks(me) + 1, boot_id())
    assert not is_same_process(me, start_ticks(me), "another boot")
    assert not is_same_process(0, 0, boot_id())


def test_a_zombie_is_nobody() -> None:
    with subprocess.Popen(["sleep", "600"]) as child:
        ticks = start_ticks(child.pid)
        assert is_same_process(child.pid, ticks, boot_id())
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not is_same_process(child.pid, ticks, boot_id())


def test_an_end_is_read_as_it_was_written(tmp_path: Path) -> None:
    ended = Ended("lost", None, 9, "ü", Started(1, 2, "b", 3), 4, 5, True, 0.5, 6)
    (tmp_path / EXIT).write_bytes(encode_exit(ended))
    assert read_exit(tmp_path) == ended
