"""The mark of a restore that is not finished: an empty file in the destination whose name says all.

    .onrecord-restoring-<snapshot id, or tree-<address of one folder's tree>>-<inode number of the destination, hex>

Made before the first entry, removed after the last one, and locked while the restore lives: a folder with a mark
that nobody holds was left by one that died, and the same restore may go on there. A snapshot cannot hold its own
mark, as both are hashes of all the names in it; a mark that came from elsewhere as some snapshot's content, or
with a copy of its folder, names another inode and is an ordinary file.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from onrecord.snapshot.errors import RestoreError, shown
from onrecord.snapshot.locks import try_lock

_NAME: Final = re.compile(rb"\.onrecord-restoring-((?:tree-)?[0-9a-f]{64})-([0-9a-f]+)")
_OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Mark:
    """Our mark in a destination, locked. `resumed`: it was there already, and so may be other entries of ours."""

    def __init__(self, folder: int, name: bytes, fd: int, resumed: bool) -> None:
        self.name = name
        self.resumed = resumed
        self._folder = folder
        self._fd = fd

    @classmethod
    def place(cls, folder: int, destination: Path, subject: bytes, *, force: bool) -> Mark:
        """Mark the destination, whose descriptor is `folder`, for the restore of `subject` (the middle of the name).

        Errors: RestoreError when it is not empty, unless `force` or this very restore was begun in it before; and
        while another restore into it lives.
        """
        inode = b"%x" % os.fstat(folder).st_ino
        name = b".onrecord-restoring-%s-%s" % (subject, inode)
        while True:
            marks, others = _entries(folder, inode)
            if not force and name not in marks and (marks or others):
                raise _not_empty(destination, marks)
            for mark in marks:
                if mark != name:
                    _remove_dead(folder, mark, destination)
            found = cls._opened(folder, name, destination, name in marks)
            if found is not None:
                return found

    @classmethod
    def _opened(cls, folder: int, name: bytes, destination: Path, exists: bool) -> Mark | None:
        try:
            fd = os.open(name, _OPEN | (0 if exists else os.O_CREAT | os.O_EXCL), 0o600, dir_fd=folder)
        except (FileNotFoundError, FileExistsError):
            return None
        if not try_lock(fd):
            os.close(fd)
            raise _busy(destination)
        if os.fstat(fd).st_nlink == 0:
            # Its owner came to the end in between.
            os.close(fd)
            return None
        return cls(folder, name, fd, exists)

    def remove(self) -> None:
        """The restore has come to its end."""
        os.unlink(self.name, dir_fd=self._folder)

    def release(self, *, failed: bool) -> None:
        """Let go. A restore that `failed` leaves the mark, unless there is nothing else in the destination."""
        if failed and _names(self._folder) == [self.name]:
            self.remove()
        os.close(self._fd)


def _names(folder: int) -> list[bytes]:
    # btrfs lists what was there when the descriptor was opened, or put back to its beginning.
    os.lseek(folder, 0, os.SEEK_SET)
    with os.scandir(folder) as entries:
        return [os.fsencode(entry.name) for entry in entries]


def _entries(folder: int, inode: bytes) -> tuple[list[bytes], bool]:
    """The marks of this very folder, and whether there is anything else."""
    names = _names(folder)
    marks = [name for name in names if (found := _NAME.fullmatch(name)) and found[2] == inode]
    return marks, len(marks) < len(names)


def _remove_dead(folder: int, mark: bytes, destination: Path) -> None:
    try:
        fd = os.open(mark, _OPEN, dir_fd=folder)
    except FileNotFoundError:
        return
    try:
        if not try_lock(fd):
            raise _busy(destination)
        os.unlink(mark, dir_fd=folder)
    finally:
        os.close(fd)


def _not_empty(destination: Path, marks: list[bytes]) -> RestoreError:
    place = shown(destination)
    begun = _NAME.fullmatch(marks[0]) if marks else None
    if begun is not None:
        subject = begun[1].decode()
        again = "" if subject.startswith("tree-") else f"finish it (onrecord restore {subject} {place}), "
        return RestoreError(
            f"{place} holds an unfinished restore of something else, {subject}",
            why="it would be mixed with this one",
            next_step=f"{again}name a new folder, or pass --force",
            path=place,
        )
    return RestoreError(
        f"{place} is not empty",
        why="a restored snapshot holds exactly what was recorded, and nothing of yours is overwritten",
        next_step="name a new folder, or pass --force to replace the files that are in the way",
        path=place,
    )


def _busy(destination: Path) -> RestoreError:
    place = shown(destination)
    return RestoreError(
        f"another restore is writing into {place}",
        why="two at once would take each other's files for foreign ones",
        next_step="wait until it has ended, or name another folder",
        path=place,
    )
