"""What lies in the folders of a run that go into the history: each file with what tells whether it changed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

FOLDERS = ("outputs", "logs")


class Seen(NamedTuple):
    """What a file looked like from outside: bytes, mtime in nanoseconds, inode."""

    size: int
    modified: int
    inode: int


class Place(NamedTuple):
    """A file: its name in the history, the file itself, what it looked like, and whether a link led to it."""

    name: str
    path: str
    seen: Seen
    linked: bool


def walk(work: Path, folders: Iterable[str]) -> Iterator[Place]:
    """Every file of some folders, in no particular order; costs a `stat` each."""
    waiting = list(folders)
    # One of the folders may lie in another.
    done: set[str] = set()
    root = os.fspath(work)
    while waiting:
        folder = waiting.pop()
        if folder in done:
            continue
        done.add(folder)
        try:
            entries = os.scandir(f"{root}/{folder}")
        except OSError:
            continue
        with entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(f"{folder}/{entry.name}")
                elif (place := _place(f"{folder}/{entry.name}", entry)) is not None:
                    yield place


def _place(name: str, entry: os.DirEntry[str]) -> Place | None:
    try:
        # A link is followed to a file, as reading it would; never into a folder, which could be anywhere.
        status, linked = entry.stat(), entry.is_symlink()
    except OSError:
        return None
    return _checked(name, entry.path, status, linked)


def _checked(name: str, path: str, status: os.stat_result, linked: bool) -> Place | None:
    if not stat.S_ISREG(status.st_mode):
        return None
    seen = Seen(status.st_size, status.st_mtime_ns, status.st_ino)
    return Place(name, os.path.realpath(path) if linked else path, seen, linked)


def look_at(work: Path, names: Iterable[str]) -> Iterator[Place]:
    """The same, of some names only; a folder among them stands for all that is in it."""
    for name in names:
        path = f"{work}/{name}"
        try:
            status = os.lstat(path)
            linked = stat.S_ISLNK(status.st_mode)
            if linked:
                status = os.stat(path)  # noqa: PTH116 - of text, as every name here
        except OSError:
            continue
        if stat.S_ISDIR(status.st_mode):
            yield from () if linked else walk(work, [name])
        elif (place := _checked(name, path, status, linked)) is not None:
            yield place


def is_gone(work: Path, name: str) -> bool:
    """Whether nothing can be read under a name, and its folder says so itself."""
    try:
        status = (work / name).stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return not stat.S_ISREG(status.st_mode)
