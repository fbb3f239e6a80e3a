"""A disk that is full or fails at any moment: what every call says is true, and the ledger goes on afterwards."""

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
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(map(str, (HERE, HERE.parent / "ledger", HERE.parent / "disk"))),
    "PYTHONDONTWRITEBYTECODE": "1",
}
FOR_GOOD = 1_000_000
# The long form has its own measure.
pytestmark = pytest.mark.timeout(1800)


def lines_of(command: Sequence[object], **environment: str) -> list[dict[str, Any]]:
    """What a program printed, one JSON document a line."""
    done = subprocess.run(
        list(map(str, command)), env={**ENVIRONMENT, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("error", "times", "first", "step"),
    # Between them, the short forms of the first two fail every operation once.
    [(errno.ENOSPC, 1, 1, 2), (errno.EIO, 1, 2, 2), (errno.ENOSPC, FOR_GOOD, 3, 6), (errno.EIO, FOR_GOOD, 5, 6)],
    ids=["no room once", "an error once", "no room from then on", "errors from then on"],
)
def test_a_fault_at_any_write_or_flush_is_told_and_loses_nothing(
    recorder: Path, quick_folder: Path, long_form: bool, error: int, times: int, first: int, step: int
) -> None:
    first, step = (1, 1) if long_form else (first, step)
    program = [sys.executable, HERE / "fault_driver.py", quick_folder.resolve(), error, times, first, step]
    lives = lines_of(program, LD_PRELOAD=str(recorder), DISK_FOLDER=str(quick_folder.resolve()))
    assert [life for life in lives if life["problems"]] == []
    # The last one met no fault: every operation before it was tried.
    assert set(lives[-1]["outcomes"]) == {"ok"} and lives[-1]["hit"] == ""
    refusals = {outcome for life in lives for outcome in life["outcomes"]}
    assert ("LedgerFull" if error == errno.ENOSPC else "LedgerDamaged") in refusals
    hit = {life["hit"] for life in lives}
    assert {"write log", "write database", "flush log"} <= hit
    if long_form:
        assert {"write journal", "write index", "flush journal", "flush database", "flush folder"} <= hit


def test_a_disk_that_fills_up_refuses_events_and_takes_them_when_there_is_room(tmp_path: Path, long_form: bool) -> None:
    if not may_mount():
        pytest.skip("a small disk of its own takes the right to mount one")
    program = shlex.join([sys.executable, str(HERE / "small_disk.py"), str(tmp_path), "1" if long_form else "3"])
    mounted = f"mount -t tmpfs -o size=4m none {shlex.quote(str(tmp_path))} && exec {program}"
    lives = lines_of(["unshare", "-m", "sh", "-c", mounted])
    assert [life for life in lives if life["problems"]] == []
    assert set(lives[0]["outcomes"]) == {"LedgerFull"} and set(lives[-1]["outcomes"]) == {"ok"}
    assert any({"ok", "LedgerFull"} == set(life["outcomes"]) for life in lives)
