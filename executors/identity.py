"""Who a process is, beyond its number: pids are reused, and a zombie is nobody.

The hint, never the proof: a pid may be reused within one clock tick. The proof that a supervisor lives
is the lock that it holds.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from pathlib import Path


@functools.cache
def boot_id() -> str:
    """A name for the time since this machine started, "" where the system has none.

    Linux: /proc/sys/kernel/random/boot_id (random(4)). macOS: kern.bootsessionuuid.
    """
    if sys.platform == "darwin":
        import subprocess

        asked = subprocess.run(["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"], capture_output=True, check=False)
        return asked.stdout.decode().strip()
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def continue_stopped(pid: int, ticks: int, boot: str) -> bool:
    """Let a process go on that a SIGSTOP holds; whether it was held. One that a debugger holds is left to it."""
    fields = _stat_fields(pid)
    if len(fields) < 20 or fields[0] != b"T" or not is_same_process(pid, ticks, boot):
        return False
    try:
        os.kill(pid, signal.SIGCONT)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _stat_fields(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat from the third on (proc(5)), [] for no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return []


def start_ticks(pid: int) -> int:
    """When it started, in clock ticks since the boot: field 22 of /proc/PID/stat. 0 where there is none."""
    fields = _stat_fields(pid)
    return int(fields[19]) if len(fields) > 19 else 0


def is_same_process(pid: int, ticks: int, boot: str) -> bool:
    """Whether the process of that identity still runs; a zombie no longer does."""
    if pid <= 0 or boot != boot_id():
        return False
    if ticks == 0:
        return _exists(pid)
    fields = _stat_fields(pid)
    return len(fields) > 19 and fields[0] not in (b"Z", b"X") and int(fields[19]) == ticks


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
