"""Helping Python processes: started without a shell, given descriptors, and never left behind.

Python's threads take turns at what a scan does (tens of thousands of short system calls), so a second core is
reached through a second process. It is a convenience: whatever it does not do, the caller does itself. The only
module of this package that a system without `posix_spawn` would have to replace.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from collections.abc import Sequence

_FIRST = 3
_ABOVE = 64
_MOST = 3


def helpers() -> int:
    """How many helping processes pay: one for each core but this process's own, three at most."""
    if not os.path.basename(sys.executable or "").startswith("python"):  # noqa: PTH119
        # A program that embeds Python: starting it again would do who knows what.
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_MOST, cores - 1)


def start(words: Sequence[str], descriptors: Sequence[int]) -> int | None:
    """Start a Python that finds `descriptors` as 3, 4, ... in this order; its process id, None if it cannot be."""
    # Moved out of the way first: no target is the source of another.
    sources = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _ABOVE) for fd in descriptors]
    actions: list[tuple[int, int, int] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, at, os.devnull, os.O_RDWR, 0) for at in range(_FIRST)
    ]
    actions += [(os.POSIX_SPAWN_DUP2, fd, _FIRST + at) for at, fd in enumerate(sources)]
    try:
        return os.posix_spawn(sys.executable, [sys.executable, "-I", "-S", *words], os.environ, file_actions=actions)
    except OSError:
        return None
    finally:
        for fd in sources:
            os.close(fd)


def end(process: int) -> None:
    """End a process of ours and take its status, if nobody else in this program has taken it."""
    try:
        if os.waitpid(process, os.WNOHANG)[0] == 0:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
    except ChildProcessError:
        return
