"""A run's `logs/` in another folder, kept up to date while the run is on."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import IO

from onrecord.errors import OnRecordError
from onrecord.run import Run
from onrecord.snapshot.digest import hasher

FOLDER = "logs/"
# What onrecord itself keeps there of what the script prints.
_OWN = ("logs/stdout.txt", "logs/stderr.txt", "logs/rank-")
_PIECE = 1 << 20


class LogsMirror:
    """Copies what the script writes to `logs/` as it grows, and what the history has of it in the end."""

    def __init__(self, run: Run, folder: Path) -> None:
        self._run = run
        self._folder = folder
        # By name: the file that was copied, and how far.
        self._copied: dict[str, tuple[int, int]] = {}
        self.has_ended = False

    def advance(self) -> None:
        """Copy what is new; in the end, and only then, `has_ended`."""
        ended = self._run.has_ended()
        if ended:
            self._take_from_history()
            self.has_ended = True
        else:
            self._take_from_folder()

    def _take_from_folder(self) -> None:
        source = self._run.workspace.layout.run(self._run.id).work / FOLDER
        for folder, folders, names in os.walk(source):
            folders.sort()
            for name in names:
                path = Path(folder, name)
                try:
                    self._grow(path, path.relative_to(source).as_posix())
                except OSError:
                    # Removed or replaced just now: the next look sees what became of it.
                    continue

    def _grow(self, path: Path, name: str) -> None:
        with path.open("rb") as source:
            status = os.fstat(source.fileno())
            known, done = self._copied.get(name, (0, 0))
            if known != status.st_ino or status.st_size < done:
                done = 0
            if status.st_size > done or known == 0:
                source.seek(done)
                with self._open(name, "ab" if done else "wb") as copy:
                    shutil.copyfileobj(source, copy, _PIECE)
                    self._copied[name] = status.st_ino, copy.tell()

    def _take_from_history(self) -> None:
        for row in self._run.workspace.query.files(self._run.id):
            if not row.name.startswith(FOLDER) or row.name.startswith(_OWN):
                continue
            name = row.name.removeprefix(FOLDER)
            if not self._is_copied(name, row.size, row.digest):
                try:
                    with self._open(name, "wb") as copy:
                        copy.writelines(self._run.read_file_pieces(row.name))
                except OnRecordError:
                    # Its bytes have gone from the objects; `onrecord verify` tells that.
                    continue

    def _is_copied(self, name: str, size: int, digest: str) -> bool:
        path = self._folder / name
        if not path.is_file() or path.stat().st_size != size:
            return False
        state = hasher()
        with path.open("rb") as copy:
            while piece := copy.read(_PIECE):
                state.update(piece)
        return state.hexdigest() == digest

    def _open(self, name: str, mode: str) -> IO[bytes]:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open(mode)
