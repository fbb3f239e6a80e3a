"""What the last scan of a source folder saw, so that the next one reads only what changed.

A cache is a hint that may vanish at any time: it is replaced by rename, never fsynced, and ignored when it is
damaged, of another form, of another store or of other rules.

The racy rule (git's "racy git problem", Documentation/technical/racy-git.txt): a file written again within one
tick of the clock that stamps files keeps its times, so what was stamped so shortly before the scan began is
recorded without a signature, which equals none, and is read again next time.
"""

from __future__ import annotations

import marshal
import os
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from onrecord.snapshot.digest import SIZE, digest_of
from onrecord.snapshot.stamps import Signature, packed, unpacked
from onrecord.snapshot.tree import Root

_MAGIC = b"onrecord stat cache 2\n"
OFFSET = len(_MAGIC) + SIZE
_TICK = 50_000_000
_COARSE_TICK = 2_100_000_000
_SECOND = 1_000_000_000
_ABANDONED_AFTER = 600  # seconds

# name, kind (as in tree.py), signature, address or link target, size
FileSeen = tuple[bytes, bytes, Signature, bytes, int]
# name, how many positions before its parent its FolderSeen stands, address of its tree, files and bytes below it
FolderRef = tuple[bytes, int, bytes, int, int]
# path below the source, and why it was skipped or where the link leads
Noted = tuple[bytes, bytes]


class FolderSeen(NamedTuple):
    """One folder as the last scan saw it; the first four fields are what `stamps.differing` looks at.

    `path`: below the source, with a slash at its end, empty for the source. `stamp`: its own stamps, empty when
    they were racy. `names`, `stamps`: of its files and links, and then of `watched` more, the ignore files that
    are themselves ignored. `content`: kind, address or target, and size of each file, spelled by marshal, since
    most scans need it of few folders. `rules`: an address of every ignore line in force in it.
    """

    path: bytes
    stamp: bytes
    names: bytes
    stamps: bytes
    content: bytes
    folders: list[FolderRef]
    tree: bytes
    rules: bytes
    watched: int
    has_ignore_file: bool

    def files(self) -> list[FileSeen]:
        """Its files and links."""
        names = self.names.split(b"\0")[:-1]
        found = zip(names, unpacked(self.stamps, len(names)), marshal.loads(self.content), strict=False)  # noqa: S302
        return [(name, kind, signature, value, size) for name, signature, (kind, value, size) in found]


class Seen(NamedTuple):
    """All that a scan saw: files and their bytes, what was skipped, links out of the source, every folder.

    A folder stands behind all that are below it, directly behind the last of them; the root is the last.
    """

    files: int
    size: int
    skipped: list[Noted]
    stray_links: list[Noted]
    folders: list[FolderSeen]

    @property
    def root(self) -> Root:
        """What the snapshot object says."""
        return Root(self.folders[-1].tree, self.files, self.size)


def folder_seen(
    path: bytes,
    stamp: bytes,
    files: Sequence[FileSeen],
    watched: Sequence[tuple[bytes, Signature]],
    folders: list[FolderRef],
    tree: bytes,
    rules: bytes,
    has_ignore_file: bool,
) -> FolderSeen:
    """A folder in the form in which it is kept."""
    names = [seen[0] for seen in files] + [name for name, _ in watched]
    return FolderSeen(
        path,
        stamp,
        b"".join([name + b"\0" for name in names]),
        packed([seen[2] for seen in files] + [signature for _, signature in watched]),
        marshal.dumps([(seen[1], seen[3], seen[4]) for seen in files]),
        folders,
        tree,
        rules,
        len(watched),
        has_ignore_file,
    )


def is_racy(mtime: int, ctime: int, began: int) -> bool:
    """Whether a file stamped so may still change without its stamps changing; all in ns since the epoch."""
    coarse = mtime % _SECOND == 0 and ctime % _SECOND == 0
    limit = began - (_COARSE_TICK if coarse else _TICK)
    # A modification time in the future says nothing (touch -d); the kernel alone sets ctime.
    return ctime >= limit or limit <= mtime <= began


class Cache:
    """The cache of one source folder as it was when it was opened."""

    def __init__(self, path: Path | None, key: bytes) -> None:
        """`path` None: no cache. `key` is an address of all else that matters: the store, the rules, the folder."""
        self._path = path
        self._key = key
        self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def load(self) -> Seen | None:
        """What the last scan saw; None when there is nothing that can be believed. Keeps the file open as `fd`."""
        if self._path is None:
            return None
        try:
            self.fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            data = memoryview(os.read(self.fd, os.fstat(self.fd).st_size))
        except OSError:
            return None
        # marshal trusts its input, so nothing reaches it that we did not write whole.
        if data[: len(_MAGIC)] != _MAGIC or data[len(_MAGIC) : OFFSET] != digest_of(data[OFFSET:]):
            return None
        try:
            key, files, size, skipped, strays, folders = marshal.loads(data[OFFSET:])  # noqa: S302
        except (ValueError, EOFError, TypeError):
            return None
        seen = Seen(files, size, skipped, strays, list(map(FolderSeen._make, folders)))
        return seen if key == self._key else None

    def save(self, seen: Seen) -> None:
        """Replace the cache. A failure is no failure of the snapshot: the next scan just reads more."""
        if self._path is None:
            return
        body = marshal.dumps((self._key, *seen[:-1], list(map(tuple, seen.folders))))
        path = self._path
        partial = path.with_name(f"{path.name}.{os.urandom(4).hex()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                partial.write_bytes(b"".join((_MAGIC, digest_of(body), body)))
                partial.replace(path)
                _clear_partials(path)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
        except OSError:
            return


def _clear_partials(path: Path) -> None:
    """Remove what writers that died long ago left beside the cache."""
    now = time.time()
    for partial in path.parent.glob(f"{path.name}.*"):
        if now - partial.stat().st_mtime > _ABANDONED_AFTER:
            partial.unlink()
