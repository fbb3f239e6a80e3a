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
from pathlib import Path
from typing import NamedTuple

from onrecord.snapshot.digest import SIZE, digest_of
from onrecord.snapshot.stable import Signature

_MAGIC = b"onrecord stat cache 1\n"
_TICK = 50_000_000
_COARSE_TICK = 2_100_000_000
_SECOND = 1_000_000_000
_ABANDONED_AFTER = 600  # seconds

# name, kind (as in tree.py), signature or None, address or link target, size
FileSeen = tuple[bytes, bytes, Signature | None, bytes, int]
# name, position of its FolderSeen in the list, address of its tree, files and bytes below it
FolderRef = tuple[bytes, int, bytes, int, int]
# name, why it was skipped
SkippedSeen = tuple[bytes, str]
# mtime, ctime (ns), inode, device: equal means that no name came or went
FolderSignature = tuple[int, int, int, int]


class FolderSeen(NamedTuple):
    """One folder: `rules` is an address of every ignore line in force in it."""

    signature: FolderSignature | None
    rules: bytes
    has_ignore_file: bool
    tree: bytes
    files: list[FileSeen]
    folders: list[FolderRef]
    skipped: list[SkippedSeen]


def is_racy(mtime: int, ctime: int, began: int) -> bool:
    """Whether a file stamped so may still change without its stamps changing; all in ns since the epoch."""
    coarse = mtime % _SECOND == 0 and ctime % _SECOND == 0
    limit = began - (_COARSE_TICK if coarse else _TICK)
    # A modification time in the future says nothing (touch -d); the kernel alone sets ctime.
    return ctime >= limit or limit <= mtime <= began


def load(path: Path, key: bytes) -> list[FolderSeen]:
    """The folders of a cache, the root last; empty when there is none that can be believed."""
    try:
        data = path.read_bytes()
    except OSError:
        return []
    head = len(_MAGIC)
    body = data[head + SIZE :]
    # marshal trusts its input, so nothing reaches it that we did not write whole.
    if not data.startswith(_MAGIC) or data[head : head + SIZE] != digest_of(body):
        return []
    try:
        found, folders = marshal.loads(body)  # noqa: S302
    except (ValueError, EOFError, TypeError):
        return []
    return [FolderSeen._make(folder) for folder in folders] if found == key else []


def save(path: Path, key: bytes, folders: list[FolderSeen]) -> None:
    """Replace the cache. A failure is no failure of the snapshot: the next scan just reads more."""
    body = marshal.dumps((key, [tuple(folder) for folder in folders]))
    partial = path.with_name(f"{path.name}.{os.urandom(4).hex()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(_MAGIC + digest_of(body) + body)
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
