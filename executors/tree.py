"""Process trees seen from outside: whose processes are these, what do they use, and how they are ended.

The supervisor ends its own tree and needs none of this. This is for when it was killed: its orphans have
gone to another parent, so they are recognised by whatever they still carry.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from onrecord.executors.identity import boot_id, is_same_process
from onrecord.executors.protocol import Started
from onrecord.executors.records import MARKER

if TYPE_CHECKING:
    import psutil

GRACE_SECONDS = 2.0  # nobody waits for the results of a tree whose end nobody will learn
FREEZE_ROUNDS = 100
LISTINGS = 50
GIVE_UP_SECONDS = 30.0  # for what the kernel does not let die (uninterruptible sleep)
ACCESS_MODE = 0o3  # O_ACCMODE


@attrs.frozen
class Seed:
    """By what the members of a tree are known.

    `script`: its first process; `token`: the value of `ONRECORD_EXECUTION` in the environment that they
    inherit, "" for none; `outputs`: log files that are the stdout or stderr of members only.
    """

    script: Started | None
    token: str = ""
    outputs: tuple[Path, ...] = ()


@attrs.frozen
class Sample:
    """What a tree uses at one moment: `cpu_seconds` (user and system, with children waited for, since
    their start), `rss_bytes` (shared pages counted in each), `threads`, `processes`."""

    cpu_seconds: float
    rss_bytes: int
    threads: int
    processes: int


def members(seed: Seed) -> dict[int, psutil.Process]:
    """Living processes of the tree by pid, never this process or its ancestors. About 0.2 ms a process.

    A member is the script, a process of its session, one with the token in its environment, one whose
    stdout or stderr is a log file of the run, or a descendant of any of these. Empty after a restart of
    the machine. A daemon that gave up all of these is not found.
    """
    import psutil

    if seed.script is not None and seed.script.boot_id != boot_id():
        return {}
    spared = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    logs, session = _file_ids(seed.outputs), _session(seed)
    parents: dict[int, int] = {}
    found: dict[int, psutil.Process] = {}
    for pid, process, parent in _everyone(spared):
        parents[pid] = parent
        if _in_session(pid, session) or _carries(pid, seed.token) or _writes_to(pid, logs):
            found[pid] = process
    grown = True
    while grown:
        new = [pid for pid, parent in parents.items() if parent in found and pid not in found]
        grown = bool(new)
        for pid in new:
            try:
                found[pid] = psutil.Process(pid)
            except psutil.NoSuchProcess:
                parents.pop(pid)
    return found  # with those that ended meanwhile: their children may be younger than the last listing


def _everyone(spared: set[int]) -> Iterator[tuple[int, psutil.Process, int]]:
    """Every living process with its parent's pid: again until a listing holds nobody new.

    A process may fork and end between being listed and being looked at; the child is in the next listing.
    """
    import psutil

    seen = set(spared)
    for _ in range(LISTINGS):
        new = set(psutil.pids()) - seen
        if not new:
            return
        seen |= new
        for pid in new:
            try:
                process = psutil.Process(pid)
                with process.oneshot():
                    status, parent = process.status(), process.ppid()
            except psutil.Error:
                continue
            if status not in _dead():
                yield pid, process, parent


def _dead() -> tuple[str, ...]:
    import psutil

    return (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


def _alive(processes: dict[int, psutil.Process]) -> set[int]:
    return {pid for pid, process in processes.items() if _state(process) not in _dead()}


def _state(process: psutil.Process) -> str:
    """Its status now, as psutil spells it."""
    import psutil

    try:
        return str(process.status())
    except psutil.NoSuchProcess:
        return str(psutil.STATUS_DEAD)
    except psutil.AccessDenied:
        return str(psutil.STATUS_RUNNING)


def end_tree(seed: Seed, grace_seconds: float = GRACE_SECONDS) -> int:
    """End every member: SIGTERM, the grace, then SIGSTOP and SIGKILL until none is left; how many ended.

    Stopped before they are killed, because what is stopped cannot fork. Gives up on processes of other
    users, and after 30 s on what the kernel does not let die.
    """
    first = members(seed)
    ended = _alive(first)
    _signal(first, signal.SIGTERM, signal.SIGCONT)
    _wait_until_gone(seed, grace_seconds)
    deadline = time.monotonic() + GIVE_UP_SECONDS
    refused: set[int] = set()
    while time.monotonic() < deadline:
        left = _frozen(seed)
        ended |= _alive(left)
        refused |= _signal(left, signal.SIGKILL)
        if not left.keys() - refused:
            break
        time.sleep(0.01)
    return len(ended - refused)


def sample(pid: int) -> Sample | None:
    """Use of a process and its descendants, None when it is gone. 3 ms on a machine of 100 processes."""
    import psutil

    try:
        root = psutil.Process(pid)
        processes = [root, *root.children(recursive=True)]
    except psutil.Error:
        return None
    cpu, rss, threads, count = 0.0, 0, 0, 0
    for process in processes:
        try:
            with process.oneshot():
                times = process.cpu_times()
                used = (sum(times[:4]), process.memory_info().rss, process.num_threads())
        except psutil.Error:
            continue
        cpu, rss, threads, count = cpu + used[0], rss + used[1], threads + used[2], count + 1
    return Sample(cpu, rss, threads, count) if count else None


def _session(seed: Seed) -> int:
    """The script's session, which carries its pid; 0 once that number is another process's."""
    script = seed.script
    if script is None:
        return 0
    if is_same_process(script.pid, script.start_ticks, script.boot_id) or not _pid_in_use(script.pid):
        return script.pid
    return 0


def _pid_in_use(pid: int) -> bool:
    """A zombie still is the script, until its new parent collects it."""
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _in_session(pid: int, session: int) -> bool:
    if session == 0:
        return False
    try:
        return os.getsid(pid) == session
    except OSError:
        return False


def _carries(pid: int, token: str) -> bool:
    """Whether its environment, as it was at its exec, holds the token."""
    if not token:
        return False
    try:
        return f"{MARKER}={token}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return sys.platform == "darwin" and _carries_by_psutil(pid, token)


def _carries_by_psutil(pid: int, token: str) -> bool:
    import psutil

    try:
        return psutil.Process(pid).environ().get(MARKER) == token
    except (psutil.Error, OSError, ValueError):
        return False


def _file_ids(paths: tuple[Path, ...]) -> set[tuple[int, int]]:
    ids = set()
    for path in paths:
        try:
            found = path.stat()
        except OSError:
            continue
        if path != Path(os.devnull):
            ids.add((found.st_dev, found.st_ino))
    return ids


def _writes_to(pid: int, files: set[tuple[int, int]]) -> bool:
    """Whether stdout or stderr is one of the files, open for writing (a pager has it open for reading)."""
    for number in (1, 2) if files else ():
        try:
            found = os.stat(f"/proc/{pid}/fd/{number}")  # noqa: PTH116
            if (found.st_dev, found.st_ino) not in files:
                continue
            lines = Path(f"/proc/{pid}/fdinfo/{number}").read_text("ascii").splitlines()
        except OSError:
            continue
        flags = next((line.split()[1] for line in lines if line.startswith("flags:")), "0")
        if int(flags, 8) & ACCESS_MODE in (os.O_WRONLY, os.O_RDWR):
            return True
    return False


def _signal(processes: dict[int, psutil.Process], *numbers: int) -> set[int]:
    """Send each signal to each process; those that are not ours to signal."""
    import psutil

    refused = set()
    for pid, process in processes.items():
        try:
            for number in numbers:
                process.send_signal(number)
        except psutil.NoSuchProcess:
            continue
        except psutil.AccessDenied:
            refused.add(pid)
    return refused


def _wait_until_gone(seed: Seed, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    pause = 0.01
    while members(seed) and time.monotonic() < deadline:
        time.sleep(min(pause, max(deadline - time.monotonic(), 0)))
        pause = min(pause * 2, 0.2)


def _frozen(seed: Seed) -> dict[int, psutil.Process]:
    """Every member, stopped: again until no new one appears."""
    import psutil

    stopped = (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
    known: set[int] = set()
    found = members(seed)
    for _ in range(FREEZE_ROUNDS):
        running = {pid: process for pid, process in found.items() if _state(process) not in (*stopped, *_dead())}
        refused = _signal(running, signal.SIGSTOP)
        if known >= found.keys() and not running.keys() - refused:
            break
        known = set(found)
        found = members(seed)
    return found
