"""What a script's whole process tree uses at one moment, read straight from the kernel.

On Linux from /proc, two small files a process (30 us), or from the tree's own control group where it has one;
elsewhere through psutil. Nothing here is imported before a script has started.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from onrecord.executors import records
from onrecord.executors.control_group import cpu_seconds_of, processes_of

if TYPE_CHECKING:
    import psutil

_PAGE_BYTES, _TICKS = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
_STATE, _PARENT, _USER, _THREADS, _RSS = 0, 1, 11, 17, 21  # places after the name in /proc/PID/stat, see proc(5)


class Usage(NamedTuple):
    """One look at a tree.

    `cpu_seconds`: user and system since its start, with what has ended; `rss_bytes`: resident, pages that processes
    share counted in each; `read_bytes`, `written_bytes`: from and to storage since its start, None where the kernel
    does not say.
    """

    cpu_seconds: float
    rss_bytes: int
    threads: int
    processes: int
    read_bytes: int | None = None
    written_bytes: int | None = None


class Meter:
    """Looks at the tree of one control folder, whose script is `pid`."""

    def __init__(self, control: Path, pid: int) -> None:
        self._pid = pid
        supervisor = records.read_supervisor(control)
        # Orphans of the script are its children, and what has ended is counted in it.
        self._supervisor = supervisor.pid if supervisor is not None else 0
        self._group = records.read_group(control)
        self._cpu_seconds = 0.0
        self.pids: tuple[int, ...] = ()

    def read(self) -> Usage | None:
        """The tree now, None once nothing of it is left. `pids` are then those that were found."""
        if not sys.platform.startswith("linux"):
            return self._through_psutil()
        stats = {pid: stat for pid in self._members() if (stat := _stat(pid)) is not None}
        alive = {pid: stat for pid, stat in stats.items() if pid != self._supervisor and stat[_STATE] not in b"ZX"}
        self.pids = tuple(alive)
        if not alive:
            return None
        moved = [counts for pid in stats if (counts := _storage(pid)) is not None]
        return Usage(
            self._cpu_so_far(stats),
            sum(int(stat[_RSS]) for stat in alive.values()) * _PAGE_BYTES,
            sum(int(stat[_THREADS]) for stat in alive.values()),
            len(alive),
            sum(read for read, _ in moved) if moved else None,
            sum(written for _, written in moved) if moved else None,
        )

    def _cpu_so_far(self, stats: dict[int, list[bytes]]) -> float:
        """Never less than before: what ended may be missing for a moment, until its parent has collected it."""
        used = cpu_seconds_of(self._group) if self._group is not None else None
        if used is None:
            ticks = 0
            for pid, stat in stats.items():
                own, collected = (sum(map(int, stat[at : at + 2])) for at in (_USER, _USER + 2))
                ticks += collected if pid == self._supervisor else own + collected
            used = ticks / _TICKS
        self._cpu_seconds = max(self._cpu_seconds, used)
        return self._cpu_seconds

    def _members(self) -> list[int]:
        if self._group is not None:
            try:
                return [*processes_of(self._group), *([self._supervisor] if self._supervisor else [])]
            except OSError:
                self._group = None
        return list(descendants(self._supervisor or self._pid))

    def _through_psutil(self) -> Usage | None:
        import psutil

        try:
            root = psutil.Process(self._pid)
            processes = [root, *root.children(recursive=True)]
        except psutil.Error:
            return None
        used = [found for process in processes if (found := _of_one(process)) is not None]
        self.pids = tuple(process.pid for process in processes)
        self._cpu_seconds = max(self._cpu_seconds, sum(one.cpu_seconds for one in used))
        if not used:
            return None
        return Usage(self._cpu_seconds, sum(u.rss_bytes for u in used), sum(u.threads for u in used), len(used))


def _of_one(process: psutil.Process) -> Usage | None:
    import psutil

    try:
        with process.oneshot():
            cpu, rss, threads = process.cpu_times(), process.memory_info().rss, process.num_threads()
    except psutil.Error:
        return None
    return Usage(sum(cpu[:4]), rss, threads, 1)


def _stat(pid: int) -> list[bytes] | None:
    """The fields of /proc/PID/stat after the name, which may hold blanks and brackets."""
    content = _content(f"/proc/{pid}/stat")
    return None if content is None else content.rpartition(b")")[2].split()


def _storage(pid: int) -> tuple[int, int] | None:
    """Bytes read from and written to storage, with those of children that were waited for (proc(5), PID/io)."""
    lines = (_content(f"/proc/{pid}/io") or b"").split()
    try:
        return int(lines[lines.index(b"read_bytes:") + 1]), int(lines[lines.index(b"write_bytes:") + 1])
    except (ValueError, IndexError):
        return None


def _content(path: str) -> bytes | None:
    # os.open and one read: a third of what a Path or a file object costs, at every look.
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(fd, 4096)
    except OSError:
        return None
    finally:
        os.close(fd)


def descendants(root: int) -> Iterator[int]:
    """The process and everything below it: asked of the kernel where it was built to say (CONFIG_PROC_CHILDREN),
    else found in one pass over all processes."""
    if not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):  # noqa: PTH110 - asked at every look
        yield from _found_among_all(root)
        return
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        yield pid
        try:
            threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208
        except OSError:
            continue
        for thread in threads:
            waiting += map(int, (_content(f"/proc/{pid}/task/{thread}/children") or b"").split())


def _found_among_all(root: int) -> Iterator[int]:
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit() and (stat := _stat(int(name))) is not None:
            children.setdefault(int(stat[_PARENT]), []).append(int(name))
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        yield pid
        waiting += children.get(pid, ())
