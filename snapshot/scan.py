"""The walk over a source folder: every entry that belongs to the snapshot, read only where it changed.

A folder whose own times are those of the last scan holds the same names, so it is not listed and no rule is
asked; each known file is still looked at. A folder that is ignored is never entered.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable

import attrs

from onrecord.snapshot.descend import Descent, NoFolder, kind_of
from onrecord.snapshot.digest import digest_of
from onrecord.snapshot.errors import shown
from onrecord.snapshot.ignore import ALWAYS_OUT, NESTED_FILE, ROOT_FILE, VENV_MARK, Matcher, Rules
from onrecord.snapshot.stable import KindChanged, read_stable, read_whole, signature, unreadable
from onrecord.snapshot.statcache import FileSeen, FolderRef, FolderSeen, FolderSignature, SkippedSeen, is_racy
from onrecord.snapshot.store import add_file
from onrecord.snapshot.tree import EXECUTABLE, FILE, FOLDER, LINK, Root, encode_tree
from onrecord.snapshot.writer import Writer


@attrs.frozen
class Skipped:
    """An entry that no snapshot can hold: `path` as text fit for a terminal, `reason` in words."""

    path: str
    reason: str


class _Folder:
    """A folder while the walk is in it or below it."""

    __slots__ = (
        "files",
        "folders",
        "has_ignore_file",
        "matcher",
        "name",
        "old",
        "path",
        "rules",
        "same",
        "signature",
        "skipped",
        "todo",
    )

    def __init__(self, path: bytes, name: bytes, matcher: Matcher, rules: bytes) -> None:
        self.path = path
        self.name = name
        self.matcher = matcher
        self.rules = rules
        self.old: FolderSeen | None = None
        self.signature: FolderSignature | None = None
        self.has_ignore_file = False
        self.same = False
        self.files: list[FileSeen] = []
        self.folders: list[FolderRef] = []
        self.skipped: list[SkippedSeen] = []
        self.todo: list[tuple[bytes, FolderSeen | None]] = []


class Scan:
    """One scan; `folders` is what the stat cache of the next one holds, the root last."""

    def __init__(
        self,
        writer: Writer,
        rules: Rules,
        before: list[FolderSeen],
        private: Iterable[tuple[int, int]],
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """`private`: device and inode of folders that are never entered (the workspace's own).

        `progress` is told the files and bytes looked at so far.
        """
        self._writer = writer
        self._rules = rules
        self._before = before
        self._private = frozenset(private)
        self._began = time.time_ns()
        self.folders: list[FolderSeen] = []
        self.skipped: list[Skipped] = []
        self.stray_links: list[tuple[str, str]] = []
        self.unchanged = bool(before)
        self._progress = progress
        self._looked_at = [0, 0]

    def run(self, root: int) -> Root:
        """Walk the folder behind a descriptor, which is taken over; adds its content and its trees."""
        start = _Folder(b"", b"", Matcher.start(self._rules), repr(self._rules).encode())
        with Descent(root) as walk:
            self._visit(start, walk.fd, os.fstat(walk.fd), self._before[-1] if self._before else None)
            chain = [start]
            while True:
                here = chain[-1]
                if here.todo:
                    below = self._enter(walk, here, *here.todo.pop())
                    if below is not None:
                        chain.append(below)
                    continue
                ref = self._finish(here)
                chain.pop()
                if not chain:
                    return Root(ref[2], ref[3], ref[4])
                walk.leave()
                chain[-1].folders.append(ref)

    def _enter(self, walk: Descent, here: _Folder, name: bytes, old: FolderSeen | None) -> _Folder | None:
        path = here.path + name
        try:
            status = walk.enter(name)
        except NoFolder:
            here.signature = None
            return None
        except OSError as error:
            raise unreadable(path, error) from error
        below = _Folder(path + b"/", name, here.matcher, here.rules)
        if (status.st_dev, status.st_ino) in self._private or not self._visit(below, walk.fd, status, old):
            # Why it is left out lies inside it, where its parent's times do not show a change.
            here.signature = None
            walk.leave()
            return None
        return below

    def _visit(self, here: _Folder, fd: int, status: os.stat_result, old: FolderSeen | None) -> bool:
        """Take in the entries of a folder; False for a virtual environment, which is left out."""
        sign = (status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)
        known = old is not None and old.signature == sign
        if not is_racy(status.st_mtime_ns, status.st_ctime_ns, self._began):
            here.signature = sign
        here.old = old
        if old is not None and known and not old.has_ignore_file and here.path:
            here.same = old.rules == here.rules
        else:
            here.has_ignore_file = self._read_ignore_file(here, fd)
            here.same = old is not None and known and old.rules == here.rules
        if here.same and old is not None:
            self._take_known(here, fd, old)
            return True
        return self._take_listed(here, fd, old)

    def _read_ignore_file(self, here: _Folder, fd: int) -> bool:
        for name in (ROOT_FILE, NESTED_FILE) if not here.path else (NESTED_FILE,):
            try:
                text, _ = read_stable(name, fd, here.path + name, read_whole)
            except (FileNotFoundError, KindChanged):
                continue
            here.matcher = here.matcher.below(text, here.path)
            here.rules = digest_of(here.rules + here.path + b"\0" + text)
            return True
        return False

    def _take_known(self, here: _Folder, fd: int, old: FolderSeen) -> None:
        for seen in old.files:
            self._file(here, fd, seen[0], seen, seen[1] == LINK)
            self._tell(here)
        if here.same:
            here.files = old.files
        for name, reason in old.skipped:
            self._skip(here, name, reason)
        here.todo = [(ref[0], self._before[ref[1]]) for ref in reversed(old.folders)]

    def _take_listed(self, here: _Folder, fd: int, old: FolderSeen | None) -> bool:
        files = {seen[0]: seen for seen in old.files} if old is not None else {}
        folders = {ref[0]: self._before[ref[1]] for ref in old.folders} if old is not None else {}
        try:
            with os.scandir(fd) as listing:
                entries = sorted((os.fsencode(entry.name), entry) for entry in listing)
        except OSError as error:
            raise unreadable(here.path, error) from error
        if here.path and self._rules.defaults and self._is_venv(here, entries):
            return False
        for name, entry in entries:
            folder = entry.is_dir(follow_symlinks=False)
            if name == ALWAYS_OUT or here.matcher.ignored(here.path + name, name, folder):
                continue
            if folder:
                here.todo.append((name, folders.get(name)))
            elif entry.is_file(follow_symlinks=False) or entry.is_symlink():
                self._file(here, fd, name, files.get(name), entry.is_symlink())
                self._tell(here)
            else:
                self._special(here, fd, name)
        here.todo.reverse()
        return True

    def _is_venv(self, here: _Folder, entries: list[tuple[bytes, os.DirEntry[str]]]) -> bool:
        if not any(name == VENV_MARK for name, _ in entries):
            return False
        return here.matcher.said(here.path[:-1], here.name, True) is not False

    def _special(self, here: _Folder, fd: int, name: bytes) -> None:
        try:
            mode = os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode
        except FileNotFoundError:
            here.signature = None
            return
        self._skip(here, name, kind_of(mode))

    def _skip(self, here: _Folder, name: bytes, reason: str) -> None:
        here.skipped.append((name, reason))
        self.skipped.append(Skipped(shown(here.path + name), reason))

    def _file(self, here: _Folder, fd: int, name: bytes, seen: FileSeen | None, link: bool) -> None:
        try:
            if seen is not None:
                now = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if seen[2] == signature(now):
                    here.files.append(seen)
                    if link:
                        self._note_link(here, name, seen[3])
                    return
            here.same = False
            here.files.append(self._link(here, fd, name) if link else self._content(here, fd, name))
        except (FileNotFoundError, KindChanged):
            # It went away, or became something else, since the folder was listed: the next scan lists again.
            here.same = False
            here.signature = None

    def _tell(self, here: _Folder) -> None:
        if self._progress is not None and here.files:
            self._looked_at[0] += 1
            self._looked_at[1] += here.files[-1][4]
            self._progress(*self._looked_at)

    def _content(self, here: _Folder, fd: int, name: bytes) -> FileSeen:
        digest, size, status = add_file(self._writer, name, fd, here.path + name)
        kind = EXECUTABLE if status.st_mode & stat.S_IXUSR else FILE
        return name, kind, self._signed(status), digest, size

    def _link(self, here: _Folder, fd: int, name: bytes) -> FileSeen:
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        try:
            target = os.readlink(name, dir_fd=fd)
        except OSError as error:
            raise KindChanged from error
        self._note_link(here, name, target)
        return name, LINK, self._signed(status), target, len(target)

    def _signed(self, status: os.stat_result) -> tuple[int, int, int, int, int, int] | None:
        racy = is_racy(status.st_mtime_ns, status.st_ctime_ns, self._began)
        return None if racy else signature(status)

    def _note_link(self, here: _Folder, name: bytes, target: bytes) -> None:
        depth, out = here.path.count(b"/"), target.startswith(b"/")
        for part in target.split(b"/"):
            depth += -1 if part == b".." else part not in (b"", b".")
            out = out or depth < 0
        if out:
            self.stray_links.append((shown(here.path + name), shown(target)))

    def _finish(self, here: _Folder) -> FolderRef:
        old = here.old
        same = here.same and old is not None and _trees(here.folders) == _trees(old.folders)
        if same and old is not None:
            tree = old.tree
        else:
            nodes = [(name, kind, size, value) for name, kind, _, value, size in here.files]
            nodes += [(name, FOLDER, 0, tree) for name, _, tree, _, _ in here.folders]
            tree = self._writer.add(encode_tree(nodes))
        self.folders.append(
            FolderSeen(
                here.signature,
                here.rules,
                here.has_ignore_file,
                tree,
                here.files,
                here.folders,
                here.skipped,
            )
        )
        self.unchanged = self.unchanged and same and old is not None and old.signature == here.signature
        files = sum(1 for seen in here.files if seen[1] != LINK) + sum(ref[3] for ref in here.folders)
        size = sum(seen[4] for seen in here.files if seen[1] != LINK) + sum(ref[4] for ref in here.folders)
        return here.name, len(self.folders) - 1, tree, files, size


def _trees(refs: list[FolderRef]) -> list[tuple[bytes, bytes]]:
    return [(ref[0], ref[2]) for ref in refs]
