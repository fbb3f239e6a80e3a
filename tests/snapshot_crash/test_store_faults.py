"""A disk that is full or fails at any moment: what every call says is true, and the store goes on afterwards."""

from __future__ import annotations

import errno
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from recording import may_mount

HERE = Path(__file__).parent
FOR_GOOD = 1_000_000
# The long form has its own measure.
pytestmark = pytest.mark.timeout(1800)


def lives_of(command: Sequence[object], **environment: str) -> list[dict[str, Any]]:
    """What a program printed, one JSON document a line."""
    done = subprocess.run(
        list(map(str, command)),
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    lives = [json.loads(line) for line in done.stdout.splitlines()]
    assert [life for life in lives if life["problems"]] == []
    return lives


@pytest.mark.parametrize(
    ("error", "times", "first"),
    [(errno.ENOSPC, 1, 1), (errno.EIO, 1, 2), (errno.ENOSPC, FOR_GOOD, 3), (errno.EIO, FOR_GOOD, 5)],
    ids=["no room once", "an error once", "no room from then on", "errors from then on"],
)
def test_a_fault_at_any_write_rename_or_flush_is_told_and_loses_nothing(
    recorder: Path, quick_folder: Path, long_form: bool, error: int, times: int, first: int
) -> None:
    first, step = (1, 1) if long_form else (first, 13)
    program = [sys.executable, HERE / "store_life.py", quick_folder.resolve(), error, times, first, step]
    disk = str(quick_folder.resolve() / "disk")
    lives = lives_of(program, LD_PRELOAD=str(recorder), DISK_FOLDER=disk, DISK_ALL="1")
    # The last one met no fault: every operation before it was tried, or one of every few.
    assert set(lives[-1]["outcomes"]) == {"ok"} and lives[-1]["hit"] == ""
    refused = {outcome for life in lives for outcome in life["outcomes"]}
    assert refused & ({"DiskFull"} if error == errno.ENOSPC else {"StoreError", "OSError", "RemoteError"})
    if long_form:
        hit = {life["hit"] for life in lives}
        assert {"write file", "write log", "flush file", "flush folder", "flush log", "rename file"} <= hit


def test_a_disk_that_fills_up_refuses_objects_and_takes_them_when_there_is_room(
    tmp_path: Path, long_form: bool
) -> None:
    if not may_mount():
        pytest.skip("a small disk of its own takes the right to mount one")
    (tmp_path / "small").mkdir()
    step = "40" if long_form else "400"
    program = shlex.join([sys.executable, str(HERE / "store_life.py"), str(tmp_path / "small"), step])
    mounted = f"mount -t tmpfs -o size=40m none {shlex.quote(str(tmp_path / 'small'))} && exec {program}"
    lives = lives_of(["unshare", "-m", "sh", "-c", mounted], LIFE_WORK=str(tmp_path / "work"))
    assert "DiskFull" in lives[0]["outcomes"] and set(lives[-1]["outcomes"]) == {"ok"}
    assert any({"ok", "DiskFull"} <= set(life["outcomes"]) for life in lives)
