"""A request to end that reaches a script in this very process, and its time limit."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

_LOOK_SECONDS = 0.1
_AGAIN_SECONDS = 0.5


class ScriptStopped(BaseException):
    """Raised inside of the script, as SIGTERM would end a process: no `except Exception` keeps it."""


class StopWatch:
    """While it is entered, looks for the file `stop` and at the monotonic clock, and interrupts the entering thread.

    `reason`: `stopped` or `time_limit` once it has. First SIGTERM, which wakes what sleeps and which the script may
    handle; after the grace an exception, again and again, in the thread itself.
    """

    def __init__(self, stop: Path, limit: float | None, grace: float) -> None:
        self.reason = ""
        self._stop = stop
        self._deadline = None if limit is None else time.monotonic() + limit
        self._grace = grace
        self._over = threading.Event()
        self._guard = threading.Lock()
        self._script = threading.get_ident()
        self._handler: Any = None
        self._thread = threading.Thread(target=self._watch, name="onrecord-stop", daemon=True)

    def __enter__(self) -> Self:
        self._script = threading.get_ident()
        if threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGTERM, _handler_of(os.getpid()))
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._guard:
            # From here on nobody is interrupted any more.
            self._over.set()
        if self._handler is not None:
            signal.signal(signal.SIGTERM, self._handler)
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(_LOOK_SECONDS if self._deadline is None else self._pause()):
            if self._stop.exists():
                self.reason = "stopped"
            elif self._deadline is not None and time.monotonic() >= self._deadline:
                self.reason = "time_limit"
            if self.reason:
                break
        if self.reason:
            self._interrupt()

    def _pause(self) -> float:
        assert self._deadline is not None  # noqa: S101 - asked only where there is one
        return min(_LOOK_SECONDS, max(self._deadline - time.monotonic(), 0.001))

    def _interrupt(self) -> None:
        by_signal = self._handler is not None and callable(signal.getsignal(signal.SIGTERM))
        with self._guard:
            if by_signal and not self._over.is_set():
                signal.pthread_kill(self._script, signal.SIGTERM)
        pause = self._grace if by_signal else 0.0
        while not self._over.wait(pause):
            pause = _AGAIN_SECONDS
            with self._guard:
                if not self._over.is_set():
                    raise_in(self._script)


def raise_in(thread: int) -> None:
    """Raise ScriptStopped in a thread, at its next step of Python code."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(ScriptStopped))


def _handler_of(process: int) -> Callable[[int, FrameType | None], None]:
    def stop_script(number: int, frame: FrameType | None) -> None:
        del frame
        if os.getpid() != process:
            # A child that the script forked has the handler too, and is to die as it would without.
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(signal.Signals(number))
        raise ScriptStopped

    return stop_script
