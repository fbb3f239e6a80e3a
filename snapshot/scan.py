"""The walk over a source folder: every entry that belongs to the snapshot, read only where it changed.

A folder whose own times are those of the last scan holds the same names, so it is not listed and no rule is
asked; each known file is still looked at. What is unchanged together with all below it is not even entered. A
folder that is ignored is never entered.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable

import attrs

from onrecord.snapshot.descend import Descent, NoFolder, kind_of
from onrecord.snapshot.digest import digest_of
from onrecord.snapshot.errors import shown
from onrecord.snapshot.ignore import ALWAYS_OUT, NESTED_FILE, ROOT_FILE, VENV_MARK, Matcher, Rules
from onrecord.snapshot.intake import Found, Intake, ReadFolder
from onrecord.snapshot.stable import KindChanged, read_stable, read_whole, unreadable
from onrecord.snapshot.stamps import UNKNOWN, Signature, packed_folder, signature
from onrecord.snapshot.statcache import FileSeen, FolderRef, FolderSeen, Noted, Seen, folder_seen, is_racy
from onrecord.snapshot.survey import Old, Survey
from onrecord.snapshot.tree import EXECUTABLE, FILE, FOLDER, LINK, encode_tree
from onrecord.snapshot.writer import Writer


@attrs.frozen
class Skipped:
    """An entry that no snapshot can hold: `path` as text fit for a terminal, `reason` in words."""

    path: str
    reason: str


def skipped_of(seen: Seen) -> list[Skipped]:
    """What a scan has skipped, in the order of the walk."""
    return [Skipped(shown(path), reason.decode()) for path, reason in seen.skipped]


class _Folder(ReadFolder):
    """A folder while the walk is in it or below it, and until the content of its files is known."""

    __slots__ = (
        "bytes_below",
        "files",
        "files_below",
        "folders",
        "has_ignore_file",
        "matcher",
        "name",
        "old",
        "parent",
        "rules",
        "stamp",
        "todo",
        "watched",
    )

    def __init__(self, parent: _Folder | None, name: bytes, matcher: Matcher, rules: bytes) -> None:
        super().__init__(b"" if parent is None else parent.path + name + b"/")
        self.parent = parent
        self.name = name
        self.matcher = matcher
        self.rules = rules
        self.old: Old | None = None
        self.stamp = b""
        self.has_ignore_file = False
        self.files: list[FileSeen] = []
        self.watched: list[tuple[bytes, Signature]] = []
        # With the position of each, until the folder's own is known.
        self.folders: list[FolderRef] = []
        self.todo: list[bytes] = []
        self.files_below = self.bytes_below = 0


# A folder that is unchanged with all that is below it: what holds it, its name, what the last scan knew.
_Kept = tuple[_Folder, bytes, Old]


class Scan:
    """One scan of a folder."""

    def __init__(
        self,
        writer: Writer,
        rules: Rules,
        known: Survey | None,
        private: Iterable[tuple[int, int]],
        began: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """`private`: device and inode of folders that are never entered (the workspace's own).

        `known`: what the cache says, and what of it still holds. `began`: when that was looked at, ns since the epoch.
        `progress` is told the files and bytes looked at so far.
        """
        self._writer = writer
        self._rules = rules
        self._known = known
        self._private = frozenset(private)
        self._began = began
        self._order: list[_Folder | _Kept] = []
        self._not_listed: set[bytes] = set()
        self._folders: list[FolderSeen] = []
        self._skipped: list[Noted] = []
        self._stray_links: list[Noted] = []
        self._progress = progress
        self._looked_at = [0, 0]

    def run(self, root: int, *, alone: bool) -> Seen:
        """Walk the folder behind a descriptor, which is taken over; adds its content and its trees.

        `alone`: without helping processes. Errors: as `take_snapshot`, and HelperLost.
        """
        start = _Folder(None, b"", Matcher.start(self._rules), repr(self._rules).encode())
        with Descent(root) as walk, Intake(self._writer, root, self._took, alone=alone) as intake:
            self._intake = intake
            old = None if self._known is None else self._known.root
            self._visit(start, walk.fd, os.fstat(walk.fd), old)
            self._walk(walk, start)
            intake.finish()
        for entry in self._order:
            if isinstance(entry, _Folder):
                self._finish(entry)
            else:
                self._keep(*entry)
        return self._seen(start)

    def _walk(self, walk: Descent, start: _Folder) -> None:
        chain = [start]
        while True:
            here = chain[-1]
            if here.todo:
                below = self._enter(walk, here, here.todo.pop())
                if below is not None:
                    chain.append(below)
                continue
            self._order.append(chain.pop())
            if not chain:
                return
            walk.leave()

    def _enter(self, walk: Descent, here: _Folder, name: bytes) -> _Folder | None:
        old = here.old.below(name) if here.old is not None else None
        if old is not None and old.same and here.old is not None and here.rules == here.old.seen.rules:
            self._order.append((here, name, old))
            self._tell(old.ref[3], old.ref[4])
            return None
        below = _Folder(here, name, here.matcher, here.rules)
        try:
            status = walk.enter(name)
        except NoFolder:
            here.stamp = b""
            return None
        except OSError as error:
            raise unreadable(below.path[:-1], error) from error
        private = (status.st_dev, status.st_ino) in self._private
        if private or not self._visit(below, walk.fd, status, old):
            # Why it is left out lies inside it, where its parent's times do not show a change.
            here.stamp = b""
            walk.leave()
            return None
        return below

    def _visit(self, here: _Folder, fd: int, status: os.stat_result, old: Old | None) -> bool:
        """Take in the entries of a folder; False for a virtual environment, which is left out."""
        here.identity = (status.st_dev, status.st_ino)
        stamp = packed_folder(status)
        if not is_racy(status.st_mtime_ns, status.st_ctime_ns, self._began):
            here.stamp = stamp
        here.old = old
        known = old is not None and old.seen.stamp == stamp
        if old is None or not known or old.seen.has_ignore_file:
            here.has_ignore_file = self._read_ignore_file(here, fd)
        if old is not None and known and old.seen.rules == here.rules:
            self._take_known(here, fd, old)
            return True
        return self._take_listed(here, fd, old)

    def _read_ignore_file(self, here: _Folder, fd: int) -> bool:
        for name in (ROOT_FILE, NESTED_FILE) if not here.path else (NESTED_FILE,):
            try:
                text, status = read_stable(name, fd, here.path + name, read_whole)
            except (FileNotFoundError, KindChanged):
                continue
            here.matcher = here.matcher.below(text, here.path)
            here.rules = digest_of(here.rules + here.path + b"\0" + text)
            here.watched = [(name, self._signed(status))]
            return True
        return False

    def _take_known(self, here: _Folder, fd: int, old: Old) -> None:
        files = old.seen.files()
        if old.own_same:
            here.files = files
            self._tell(len(files), sum(seen[4] for seen in files))
            for name, kind, _, value, _ in files:
                if kind == LINK:
                    self._note_link(here, name, value)
        else:
            self._take_files(here, fd, [(seen[0], seen, seen[1] == LINK) for seen in files])
        here.todo = [ref[0] for ref in reversed(old.seen.folders)]
        self._not_listed.add(here.path)

    def _take_listed(self, here: _Folder, fd: int, old: Old | None) -> bool:
        known = {seen[0]: seen for seen in old.seen.files()} if old is not None else {}
        try:
            with os.scandir(fd) as listing:
                entries = sorted((os.fsencode(entry.name), entry) for entry in listing)
        except OSError as error:
            raise unreadable(here.path, error) from error
        if here.path and self._rules.defaults and self._is_venv(here, entries):
            return False
        files: list[tuple[bytes, FileSeen | None, bool]] = []
        for name, entry in entries:
            folder = entry.is_dir(follow_symlinks=False)
            if name == ALWAYS_OUT or here.matcher.ignored(here.path + name, name, folder):
                continue
            if folder:
                here.todo.append(name)
            elif entry.is_symlink() or entry.is_file(follow_symlinks=False):
                files.append((name, known.get(name), entry.is_symlink()))
            else:
                self._special(here, fd, name)
        here.todo.reverse()
        self._take_files(here, fd, files)
        return True

    def _is_venv(self, here: _Folder, entries: list[tuple[bytes, os.DirEntry[str]]]) -> bool:
        if not any(name == VENV_MARK for name, _ in entries):
            return False
        return here.matcher.said(here.path[:-1], here.name, True) is not False

    def _special(self, here: _Folder, fd: int, name: bytes) -> None:
        try:
            mode = os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode
        except FileNotFoundError:
            here.stamp = b""
            return
        self._skipped.append((here.path + name, kind_of(mode).encode()))

    def _take_files(self, here: _Folder, fd: int, files: list[tuple[bytes, FileSeen | None, bool]]) -> None:
        """Take in files and links (name, what is known of it, whether it is a link); what changed is read."""
        wanted: list[bytes] = []
        for name, seen, link in files:
            try:
                if seen is not None and seen[2] == signature(os.stat(name, dir_fd=fd, follow_symlinks=False)):
                    here.files.append(seen)
                    self._tell(1, seen[4])
                    if link:
                        self._note_link(here, name, seen[3])
                elif link:
                    here.files.append(self._link(here, fd, name))
                else:
                    wanted.append(name)
            except (FileNotFoundError, KindChanged):
                # It went away, or became something else, since the folder was listed: the next scan lists again.
                here.stamp = b""
        if wanted:
            self._intake.read(here, fd, wanted)

    def _took(self, here: ReadFolder, name: bytes, found: Found | None) -> None:
        """What was found under a name: its stamps, address and size; None when it is no file any more."""
        if not isinstance(here, _Folder):
            raise TypeError(here)
        if found is None:
            here.stamp = b""
            return
        stamps, digest, size = found
        kind = EXECUTABLE if stamps[5] & stat.S_IXUSR else FILE
        here.files.append((name, kind, self._unless_racy(stamps), digest, size))
        self._tell(1, size)

    def _tell(self, files: int, size: int) -> None:
        if self._progress is not None:
            self._looked_at[0] += files
            self._looked_at[1] += size
            self._progress(*self._looked_at)

    def _link(self, here: _Folder, fd: int, name: bytes) -> FileSeen:
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        try:
            target = os.readlink(name, dir_fd=fd)
        except OSError as error:
            raise KindChanged from error
        self._note_link(here, name, target)
        return name, LINK, self._signed(status), target, len(target)

    def _signed(self, status: os.stat_result) -> Signature:
        return self._unless_racy(signature(status))

    def _unless_racy(self, stamps: Signature) -> Signature:
        return UNKNOWN if is_racy(stamps[1], stamps[2], self._began) else stamps

    def _note_link(self, here: _Folder, name: bytes, target: bytes) -> None:
        depth, out = here.path.count(b"/"), target.startswith(b"/")
        for part in target.split(b"/"):
            depth += -1 if part == b".." else part not in (b"", b".")
            out = out or depth < 0
        if out:
            self._stray_links.append((here.path + name, target))

    def _keep(self, parent: _Folder, name: bytes, old: Old) -> None:
        self._folders += old.with_below()
        _, _, tree, files, size = old.ref
        parent.folders.append((name, len(self._folders) - 1, tree, files, size))

    def _finish(self, here: _Folder) -> None:
        nodes = [(name, kind, size, value) for name, kind, _, value, size in here.files]
        nodes += [(name, FOLDER, 0, tree) for name, _, tree, _, _ in here.folders]
        tree = self._writer.add(encode_tree(nodes))
        position = len(self._folders)
        names = {seen[0] for seen in here.files}
        self._folders.append(
            folder_seen(
                here.path,
                here.stamp,
                here.files,
                [entry for entry in here.watched if entry[0] not in names],
                [(ref[0], position - ref[1], ref[2], ref[3], ref[4]) for ref in here.folders],
                tree,
                here.rules,
                here.has_ignore_file,
            )
        )
        sizes = [seen[4] for seen in here.files if seen[1] != LINK]
        here.files_below = len(sizes) + sum(ref[3] for ref in here.folders)
        here.bytes_below = sum(sizes) + sum(ref[4] for ref in here.folders)
        if here.parent is not None:
            here.parent.folders.append((here.name, position, tree, here.files_below, here.bytes_below))

    def _seen(self, root: _Folder) -> Seen:
        kept = {entry[2].seen.path for entry in self._order if isinstance(entry, tuple)}
        skipped, stray_links = self._skipped, self._stray_links
        if self._known is not None:
            before = self._known.seen
            skipped += [noted for noted in before.skipped if self._not_looked_at(noted[0], kept)]
            stray_links += [noted for noted in before.stray_links if _is_below(noted[0], kept)]
        skipped.sort(key=_in_order_of_walk)
        stray_links.sort(key=_in_order_of_walk)
        return Seen(root.files_below, root.bytes_below, skipped, stray_links, self._folders)

    def _not_looked_at(self, path: bytes, kept: set[bytes]) -> bool:
        return path[: path.rfind(b"/") + 1] in self._not_listed or _is_below(path, kept)


def _is_below(path: bytes, folders: set[bytes]) -> bool:
    return any(path[: at + 1] in folders for at, byte in enumerate(path) if byte == b"/"[0])


def _in_order_of_walk(noted: Noted) -> list[tuple[bool, bytes]]:
    """What is directly in a folder before what is further down."""
    *folders, name = noted[0].split(b"/")
    return [*((True, folder) for folder in folders), (False, name)]
