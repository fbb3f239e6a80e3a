"""The files of a run in the history."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from onrecord.run_errors import UnknownFile
from onrecord.run_handle import RunHandle

if TYPE_CHECKING:
    from onrecord.ledger.query import FileRow


class RunFiles(RunHandle):
    """Every content that a file of the run had is kept; a name without a version is its last one."""

    def get_file_names(self) -> list[str]:
        """Names of its files in the history, sorted: `outputs/…`, `logs/…`, `onrecord/…`."""
        return [row.name for row in self.workspace.query.files(self.id)]

    def file_versions(self, name: str) -> list[FileRow]:
        """Every content that a file of the run had, oldest first, also of one that was removed. Raises UnknownFile."""
        found = self.workspace.query.file_versions(self.id, name)
        return found or [self._file(name)]

    def download_file(
        self, name: str, output_file_path: str | os.PathLike[str] | None = None, *, version: int | None = None
    ) -> Path:
        """Copy a file of the run to `output_file_path`: a file, or a folder to put it in.

        The default is the file's own name in the current folder. Folders are made as needed; the content
        is verified. `version`: an earlier one, from 1. Returns the path. Raises UnknownFile.
        """
        row = self._file(name, version)
        base = name.rsplit("/", 1)[-1]
        given = os.fspath(output_file_path) if output_file_path is not None else base
        destination = Path(given)
        if destination.is_dir() or given.endswith(("/", os.sep)):
            destination = destination / base
        destination.parent.mkdir(parents=True, exist_ok=True)
        self.workspace.store.copy_to(row.digest, destination)
        return destination

    def read_file(self, name: str, *, version: int | None = None) -> bytes:
        """The content of a file of the run, verified; `version`: an earlier one, from 1. Raises UnknownFile."""
        return self.workspace.store.read(self._file(name, version).digest)

    def read_file_pieces(self, name: str, *, version: int | None = None) -> Iterator[bytes]:
        """The same in pieces of a few megabytes; ObjectCorrupt after the last one when they were wrong."""
        return self.workspace.store.pieces(self._file(name, version).digest)

    def _file(self, name: str, version: int | None = None) -> FileRow:
        versions = self.workspace.query.file_versions(self.id, name)
        if versions and version is None and versions[-1].removed_at is None:
            return versions[-1]
        if versions and version is not None and 1 <= version <= len(versions):
            return versions[version - 1]
        if versions:
            raise self._no_such_version(versions, version)
        files = self.get_file_names()
        from difflib import get_close_matches

        near = get_close_matches(name, files) or list(files)[:10]
        raise UnknownFile(
            f"run {self.id} has no file '{name}'",
            why=f"near ones: {', '.join(near)}" if near else "it has no files in the history",
            next_step=f"onrecord files {self.id}",
            run_id=self.id,
            name=name,
            candidates=near,
        )

    def _no_such_version(self, versions: Sequence[FileRow], version: int | None) -> UnknownFile:
        import shlex

        name, last = versions[-1].name, versions[-1].version
        return UnknownFile(
            f"run {self.id} has no version {version} of '{name}'"
            if version is not None
            else f"the file '{name}' of run {self.id} was removed",
            why=f"its versions are 1 to {last}" if last > 1 else "it had one content, version 1",
            next_step=f"onrecord get {self.id} {shlex.quote(name)} --version {last}",
            run_id=self.id,
            name=name,
            candidates=[],
        )
