"""A script's own control group, where its supervisor could make one: who is in it, what it used, and its end.

Version 2 of the kernel's interface (cgroups(7)); a group needs no controller to count CPU time and to be killed as a
whole, so none is turned on. `supervisor.py` makes the groups, for it must know nothing but the standard library.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

PREFIX = "onrecord-"
_PAUSE_SECONDS = 0.002


def is_ours(path: str) -> bool:
    """Whether a recorded path can be that of a group that a supervisor made: nothing else is ever killed."""
    parts = path.split("/")
    return path.startswith("/sys/fs/cgroup/") and parts[-1].startswith(PREFIX) and ".." not in parts


def processes_of(group: Path) -> list[int]:
    """Everything in the group and in groups below it. Raises OSError where there is no such group any more."""
    found = [int(pid) for pid in (group / "cgroup.procs").read_bytes().split()]
    for below in _below(group):
        try:
            found += [int(pid) for pid in (below / "cgroup.procs").read_bytes().split()]
        except OSError:
            continue
    return found


def cpu_seconds_of(group: Path) -> float | None:
    """CPU time of all that was ever in it; None where the kernel does not say."""
    try:
        words = (group / "cpu.stat").read_bytes().split()
        return int(words[words.index(b"usage_usec") + 1]) / 1e6
    except (OSError, ValueError, IndexError):
        return None


def kill(group: Path, seconds: float) -> int:
    """End everything in the group, which nothing can escape by forking, then remove it; how many there were.

    Waits at most so long for what the kernel does not let die (uninterruptible sleep).
    """
    try:
        found = len(processes_of(group))
        if found:
            (group / "cgroup.kill").write_bytes(b"1")
        deadline = time.monotonic() + seconds
        while processes_of(group) and time.monotonic() < deadline:
            time.sleep(_PAUSE_SECONDS)
    except OSError:
        return 0
    remove(group)
    return found


def remove(group: Path) -> None:
    """Remove an empty group with those below it; nothing where it is in use or gone."""
    for path in [*reversed(_below(group)), group]:
        try:
            path.rmdir()
        except OSError:
            continue


def _below(group: Path) -> list[Path]:
    return [Path(folder) / name for folder, names, _ in os.walk(group) for name in names]
