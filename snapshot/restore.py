"""Writing a snapshot out as a folder: by descriptors, checked, never outside the destination.

Every file is a copy of its own (its blocks may be shared copy-on-write where the file system can), so that
nothing done to it can reach the store. Modes are those that the umask gives to a new file.

One thread walks, makes the folders and the links, and looks up where the contents lie; a few threads write the files,
in the order in which packs hold them. A small snapshot is written by the caller's thread alone.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self
from weakref import WeakSet

from onrecord.snapshot.crew import Crew, useful_threads
from onrecord.snapshot.descend import Descent, NoFolder
from onrecord.snapshot.destination import Folder
from onrecord.snapshot.encoding import PARTS
from onrecord.snapshot.errors import RestoreError, disk_full, is_full, missing, shown
from onrecord.snapshot.files import File, FileWriter
from onrecord.snapshot.index import Place
from onrecord.snapshot.manifest import read_root
from onrecord.snapshot.mark import Mark
from onrecord.snapshot.progress import Listener, Progress
from onrecord.snapshot.reader import position
from onrecord.snapshot.store import Store
from onrecord.snapshot.tree import FOLDER, LINK, Node, Root, decode_tree

_THREADS_FROM_FILES = 1000
_THREADS_FROM_BYTES = 16 << 20
_BATCH_FILES = 5000
_JOB_BYTES = 2 << 20
_LISTINGS_AHEAD = 200
_LISTING_BYTES_AHEAD = 1 << 20


def restore_snapshot(
    store: Store,
    snapshot_id: str,
    destination: Path,
    *,
    force: bool = False,
    tree: bytes | None = None,
    progress: Listener | None = None,
) -> int:
    """Write every entry of a snapshot below `destination`; returns how many files and links that are.

    `tree`: only what is in this folder of it, by the address of its tree.

    The destination is made if missing and must be empty, unless `force`: then files and links in the way are
    replaced, a folder in the way of a file is an error, and whatever else lies there stays. Where a restore of this
    very snapshot was cut short it is finished: what is right already stays, a file that is not is written again, and
    anything that is no part of the snapshot is an error unless `force`. Not fsynced: what a crash spoils can be
    restored again.

    `progress` is called by the calling thread, at most ten times a second and once at the end, with the regular
    files and the bytes of them that are done; `manifest.read_root` gives both totals.

    Errors: RestoreError, ObjectMissing, ObjectCorrupt, ManifestError, DiskFull. What was written before an
    error stays, and the next call goes on from there.
    """
    root = read_root(store, snapshot_id)
    try:
        if tree is None or tree == root.tree:
            return _restore(store, snapshot_id.encode(), root, destination, force, Progress(progress))
        part = root._replace(tree=tree)
        return _restore(store, b"tree-" + tree.hex().encode(), part, destination, force, Progress(progress))
    except OSError as error:
        if is_full(error):
            raise disk_full(destination) from error
        raise _failed(destination, error.strerror or str(error)) from error


def _restore(store: Store, subject: bytes, root: Root, destination: Path, force: bool, progress: Progress) -> int:
    small = root.files < _THREADS_FROM_FILES and root.size < _THREADS_FROM_BYTES
    with Descent(_open(destination)) as walk:
        mark = Mark.place(walk.fd, destination, subject, force=force)
        failed = True
        try:
            with (
                Crew(0 if small else useful_threads(), progress.tick) as crew,
                _Restore(store, destination, force, mark, crew, progress) as work,
            ):
                written = work.run(walk, root.tree)
            mark.remove()
            failed = False
        finally:
            mark.release(failed=failed)
    progress.tick(final=True)
    return written


def _open(destination: Path) -> int:
    try:
        destination.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise _failed(destination, "it is not a folder") from None
    # The destination itself may be given through a link; nothing below it is followed.
    return os.open(destination, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


class _Level:
    """A folder on the way down: its folders still to be made, the first one last, and their listings so far."""

    def __init__(self, path: bytes, nodes: list[Node], staying: set[bytes]) -> None:
        self.path = path
        self.nodes = nodes
        self.pending = [node for node in reversed(nodes) if node.kind == FOLDER]
        self.staying = staying
        self.listings: dict[bytes, bytes] = {}


class _Restore:
    def __init__(
        self, store: Store, destination: Path, force: bool, mark: Mark, crew: Crew, progress: Progress
    ) -> None:
        self._store = store
        self._destination = destination
        self._force = force
        self._mark = mark
        self._crew = crew
        self._writer = FileWriter(store.reader, progress, crew.go_on)
        self._folders: WeakSet[Folder] = WeakSet()
        self._batch: list[tuple[Folder, Node, bool]] = []
        self._batch_folders = 0
        # The folders of a batch are open, and those of the last one may be; some systems allow 256 descriptors in all.
        self._most_folders = min(256, os.sysconf("SC_OPEN_MAX") // 8)
        self._written = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._crew.stop()
        for folder in self._folders:
            folder.close()

    def run(self, walk: Descent, tree: bytes) -> int:
        listing = self._store.fetch(self._store.place(tree))
        stack = [self._fill(walk.fd, b"", tree, listing, fresh=not (self._force or self._mark.resumed))]
        while stack:
            level = stack[-1]
            if not level.pending:
                stack.pop()
                if stack:
                    walk.leave()
                continue
            listing = self._listing(level)
            node = level.pending.pop()
            fresh = self._enter(walk, level, node.name)
            stack.append(self._fill(walk.fd, level.path + node.name + b"/", node.value, listing, fresh=fresh))
        self._hand_over()
        self._crew.finish()
        return self._written

    def _listing(self, level: _Level) -> bytes:
        """The listing of the next folder; those of its next siblings are looked up and read with it."""
        tree = level.pending[-1].value
        if tree not in level.listings:
            ahead = [node.value for node in reversed(level.pending[-_LISTINGS_AHEAD:])]
            found = self._store.places(set(ahead))
            if tree not in found:
                raise missing(tree)
            level.listings = self._read_first(ahead, found)
        return level.listings[tree]

    def _read_first(self, trees: list[bytes], found: dict[bytes, Place]) -> dict[bytes, bytes]:
        """The listings that come first, as many as a megabyte holds, at least one."""
        places: dict[bytes, Place] = {}
        size = 0
        for tree in trees:
            if tree in found and (not places or size + found[tree].size <= _LISTING_BYTES_AHEAD):
                places[tree] = found[tree]
                size += found[tree].size
        wanted = sorted(places.values(), key=position)
        read = self._store.reader.fetch_many(wanted)
        return {place.digest: data for place, data in zip(wanted, read, strict=True)}

    def _enter(self, walk: Descent, level: _Level, name: bytes) -> bool:
        """Make a folder and go into it; whether it is new, and so empty."""
        fresh = name not in level.staying
        try:
            if fresh:
                os.mkdir(name, dir_fd=walk.fd)
            walk.enter(name)
        except (FileExistsError, NoFolder):
            raise self._folder(walk.fd, level.path, level.nodes).in_the_way(name) from None
        return fresh

    def _fill(self, fd: int, path: bytes, tree: bytes, listing: bytes, *, fresh: bool) -> _Level:
        """Write the links of one folder and note its files."""
        nodes = decode_tree(listing, tree)
        folder = self._folder(fd, path, nodes)
        staying: set[bytes] = set()
        if not fresh:
            staying = folder.settle(self._mark.name, resumed=self._mark.resumed, force=self._force)
        self._batch_folders += 1
        for node in nodes:
            if node.kind == FOLDER:
                continue
            self._written += 1
            if node.kind != LINK:
                self._batch.append((folder, node, node.name in staying))
                if len(self._batch) >= _BATCH_FILES:
                    self._hand_over()
            elif node.name not in staying:
                _link(folder, node)
        if self._batch_folders >= self._most_folders:
            self._hand_over()
        return _Level(path, nodes, staying)

    def _folder(self, fd: int, path: bytes, nodes: list[Node]) -> Folder:
        folder = Folder(fd, path, nodes, self._destination)
        self._folders.add(folder)
        return folder

    def _hand_over(self) -> None:
        """Have the files noted so far written, in the order in which the store holds them.

        Then the walk waits: beside threads that want Python's lock for each of their short calls, it would be slow
        and make them slow.
        """
        batch, self._batch, self._batch_folders = self._batch, [], 0
        places = self._store.places({node.value for _, node, _ in batch})
        files: list[File] = []
        for folder, node, found in batch:
            if node.value not in places:
                raise missing(node.value)
            files.append(File(folder, node, places[node.value], found))
        files.sort(key=lambda file: position(file.place))
        job: list[File] = []
        size = 0
        for file in files:
            if file.place.pack is None or file.place.encoding == PARTS:
                self._crew.put(partial(self._writer.write_large, file))
                continue
            job.append(file)
            size += file.place.size
            if size >= _JOB_BYTES:
                self._crew.put(partial(self._writer.write_small, job))
                job, size = [], 0
        if job:
            self._crew.put(partial(self._writer.write_small, job))
        self._crew.wait_for_room()


def _link(folder: Folder, node: Node) -> None:
    try:
        os.symlink(node.value, node.name, dir_fd=folder.fd)
    except FileExistsError:
        raise folder.in_the_way(node.name) from None


def _failed(destination: Path, why: str) -> RestoreError:
    place = shown(destination)
    return RestoreError(f"cannot restore to {place}", why=why, next_step="name another folder", path=place)
