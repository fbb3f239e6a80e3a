"""What a script prints, read while it prints it, to the last byte."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from onrecord.conductor_process import is_conducted, let_go_on
from onrecord.errors import OnRecordError
from onrecord.ledger.states import QUEUED

if TYPE_CHECKING:
    from onrecord.run_details import RunDetails

Write = Callable[[bytes], object]
_PIECE = 1024 * 1024
_FIRST_PAUSE_SECONDS = 0.005
_LONGEST_PAUSE_SECONDS = 0.1
_RECOVER_AFTER_SECONDS = 1.0
_MOST_REPLACEMENTS = 5
_LITTLE_ROOM_BYTES = 64 * 1024


class ConductorDies(OnRecordError):
    """Conductors of a run die as soon as they are started. Attribute: `run_id`."""


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
    """Hands on what a run's script prints; can be interrupted and called again without repeating anything.

    `say` is told, once, what the run's end waits for where that is not the script. `notes` takes what is said of
    the run's environment while that is made, `waiting` the file that its build prints to.
    """

    def __init__(
        self,
        run: RunDetails,
        stdout: Write,
        stderr: Write,
        say: Callable[[str], object] | None = None,
        *,
        notes: Write | None = None,
        waiting: Callable[[Path], object] | None = None,
    ) -> None:
        self._run = run
        self._say = say
        self._folder = run.workspace.layout.run(run.id)
        self._replaced = 0
        self._tails = [(Tail(self._folder.stdout), stdout), (Tail(self._folder.stderr), stderr)]
        self._waiting = None
        if notes is not None and self._folder.notes.exists():
            self._tails.insert(0, (Tail(self._folder.notes), notes))
            self._waiting = waiting

    def follow(self, seconds: float | None = None) -> bool:
        """Go on until the run has ended; False where that took more than so many `seconds`.

        A conductor that dies meanwhile is replaced.
        """
        end = None if seconds is None else time.monotonic() + seconds
        pause, looked_at = _FIRST_PAUSE_SECONDS, time.monotonic()
        while True:
            ended = self._run.has_ended()
            said = self._drain()
            if ended and not said:
                return True
            if said or ended:
                pause = _FIRST_PAUSE_SECONDS
                continue
            if self._waiting is not None:
                self._waiting(self._folder.build_log)
            now = time.monotonic()
            if end is not None and now >= end:
                return False
            if now - looked_at > _RECOVER_AFTER_SECONDS:
                looked_at = now
                self._replace_dead_conductor()
                self._tell_of_waiting()
            time.sleep(pause)
            pause = min(pause * 1.1, _LONGEST_PAUSE_SECONDS)

    def _replace_dead_conductor(self) -> None:
        if self._run.workspace.query.run(self._run.id).status == QUEUED:
            # Nobody conducts it, and nobody has to; what it waits for may be over.
            self._run.workspace.recover(0)
            return
        if is_conducted(self._folder.lock):
            self._replaced = 0
            let_go_on(self._folder.lock)
            return
        self._replaced += 1
        if self._replaced > _MOST_REPLACEMENTS:
            raise ConductorDies(
                f"run {self._run.id} cannot be conducted: {_MOST_REPLACEMENTS} conductors in a row died at once",
                why=_last_line(self._folder.narration),
                next_step=f"mend that; any onrecord command then takes the run up again (all of it: "
                f"{self._folder.narration})",
                run_id=self._run.id,
            )
        self._run.workspace.recover()

    def _tell_of_waiting(self) -> None:
        if self._say is None:
            return
        # Not for every run that is followed: what waits has time for two imports.
        from onrecord.executors.records import EXIT
        from onrecord.patience import WAITING

        last = _last_line(self._folder.narration)
        problem = last.removeprefix(WAITING) if last.startswith(WAITING) else ""
        if not problem and (self._folder.path / EXIT).exists() and _is_full(self._folder.path):
            # Where there is no room, there may be none for the conductor's words either.
            problem = f"no space left in {self._folder.path}"
        if problem:
            self._say(f"the run waits: {problem}; it goes on by itself when that is over (df -h {self._folder.path})")
            self._say = None

    def _drain(self) -> bool:
        said = False
        for tail, write in self._tails:
            piece = tail.read()
            if piece:
                write(piece)
                said = True
        return said


def _is_full(folder: Path) -> bool:
    try:
        room = os.statvfs(folder)
    except OSError:
        return False
    return room.f_bavail * room.f_frsize < _LITTLE_ROOM_BYTES


def _last_line(path: Path) -> str:
    try:
        lines = path.read_text("utf-8", "replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
