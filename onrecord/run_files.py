"""The files of a run in the history: given to it, and read back."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar, overload

from onrecord.run_errors import BadMode, UnequalLists, UnknownFile
from onrecord.run_handle import RunHandle

if TYPE_CHECKING:
    from onrecord.ledger.query import FileRow
    from onrecord.uploading import Given

One = TypeVar("One")
Other = TypeVar("Other")


class RunFiles(RunHandle):
    """Every content that a file of the run had is kept; a name without a version is its last one."""

    def get_file_names(self) -> list[str]:
        """Names of its files in the history, sorted: `outputs/…`, `logs/…`, `onrecord/…`."""
        return [row.name for row in self.workspace.query.files(self.id)]

    def file_versions(self, name: str) -> list[FileRow]:
        """Every content that a file of the run had, oldest first, also of one that was removed. Raises UnknownFile."""
        found = self.workspace.query.file_versions(self.id, name)
        return found or [self._file(name)]

    def upload_file(self, name: str, path_or_stream: Given, datastore_name: str | None = None) -> FileRow:
        """Give the run a file: its content from a path, or from a stream of bytes, read to its end.

        A name that is taken gets a new version; the same content again is no new one. It works in the script,
        elsewhere, and on a run that has ended; durable on return. `datastore_name` is accepted for Azure ML's
        sake: there is one store. Raises BadFileName, BadUpload, FileChanging, DiskFull, what the stream raises;
        then nothing is recorded.
        """
        from onrecord.uploading import Upload, upload

        return upload(self.workspace, self.id, [Upload(name, path_or_stream)])[0]

    def upload_files(
        self,
        names: Sequence[str],
        paths: Sequence[Given],
        return_artifacts: bool = False,
        timeout_seconds: int | None = None,
        datastore_name: str | None = None,
    ) -> list[FileRow]:
        """The same for many: up to 1,000 are all recorded, or none. Raises UnequalLists, and as `upload_file`.

        The last three parameters are accepted for Azure ML's sake.
        """
        from onrecord.uploading import Upload, upload

        pairs = paired("names", names, "paths", paths)
        return upload(self.workspace, self.id, [Upload(*pair) for pair in pairs])

    def upload_folder(
        self, name: str, path: str | os.PathLike[str], datastore_name: str | None = None
    ) -> list[FileRow]:
        """Give the run every file below the folder `path`, as `name/…`; folders that links lead to are left out.

        The workspace's own folder in it is left out as well. `datastore_name` as in `upload_file`. Raises as that.
        """
        from onrecord.file_names import checked_file_name
        from onrecord.uploading import Upload, files_below, upload

        top = checked_file_name(name.rstrip("/") if isinstance(name, str) else name)
        found = files_below(path, skipped=self.workspace.layout.root)
        return upload(self.workspace, self.id, [Upload(f"{top}/{below}", given) for below, given in found])

    def download_file(
        self, name: str, output_file_path: str | os.PathLike[str] | None = None, *, version: int | None = None
    ) -> Path:
        """Copy a file of the run to `output_file_path`: a file, or a folder to put it in.

        The default is the file's own name in the current folder. Folders are made as needed; the content
        is verified, and appears whole or not at all. `version`: an earlier one, from 1. Returns the path. Raises
        UnknownFile, BadDestination.
        """
        from onrecord.downloading import Download, download

        row = self._file(name, version)
        base = name.rsplit("/", 1)[-1]
        given = os.fspath(output_file_path) if output_file_path is not None else base
        destination = Path(given)
        if destination.is_dir() or given.endswith(("/", os.sep)):
            destination = destination / base
        download(self.workspace.store, [Download(row.digest, row.size, destination)])
        return destination

    def download_files(
        self,
        prefix: str | None = None,
        output_directory: str | os.PathLike[str] | None = None,
        output_paths: Sequence[str | os.PathLike[str]] | None = None,
        batch_size: int = 100,
        append_prefix: bool = True,
        timeout_seconds: int | None = None,
    ) -> list[Path]:
        """Copy every file whose name begins with `prefix` (any text) below a folder, the current one by default.

        `output_paths`: a path for each of them, in the order of `get_file_names()`. Without `append_prefix` their
        places lack the prefix. After an interruption the same again goes on. Returns the paths. The batch size and
        the timeout are accepted for Azure ML's sake. Raises UnknownFile where no file has the prefix,
        UnequalLists, BadFileName, BadDestination.
        """
        from onrecord.downloading import Download, download

        start = prefix or ""
        rows = [row for row in self.workspace.query.files(self.id) if row.name.startswith(start)]
        if not rows and start:
            raise self._no_such_file(start, f"run {self.id} has no file whose name begins with '{start}'")
        folder = Path(output_directory if output_directory is not None else "")
        if output_paths is not None:
            pairs = [(row, folder / path) for row, path in paired("files", rows, "output_paths", output_paths)]
        else:
            pairs = [(row, _place(folder, row.name, "" if append_prefix else start)) for row in rows]
        download(self.workspace.store, [Download(row.digest, row.size, path) for row, path in pairs])
        return [path for _, path in pairs]

    @overload
    def open(
        self, name: str, mode: Literal["rb"] = "rb", *, version: int | None = None, encoding: str = "utf-8"
    ) -> BufferedReader: ...
    @overload
    def open(
        self, name: str, mode: Literal["r", "rt"], *, version: int | None = None, encoding: str = "utf-8"
    ) -> TextIOWrapper: ...
    def open(
        self, name: str, mode: str = "rb", *, version: int | None = None, encoding: str = "utf-8"
    ) -> BufferedReader | TextIOWrapper:
        """A file of the run, open for reading and seekable, without a copy of it; `r` is text in `encoding`.

        All of it is hashed before this returns, in little memory. `version`: an earlier one, from 1. Raises
        UnknownFile, ObjectCorrupt, BadMode.
        """
        from onrecord.snapshot.object_file import open_object

        if mode not in ("rb", "r", "rt"):
            raise BadMode(
                f"a file of a run cannot be opened with mode {mode!r}",
                why="what is on record is only read",
                next_step="mode='rb' or 'r'; run.upload_file makes a new version",
                mode=mode,
            )
        file = open_object(self.workspace.store, self._file(name, version).digest)
        return file if mode == "rb" else TextIOWrapper(file, encoding)

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
        raise self._no_such_file(name, f"run {self.id} has no file '{name}'")

    def _no_such_file(self, name: str, what: str) -> UnknownFile:
        from difflib import get_close_matches

        files = self.get_file_names()
        near = get_close_matches(name, files) or list(files)[:10]
        return UnknownFile(
            what,
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


def paired(one: str, ones: Sequence[One], other: str, others: Sequence[Other]) -> list[tuple[One, Other]]:
    """The items of two lists of these names, each with its own. Raises UnequalLists."""
    for name, given in ((one, ones), (other, others)):
        # The characters of one name are no list of names.
        if isinstance(given, str | bytes | os.PathLike):
            raise UnequalLists(
                f"{name} is one value, and a list is needed", next_step=f"{name}=[{given!r}]", names=name, found=1
            )
    ones, others = list(ones), list(others)
    if len(ones) != len(others):
        raise UnequalLists(
            f"there are {len(ones):,} {one} and {len(others):,} {other}",
            why="each of the first goes with one of the second",
            next_step=f"as many {one} as {other}",
            names=one,
            found=len(ones),
        )
    return list(zip(ones, others, strict=True))


def _place(folder: Path, name: str, dropped: str) -> Path:
    from onrecord.file_names import place_in

    # A prefix is any text: what follows it may begin with a slash, or be nothing.
    short = name.removeprefix(dropped).lstrip("/") if dropped else name
    return place_in(folder, short or name.rsplit("/", 1)[-1])
