"""Decides when a run's folders are looked at while its script runs: soon where something changed, seldom where not."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from onrecord.capture import Capture
from onrecord.watcher import Watcher

# A run that is over sooner is looked at only once, at its end.
_FIRST_SECONDS = 1.0
_SECONDS = 0.5
_ALL_SECONDS = 10.0
# A look at everything takes at most this part of a core, and one at what changed that one.
_SHARE_OF_ALL = 0.005
_SHARE = 0.1


class Lookout:
    """Calls a run's capture when it is time. `seconds` are those of the monotonic clock."""

    def __init__(self, capture: Callable[[], Capture], work: Path, folders: Sequence[str]) -> None:
        self._capture = capture
        self._work = work
        self._folders = list(folders)
        self._watcher: Watcher | None = None
        self._hints: set[str] | None = set()
        self._begin = time.monotonic() + _FIRST_SECONDS
        self._next = 0.0
        self._next_all = 0.0
        # When everything is looked at if more has changed than was told.
        self._soon = 0.0
        # CPU seconds of the last look at everything that found nothing.
        self._cost = 0.0

    def look(self) -> None:
        """Look at what may have changed, if it is time for that. Raises DiskFull, and errors of the ledger."""
        now = time.monotonic()
        if self._watcher is None:
            if now < self._begin:
                return
            self._watcher = Watcher(self._work, self._folders)
        if now < self._next:
            return
        self._gather(self._watcher.hints())
        if now >= (self._next_all if self._hints is not None else self._soon):
            self._look_at_all(now)
        elif self._hints or self._capture().unsettled:
            self._look_at_some(now)

    def stop(self) -> None:
        """End the thread that watches."""
        if self._watcher is not None:
            self._watcher.stop()

    def _gather(self, hints: set[str] | None) -> None:
        if self._hints is not None:
            self._hints = None if hints is None else self._hints | hints

    def _pause(self) -> float:
        return max(_ALL_SECONDS, self._cost / _SHARE_OF_ALL)

    def _look_at_all(self, now: float) -> None:
        self._next_all, self._next = now + self._pause(), now + _SECONDS
        self._soon = now + max(_FIRST_SECONDS, self._cost / _SHARE)
        used = time.thread_time()
        found = self._capture().look(final=False)
        self._hints = set()
        if not found:
            self._cost = time.thread_time() - used
            self._next_all = now + self._pause()

    def _look_at_some(self, now: float) -> None:
        self._next = now + _SECONDS
        used = time.thread_time()
        capture = self._capture()
        capture.look_at({*(self._hints or ()), *capture.unsettled})
        self._hints = set()
        self._next = now + max(_SECONDS, (time.thread_time() - used) / _SHARE)
