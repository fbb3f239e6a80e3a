"""Files and words of a run in memory: what a submitted run keeps, kept in a temporary folder until the process ends."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from functools import cached_property
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onrecord.ledger.query import NoteRow
    from onrecord.uploading import Given


class OfflineFiles:
    """Takes what a submitted run takes, refuses what that refuses of names and lists."""

    description = ""

    def __init__(self) -> None:
        self._notes: list[NoteRow] = []

    @cached_property
    def _given(self) -> Path:
        import atexit
        import tempfile

        folder = Path(tempfile.mkdtemp(prefix="onrecord-offline-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return folder

    def upload_file(self, name: str, path_or_stream: Given, datastore_name: str | None = None) -> None:
        """Keep a file until the process ends. Raises BadFileName, and what reading it raises."""
        from onrecord.file_names import checked_file_name, place_in

        destination = place_in(self._given, checked_file_name(name))
        destination.parent.mkdir(parents=True, exist_ok=True)
        partial = self._given / ".partial"
        if isinstance(path_or_stream, str | os.PathLike):
            shutil.copyfile(path_or_stream, partial)
        else:
            with partial.open("wb") as file:
                shutil.copyfileobj(path_or_stream, file)
        partial.replace(destination)

    def upload_files(self, names: Sequence[str], paths: Sequence[Given], *ignored: object, **more: object) -> None:
        """Keep several. Raises UnequalLists."""
        from onrecord.run_files import paired

        for name, path in paired("names", names, "paths", paths):
            self.upload_file(name, path)

    def upload_folder(self, name: str, path: str | os.PathLike[str], datastore_name: str | None = None) -> None:
        """Keep all below a folder."""
        from onrecord.uploading import files_below

        for below, given in files_below(path):
            self.upload_file(f"{name.rstrip('/')}/{below}", given)

    def get_file_names(self) -> list[str]:
        """What was given, and files below `outputs/` and `logs/` here, which a submitted run would keep."""
        here = [path for folder in ("outputs", "logs") for path in Path(folder).rglob("*") if path.is_file()]
        given = [path.relative_to(self._given) for path in self._given.rglob("*") if path.is_file()]
        return sorted({path.as_posix() for path in [*here, *given]})

    def download_file(self, name: str, output_file_path: str | os.PathLike[str] | None = None) -> Path:
        """Copy a file that was given, or one of the current folder."""
        source = self._source(name)
        destination = Path(output_file_path if output_file_path is not None else Path(name).name)
        if destination.is_dir():
            destination = destination / Path(name).name
        destination.parent.mkdir(parents=True, exist_ok=True)
        if destination.absolute() != source.absolute():
            shutil.copyfile(source, destination)
        return destination

    def download_files(
        self, prefix: str | None = None, output_directory: str | os.PathLike[str] | None = None, **ignored: object
    ) -> list[Path]:
        """Copy those whose names begin with `prefix` below a folder, the current one by default."""
        folder = Path(output_directory if output_directory is not None else "")
        names = [name for name in self.get_file_names() if name.startswith(prefix or "")]
        return [self.download_file(name, folder / name) for name in names]

    def read_file(self, name: str) -> bytes:
        """The content of a file that was given, or of one of the current folder."""
        return self._source(name).read_bytes()

    def open(self, name: str, mode: str = "rb", *, encoding: str = "utf-8") -> BufferedReader | TextIOWrapper:
        """The same, open for reading."""
        file = self._source(name).open("rb")
        return file if mode == "rb" else TextIOWrapper(file, encoding)

    def _source(self, name: str) -> Path:
        given = self._given / name
        return given if given.is_file() else Path(name)

    @property
    def notes(self) -> list[NoteRow]:
        """Notes so far."""
        return list(self._notes)

    def add_note(self, text: str) -> None:
        """Keep a note."""
        import time

        from onrecord.ledger.query import NoteRow

        self._notes.append(NoteRow(text, "", time.time_ns() // 1000))

    def register_model(self, model_name: str, model_path: str | None = None, **said: object) -> None:
        """Nothing is registered: there is no workspace that could keep it."""
