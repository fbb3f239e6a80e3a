"""Walking a tree of folders by descriptors, so that no link is ever followed and no path is ever too long.

The only module that a system without `openat` would have to replace.
"""

from __future__ import annotations

import errno
import os
import stat
from types import TracebackType
from typing import Self

from onrecord.snapshot.errors import SnapshotError
from onrecord.snapshot.stamps import FOLDER

_KEEP_OPEN = 64


class NoFolder(Exception):
    """What was to be entered is gone or is no folder; never leaves this package."""


class Descent:
    """The folders from a root down to where a walk stands; at most 64 of them are open at a time.

    The descriptors further up are closed and come back through `..`, checked by device and inode.
    """

    def __init__(self, root: int) -> None:
        """Takes over the descriptor of the root folder."""
        status = os.fstat(root)
        self._fds = [root]
        self._ids = [(status.st_dev, status.st_ino)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for fd in self._fds:
            if fd >= 0:
                os.close(fd)
        self._fds = []

    @property
    def fd(self) -> int:
        """Descriptor of the folder where the walk stands; its owner is the walk."""
        return self._fds[-1]

    def enter(self, name: bytes) -> os.stat_result:
        """Go into a folder. Errors: NoFolder, and OSError for one that may not be read."""
        try:
            fd = os.open(name, FOLDER, dir_fd=self.fd)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise NoFolder from error
            raise
        status = os.fstat(fd)
        self._fds.append(fd)
        self._ids.append((status.st_dev, status.st_ino))
        far = len(self._fds) - 1 - _KEEP_OPEN
        # The root stays open: it is the one folder whose `..` would lead out of the tree.
        if far > 0 and self._fds[far] >= 0:
            os.close(self._fds[far])
            self._fds[far] = -1
        return status

    def leave(self) -> None:
        """Go back to the folder above."""
        if self._fds[-2] < 0:
            self._fds[-2] = self._parent(self._ids[-2])
        os.close(self._fds.pop())
        self._ids.pop()

    def _parent(self, expected: tuple[int, int]) -> int:
        fd = os.open("..", FOLDER, dir_fd=self.fd)
        status = os.fstat(fd)
        if (status.st_dev, status.st_ino) != expected:
            os.close(fd)
            raise SnapshotError(
                "a folder was moved elsewhere while it was being walked",
                next_step="wait until nothing moves folders there, then run the same command again",
            )
        return fd


def kind_of(mode: int) -> str:
    """A file type in words, for what a snapshot leaves out."""
    for test, words in (
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISBLK, "a block device"),
        (stat.S_ISCHR, "a character device"),
    ):
        if test(mode):
            return words
    return "neither a file nor a folder nor a link"
