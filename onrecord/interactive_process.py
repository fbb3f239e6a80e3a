"""The process that an interactive run is: how it proves that it lives, and how it is learned that it ended.

The proof is a lock that the process holds, and lets go of in every fork of it; the kernel lets go of it when the
process ends. A descriptor of the process itself (pidfd, Linux) wakes whoever waits, and says how it ended: since
Linux 6.15 also to a process that is not its parent (ioctl PIDFD_GET_INFO, include/uapi/linux/pidfd.h).
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import time
from pathlib import Path

from onrecord.executors.identity import boot_id, is_same_process
from onrecord.executors.protocol import Ended, Started

_GET_INFO = 0xC040FF0B
_INFO_EXIT = 1 << 3
_INFO_BYTES = 64
_EXIT_CODE_AT = 60
_DYING_SECONDS = 1.0
_PAUSE_SECONDS = 0.005


class WatchedProcess:
    """A process that holds the lock file `lock`, and is known by its number, start and boot."""

    def __init__(self, started: Started | None, lock: Path, descriptor: int | None = None) -> None:
        """`descriptor`: a pidfd that it gave itself; of any other process one can be had only while it lives."""
        self._started = started
        self._lock = lock
        self._descriptor = self._opened() if descriptor is None else descriptor

    def has_ended(self) -> bool:
        """Whether it is gone, or has become another program."""
        if self._descriptor is not None and _readable(self._descriptor, 0.0):
            return True
        held = _is_held(self._lock)
        if held is not None:
            return not held
        # Its folder was removed: then its number must do.
        known = self._started
        return known is None or not is_same_process(known.pid, known.start_ticks, known.boot_id)

    def wait(self, more: int | None, seconds: float) -> None:
        """Sleep until it ends or there is something to read from `more`, at most that long."""
        waiting = select.poll()
        for fd in (self._descriptor, more):
            if fd is not None:
                waiting.register(fd, select.POLLIN)
        waiting.poll(seconds * 1000)

    def interrupt(self) -> None:
        """What Ctrl-C would do; nothing where it cannot be told from another process."""
        if self._descriptor is None:
            return
        try:
            signal.pidfd_send_signal(self._descriptor, signal.SIGINT)
        except OSError:
            return

    def ended(self) -> Ended:
        """How it ended, as far as that can be learned."""
        status = self._exit_status()
        at = time.time_ns() // 1000
        if status is None:
            return Ended("lost", None, None, self._why_unknown(), self._started, at)
        code = os.waitstatus_to_exitcode(status)
        if code < 0:
            return Ended("exited", None, -code, "", self._started, at)
        return Ended("exited", code, None, "", self._started, at)

    def _why_unknown(self) -> str:
        known = self._started
        if known is not None and known.boot_id != boot_id():
            return "the machine restarted while it ran"
        if known is not None and is_same_process(known.pid, known.start_ticks, known.boot_id):
            return "its process goes on without it: it became another program, or this is a copy of its workspace"
        return "its process was killed, or ended without saying how"

    def _exit_status(self) -> int | None:
        """As wait(2) has it, None where it cannot be learned."""
        # The kernel lets go of a dying process's locks a moment before it says that it died.
        if self._descriptor is None or not _readable(self._descriptor, _DYING_SECONDS):
            return None
        until = time.monotonic() + _DYING_SECONDS
        while True:
            # A pidfd tells once the parent has collected the process, /proc until then.
            left = _status_of_zombie(self._started) if self._started is not None else None
            status = _status_told_by(self._descriptor)
            if status is not None:
                return status
            # Its zero is also what is shown to those who may not know.
            if left or time.monotonic() > until:
                return left
            time.sleep(_PAUSE_SECONDS)

    def _opened(self) -> int | None:
        known = self._started
        if known is None or not hasattr(os, "pidfd_open") or known.boot_id != boot_id():
            return None
        try:
            fd = os.pidfd_open(known.pid)
        except OSError:
            return None
        if not is_same_process(known.pid, known.start_ticks, known.boot_id):
            os.close(fd)
            return None
        return fd


def hold_lock(path: Path) -> int:
    """A descriptor by which this process proves that it lives; every fork of it closes it. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return fd


def _status_told_by(descriptor: int) -> int | None:
    answer = bytearray(struct.pack("Q", _INFO_EXIT).ljust(_INFO_BYTES, b"\0"))
    try:
        fcntl.ioctl(descriptor, _GET_INFO, answer)
    except OSError:
        return None
    told, status = struct.unpack_from("Q", answer)[0], struct.unpack_from("i", answer, _EXIT_CODE_AT)[0]
    return status if told & _INFO_EXIT else None


def _status_of_zombie(process: Started) -> int | None:
    """The last field of /proc/PID/stat (proc(5)) of a process that has ended and is still to be collected."""
    try:
        fields = Path(f"/proc/{process.pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    is_it = len(fields) > 19 and fields[0] in (b"Z", b"X") and int(fields[19]) == process.start_ticks
    return int(fields[-1]) if is_it else None


def own_descriptor() -> list[int]:
    """A pidfd of this process, to hand on; none where there is no such thing."""
    if not hasattr(os, "pidfd_open"):
        return []
    try:
        return [os.pidfd_open(os.getpid())]
    except OSError:
        return []


def _is_held(path: Path) -> bool | None:
    from onrecord.executors.lock import is_held

    return is_held(path)


def _readable(fd: int, seconds: float) -> bool:
    waiting = select.poll()
    waiting.register(fd, select.POLLIN)
    return bool(waiting.poll(seconds * 1000))
