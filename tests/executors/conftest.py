"""No test of this folder may leave a process behind."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from onrecord.executors.control_group import remove
from onrecord.executors.records import read_order

pytest.register_assert_rewrite(*(f"onrecord.executors.contract{part}" for part in ("", "_scripts", "_steps")))

PR_SET_CHILD_SUBREAPER = 36


def _adopt_orphans(yes: bool) -> None:
    """Let orphans come to this process, so that a daemon that shed all its marks is seen too."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, int(yes), 0, 0, 0)


def _living() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            # Python's own, of whatever test first used several processes.
            is_tracker = any("resource_tracker" in word for word in process.cmdline())
            if process.status() != psutil.STATUS_ZOMBIE and not is_tracker:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def _collect_the_dead() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue
    except ChildProcessError:
        return


@pytest.fixture(scope="module", autouse=True)
def orphans() -> Iterator[None]:
    _adopt_orphans(True)
    yield
    _adopt_orphans(False)


@pytest.fixture(autouse=True)
def nothing_left_behind(orphans: None, tmp_path: Path) -> Iterator[None]:
    """Supervisors end a moment after their last word; everything else must be gone already."""
    yield
    deadline = time.monotonic() + 20
    while (left := _living()) and time.monotonic() < deadline:
        time.sleep(0.01)
    names = [(process.pid, process.cmdline()) for process in left]
    for process in left:
        process.kill()
    _collect_the_dead()
    _remove_groups(tmp_path)
    assert names == []


def _remove_groups(folder: Path) -> None:
    """Empty control groups of supervisors that the test killed and nobody recovered."""
    for launch in folder.rglob("launch"):
        order = read_order(launch.parent)
        for root in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup") if order is not None and order.token else ():
            for group in Path(root).glob(f"onrecord-{order.token}"):
                remove(group)
