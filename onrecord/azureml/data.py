"""Azure ML's file datasets, as far as they are paths: files on this machine, which scripts get as arguments."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from onrecord.errors import OnRecordError

_MAGIC = "*?["


class BadDataset(OnRecordError):
    """Data that is not here. Attribute: `path`."""


class FileDataset:
    """A file, a folder, or files of one folder. As an argument of a job it is the path, and so it is on record."""

    def __init__(self, path: Path, files: Sequence[Path]) -> None:
        self._path = path
        self._files = tuple(files)
        self.name: str | None = None

    def as_mount(self, path_on_compute: object = None) -> FileDataset:
        """Itself: it is read where it is. A place on another machine means nothing here."""
        del path_on_compute
        return self

    as_download = as_mount
    as_hdfs = as_mount

    def as_named_input(self, name: str) -> FileDataset:
        """The same under a name."""
        named = FileDataset(self._path, self._files)
        named.name = name
        return named

    def to_path(self) -> list[str]:
        """The files, from its folder, as Azure ML writes them: with a slash first."""
        top = self._path if self._path.is_dir() else self._path.parent
        return [f"/{file.relative_to(top).as_posix()}" for file in self._files]

    def download(self, target_path: str | os.PathLike[str] | None = None, overwrite: bool = False) -> list[str]:
        """Copy the files below a folder; returns where they are. Raises BadDataset for one that is there."""
        import shutil

        top, copied = Path(target_path or "."), []
        for name in self.to_path():
            source, place = (self._path if self._path.is_dir() else self._path.parent) / name[1:], top / name[1:]
            if place.exists() and not overwrite and not place.samefile(source):
                raise BadDataset(
                    f"{place} is there already", next_step="download(target_path, overwrite=True)", path=str(place)
                )
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.exists() or not place.samefile(source):
                shutil.copyfile(source, place)
            copied.append(str(place.absolute()))
        return copied

    def register(self, workspace: object, name: str, *ignored: object, **ignored_by_name: object) -> NoReturn:
        """Refused: raises BadDataset."""
        del workspace, ignored, ignored_by_name
        raise BadDataset(
            f"the data set {name} cannot be registered",
            why="onrecord keeps paths and arguments with each run, and no data besides",
            next_step="pass it as an argument of the job: dataset.as_mount()",
            path=str(self._path),
        )

    def __fspath__(self) -> str:
        return str(self._path)

    def __str__(self) -> str:
        return str(self._path)

    def __repr__(self) -> str:
        return f"FileDataset({str(self._path)!r})"


class _FileFactory:
    @staticmethod
    def from_files(path: object, validate: bool = True, *ignored: object) -> FileDataset:
        """The files of a path, a pattern, or a list of paths in one folder. Raises BadDataset for what is not here."""
        del ignored
        given = [str(one) for one in (path if isinstance(path, list | tuple) else [path])]
        found = [Path(name).absolute() for one in given for name in _here(one, validate)]
        if len(given) == 1 and not any(mark in given[0] for mark in _MAGIC):
            top = found[0]
            return FileDataset(
                top, sorted(file for file in top.rglob("*") if file.is_file()) if top.is_dir() else found
            )
        top = Path(os.path.commonpath([file.parent for file in found]))
        return FileDataset(top, found)


def _here(given: str, validate: bool) -> list[str]:
    if "://" in given:
        raise BadDataset(
            f"{given} is on the network",
            why="onrecord downloads no data",
            next_step="download it yourself, and give the path: Dataset.File.from_files('data')",
            path=given,
        )
    found = sorted(glob.glob(given, recursive=True)) if any(mark in given for mark in _MAGIC) else [given]  # noqa: PTH207
    if not found or (validate and not os.path.exists(found[0])):  # noqa: PTH110 - a text, as it was given
        raise BadDataset(
            f"there is no {given}", why=f"looked in {Path.cwd()}", next_step="give a path of this machine", path=given
        )
    return found


class _TabularFactory:
    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):
            raise AttributeError(name)
        raise BadDataset(
            f"onrecord has no Dataset.Tabular.{name}",
            why="it reads no tables",
            next_step="pandas.read_csv(path), with the path as an argument of the job",
            path="",
        )


class Dataset:
    """Where data sets come from: `Dataset.File.from_files(path)`."""

    File = _FileFactory
    Tabular = _TabularFactory()

    @staticmethod
    def get_by_name(workspace: object, name: str, version: object = "latest") -> NoReturn:
        """Refused: raises BadDataset, for none are registered."""
        del workspace, version
        raise BadDataset(
            f"there is no registered data set {name}",
            why="onrecord registers no data",
            next_step="Dataset.File.from_files(path), with a path of this machine",
            path="",
        )
