"""How far a long piece of work has come, told to whoever wants to draw it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

# Called with files and bytes done so far, by the thread that asked for the work.
Listener = Callable[[int, int], None]
_SECONDS_BETWEEN = 0.1


class Progress:
    """Counts that any thread may add to; `tick` tells the listener, at most ten times a second."""

    def __init__(self, listener: Listener | None) -> None:
        self._listener = listener
        self._guard = threading.Lock()
        self._files = 0
        self._bytes = 0
        self._next = 0.0

    def add(self, files: int, size: int) -> None:
        """Count files, and bytes."""
        with self._guard:
            self._files += files
            self._bytes += size

    def tick(self, *, final: bool = False) -> None:
        """Tell the listener, unless it was told just now; the `final` word is always told."""
        if self._listener is None:
            return
        now = time.monotonic()
        if final or now >= self._next:
            self._next = now + _SECONDS_BETWEEN
            self._listener(self._files, self._bytes)
