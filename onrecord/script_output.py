"""What a script prints, read while it prints it, to the last byte."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from onrecord.conductor_process import is_conducted

if TYPE_CHECKING:
    from onrecord.run import Run

Write = Callable[[bytes], object]
_PIECE = 1024 * 1024
_FIRST_PAUSE_SECONDS = 0.005
_LONGEST_PAUSE_SECONDS = 0.1
_RECOVER_AFTER_SECONDS = 1.0


class Tail:
    """New bytes of a file that grows, which may not be there yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0

    def read(self) -> bytes:
        """At most 1 MiB of what came since the last call."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._position)
                piece = file.read(_PIECE)
        except OSError:
            return b""
        self._position += len(piece)
        return piece


class Follower:
    """Hands on what a run's script prints; can be interrupted and called again without repeating anything."""

    def __init__(self, run: Run, stdout: Write, stderr: Write) -> None:
        self._run = run
        self._folder = run.workspace.layout.run(run.id)
        self._tails = ((Tail(self._folder.stdout), stdout), (Tail(self._folder.stderr), stderr))

    def follow(self) -> None:
        """Go on until the run has ended. A conductor that dies meanwhile is replaced."""
        pause, looked_at = _FIRST_PAUSE_SECONDS, time.monotonic()
        while True:
            ended = self._run.has_ended()
            said = self._drain()
            if ended and not said:
                return
            if said or ended:
                pause = _FIRST_PAUSE_SECONDS
                continue
            now = time.monotonic()
            if now - looked_at > _RECOVER_AFTER_SECONDS:
                looked_at = now
                if not is_conducted(self._folder.lock):
                    self._run.workspace.recover()
            time.sleep(pause)
            pause = min(pause * 1.3, _LONGEST_PAUSE_SECONDS)

    def _drain(self) -> bool:
        said = False
        for tail, write in self._tails:
            piece = tail.read()
            if piece:
                write(piece)
                said = True
        return said
