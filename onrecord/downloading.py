"""Files written out of the objects: verified, whole or not there, and where one is there already, not written again."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from onrecord.errors import OnRecordError
from onrecord.snapshot.digest import from_hex
from onrecord.snapshot.errors import shown
from onrecord.snapshot.partial import remove_leftovers
from onrecord.snapshot.store import Store
from onrecord.snapshot.streams import hash_file


class BadDestination(OnRecordError):
    """A place where a file cannot be written. Attribute: `path`."""


class Download(NamedTuple):
    """A content and where it goes: `digest` 64 hex digits, `size` in bytes."""

    digest: str
    size: int
    path: Path


def download(store: Store, downloads: Sequence[Download]) -> None:
    """Write files, in the place of what has their names; folders are made as needed.

    A file appears whole or not at all. After an interruption the same again goes on: what has arrived is hashed
    and left as it is, and what a killed process left of others is removed. Raises BadDestination, ObjectMissing,
    ObjectCorrupt, DiskFull.
    """
    _refuse_clashes(downloads)
    for folder in {one.path.parent for one in downloads}:
        _make_folder(folder)
        remove_leftovers(folder)
    for one in downloads:
        if not _is_there(one):
            try:
                store.copy_to(one.digest, one.path)
            except OSError as error:
                raise _bad(one.path, error) from error


def _refuse_clashes(downloads: Iterable[Download]) -> None:
    places: dict[str, str] = {}
    for one in downloads:
        path = os.path.abspath(one.path)  # noqa: PTH100 - links stay as they are
        if path in places:
            raise BadDestination(
                f"two files would be written to {shown(path)}", next_step="give each a place of its own", path=one.path
            )
        places[path] = one.digest
    for path in places:
        above = next((str(parent) for parent in Path(path).parents if str(parent) in places), None)
        if above is not None:
            raise BadDestination(
                f"{shown(above)} would be a file, and the folder of {shown(path)}",
                why="the run has had both, one after the other",
                next_step="download them one by one, with another output_file_path",
                path=Path(above),
            )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _bad(folder, error) from error


def _is_there(one: Download) -> bool:
    try:
        fd = os.open(one.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size != one.size:
            return False
        return hash_file(fd, one.size)[0] == from_hex(one.digest)
    except OSError:
        return False
    finally:
        os.close(fd)


def _bad(path: Path, error: OSError) -> BadDestination:
    place = shown(path)
    return BadDestination(
        f"cannot write {place}", why=error.strerror or str(error), next_step="name another place", path=path
    )
