"""A folder that a snapshot is restored into: what lies there already, and what may be done to it."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from onrecord.snapshot.errors import RestoreError, shown
from onrecord.snapshot.reader import OwnedFd
from onrecord.snapshot.tree import FOLDER, LINK, Node


class Folder:
    """One folder below the destination, open as long as something is to be written into it.

    `path`: bytes from the destination on, empty or with a slash at its end.
    """

    def __init__(self, fd: int, path: bytes, nodes: Sequence[Node], destination: Path) -> None:
        """Keeps a copy of the descriptor; `nodes`: all that the snapshot has in this folder."""
        self._owned = OwnedFd(os.dup(fd))
        self.fd = self._owned.fd
        self._path = path
        self._nodes = nodes
        self._destination = destination

    def close(self) -> None:
        """Close the descriptor now, not when the last user lets go: an error that is kept keeps all that it met."""
        self._owned.close()

    def settle(self, mark: bytes, *, resumed: bool, force: bool) -> set[bytes]:
        """Make room for a snapshot's entries where entries may lie already; the names of those that may stay.

        Folders stay for folders. `resumed`: a link that is right stays, and a file stays for a file, to be compared;
        whatever else an unfinished restore cannot have left is an error. `force`: it is removed where it is in the
        way (a folder never) and stays where it is not.

        Errors: RestoreError, also when two of the names are one to this file system.
        """
        staying: set[bytes] = set()
        seen: dict[int, bytes] = {}
        for node in self._nodes:
            try:
                status = os.stat(node.name, dir_fd=self.fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            if self._may_stay(node, status, resumed):
                other = seen.setdefault(status.st_ino, node.name)
                if other != node.name and (node.kind == FOLDER or status.st_nlink == 1):
                    raise self._one_name(node.name, other)
                staying.add(node.name)
            elif force:
                self.remove(node.name)
            else:
                raise self.in_the_way(node.name)
        if resumed and not force:
            self._demand_nothing_else(mark, seen)
        return staying

    def _may_stay(self, node: Node, status: os.stat_result, resumed: bool) -> bool:
        if node.kind == FOLDER:
            return stat.S_ISDIR(status.st_mode)
        if node.kind == LINK:
            is_link = resumed and stat.S_ISLNK(status.st_mode)
            return is_link and os.readlink(node.name, dir_fd=self.fd) == node.value
        return resumed and stat.S_ISREG(status.st_mode)

    def _demand_nothing_else(self, mark: bytes, known: dict[int, bytes]) -> None:
        with os.scandir(self.fd) as entries:
            for entry in entries:
                name = os.fsencode(entry.name)
                # By number, as a file system may give a name back in another form.
                if name != mark and entry.inode() not in known:
                    raise self._foreign(name)

    def remove(self, name: bytes) -> None:
        """Remove what is in the way, unless it is a folder: RestoreError."""
        try:
            os.unlink(name, dir_fd=self.fd)
        except FileNotFoundError:
            pass
        except (IsADirectoryError, PermissionError):
            raise self.in_the_way(name) from None

    def in_the_way(self, name: bytes) -> RestoreError:
        """The error for a name that is taken; where the file system takes two names for one, it names both."""
        other = self._other_name(name)
        if other is not None:
            return self._one_name(name, other)
        return RestoreError(
            f"cannot write {self._shown(name)}: something of that name is there already",
            why="another program made it, or it was there before and cannot be replaced",
            next_step="move it away, or restore to an empty folder",
            path=self._shown(name),
        )

    def _other_name(self, name: bytes) -> bytes | None:
        """The other name of the snapshot that leads to the same file or folder."""
        # Asked name by name, as some file systems list names in another form than the one they were given.
        wanted = self._single(name)
        for node in self._nodes if wanted is not None else ():
            if node.name != name and self._single(node.name) == wanted:
                return node.name
        return None

    def _single(self, name: bytes) -> int | None:
        """The inode number behind a name, None for a missing one or one with several hard links."""
        try:
            status = os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except OSError:
            return None
        return status.st_ino if status.st_nlink == 1 or stat.S_ISDIR(status.st_mode) else None

    def _one_name(self, name: bytes, other: bytes) -> RestoreError:
        return RestoreError(
            f"cannot write both {self._shown(name)} and {self._shown(other)}: here they are one name",
            why="this file system does not tell names apart by letter case or by Unicode form, and the snapshot does",
            next_step="restore to a file system that keeps names as they are",
            path=self._shown(name),
        )

    def _foreign(self, name: bytes) -> RestoreError:
        return RestoreError(
            f"{self._shown(name)} is no part of the snapshot whose restore was begun here",
            why="a restored snapshot holds exactly what was recorded",
            next_step="move it away, or pass --force to keep it",
            path=self._shown(name),
        )

    def _shown(self, name: bytes) -> str:
        return shown(os.fsencode(self._destination) + b"/" + self._path + name)
