"""What a waiting user sees of an environment that is being made: a line at each end, one that moves between."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from onrecord.wording import narrate, printable

_EACH_SECONDS = 0.2
_WIDTH = 100


class BuildProgress:
    """Lines on stderr; on a terminal, the last line of the build's log beside the time that it has taken."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._next = 0.0
        self._shown = False

    def note(self, piece: bytes) -> None:
        """Say what is said of the environment."""
        self.clear()
        for line in piece.decode("utf-8", "replace").splitlines():
            narrate(printable(line))

    def show(self, log: Path) -> None:
        """Show how far the build has come; nothing where stderr is no terminal, or once the log is the run's own."""
        now = time.monotonic()
        if now < self._next or not sys.stderr.isatty():
            return
        self._next = now + _EACH_SECONDS
        if not log.is_symlink():
            self.clear()
            return
        line = f"onrecord: {now - self._begun:.0f} s  {printable(_last_line(log))}"[:_WIDTH]
        sys.stderr.write(f"\r\x1b[K{line}")
        sys.stderr.flush()
        self._shown = True

    def clear(self) -> None:
        """Take the moving line away."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = False


def _last_line(log: Path) -> str:
    from onrecord.executors.environment_errors import last_lines

    return last_lines(log, lines=1, characters=_WIDTH)
