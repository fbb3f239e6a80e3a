"""Writing a snapshot out as a folder: by descriptors, checked, never outside the destination.

Every file is a copy of its own (its blocks may be shared copy-on-write where the file system can), so that
nothing done to it can reach the store. Modes are those that the umask gives to a new file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from onrecord.snapshot.descend import Descent, NoFolder
from onrecord.snapshot.encoding import PARTS
from onrecord.snapshot.errors import RestoreError, disk_full, is_full, missing, shown
from onrecord.snapshot.index import Place
from onrecord.snapshot.manifest import read_root, read_tree
from onrecord.snapshot.store import Store
from onrecord.snapshot.streams import write_all
from onrecord.snapshot.tree import EXECUTABLE, FOLDER, LINK, Node

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_BACK = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def restore_snapshot(
    store: Store,
    snapshot_id: str,
    destination: Path,
    *,
    force: bool = False,
    tree: bytes | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write every entry of a snapshot below `destination`; returns how many files and links were written.

    `tree`: only what is in this folder of it, by the address of its tree. `progress` is told the files and bytes
    written so far.

    The destination is made if missing and must be empty, unless `force`: then files and links in the way are
    replaced, a folder in the way of a file is an error, and whatever else lies there stays. Not fsynced: what
    a crash spoils can be restored again.

    Errors: RestoreError, ObjectMissing, ObjectCorrupt, ManifestError, DiskFull. What was written before an
    error stays.
    """
    root = read_root(store, snapshot_id)
    try:
        return _Restore(store, destination, force, progress).run(root.tree if tree is None else tree)
    except OSError as error:
        if is_full(error):
            raise disk_full(destination) from error
        raise _failed(destination, error.strerror or str(error)) from error


class _Restore:
    def __init__(
        self, store: Store, destination: Path, force: bool, progress: Callable[[int, int], None] | None
    ) -> None:
        self._store = store
        self._destination = destination
        self._force = force
        self._written = 0
        self._bytes = 0
        self._progress = progress

    def run(self, tree: bytes) -> int:
        with Descent(self._open()) as walk:
            stack = [self._fill(walk.fd, b"", tree)]
            while stack:
                folders = stack[-1]
                if not folders:
                    stack.pop()
                    if stack:
                        walk.leave()
                    continue
                path, node = folders.pop()
                self._enter(walk, path, node.name)
                stack.append(self._fill(walk.fd, path + b"/", node.value))
        return self._written

    def _open(self) -> int:
        try:
            self._destination.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise _failed(self._destination, "it is not a folder") from None
        # The destination itself may be given through a link; nothing below it is followed.
        fd = os.open(self._destination, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with os.scandir(fd) as entries:
            empty = next(entries, None) is None
        if not empty and not self._force:
            os.close(fd)
            raise RestoreError(
                f"{shown(self._destination)} is not empty",
                why="a restored snapshot holds exactly what was recorded, and nothing of yours is overwritten",
                next_step="name a new folder, or pass --force to replace the files that are in the way",
                path=shown(self._destination),
            )
        return fd

    def _enter(self, walk: Descent, path: bytes, name: bytes) -> None:
        try:
            self._make_folder(walk.fd, name)
            walk.enter(name)
        except (FileExistsError, NoFolder):
            raise self._in_the_way(path) from None

    def _make_folder(self, fd: int, name: bytes) -> None:
        try:
            os.mkdir(name, dir_fd=fd)
        except FileExistsError:
            if not self._force:
                raise
            if not stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                os.unlink(name, dir_fd=fd)
                os.mkdir(name, dir_fd=fd)

    def _fill(self, fd: int, path: bytes, tree: bytes) -> list[tuple[bytes, Node]]:
        """Write the files and links of one folder; its folders, with their paths, the first one last."""
        nodes = read_tree(self._store, tree)
        places = self._store.places({node.value for node in nodes if node.kind not in (FOLDER, LINK)})
        for node in nodes:
            if node.kind == LINK:
                self._clear(fd, path, node.name)
                self._link(fd, path, node)
            elif node.kind != FOLDER:
                place = places.get(node.value)
                if place is None:
                    raise missing(node.value)
                self._clear(fd, path, node.name)
                self._file(fd, path, node, place)
        return [(path + node.name, node) for node in reversed(nodes) if node.kind == FOLDER]

    def _clear(self, fd: int, path: bytes, name: bytes) -> None:
        if not self._force:
            return
        try:
            os.unlink(name, dir_fd=fd)
        except FileNotFoundError:
            pass
        except (IsADirectoryError, PermissionError):
            raise self._in_the_way(path + name) from None

    def _link(self, fd: int, path: bytes, node: Node) -> None:
        try:
            os.symlink(node.value, node.name, dir_fd=fd)
        except FileExistsError:
            raise self._in_the_way(path + node.name) from None
        self._written += 1

    def _file(self, fd: int, path: bytes, node: Node, place: Place) -> None:
        data = None if place.pack is None or place.encoding == PARTS else self._store.fetch(place)
        mode = 0o777 if node.kind == EXECUTABLE else 0o666
        try:
            file = os.open(node.name, _CREATE if data is not None else _READ_BACK, mode, dir_fd=fd)
        except FileExistsError:
            raise self._in_the_way(path + node.name) from None
        try:
            if data is None:
                self._store.write_into(place, file)
            else:
                write_all(file, data)
        finally:
            os.close(file)
        self._written += 1
        self._bytes += node.size
        if self._progress is not None:
            self._progress(self._written, self._bytes)

    def _in_the_way(self, path: bytes) -> RestoreError:
        place = os.fsencode(self._destination) + b"/" + path
        return RestoreError(
            f"cannot write {shown(place)}: something of that name is there already",
            why="another program made it, or this file system takes two names of the snapshot for one"
            " (letter case, Unicode form)",
            next_step="move it away, or restore to an empty folder on a file system that keeps names as they are",
            path=shown(place),
        )


def _failed(destination: Path, why: str) -> RestoreError:
    place = shown(destination)
    return RestoreError(f"cannot restore to {place}", why=why, next_step="name another folder", path=place)
