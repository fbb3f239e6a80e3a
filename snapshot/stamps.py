"""The stamps by which a file counts as unchanged, and which folders of a stat cache no longer bear theirs.

A program of its own, too: a scan of many files starts it to look at a share of them on another core (threads
would take turns, since each look is short). It loads nothing but a few modules written in C.
"""

from __future__ import annotations

import marshal
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from operator import attrgetter
from struct import error as PackError  # noqa: N812
from struct import pack, unpack

TYPE_CHECKING = False  # typing costs more than all the rest
if TYPE_CHECKING:
    from typing import Any

    # path below the root, stamps of the folder, names (each ended by a zero byte), stamps of those files; more
    Watched = tuple[bytes, bytes, bytes, bytes, *tuple[Any, ...]]

SIGNED = 3
_FIELDS = ("st_size", "st_mtime_ns", "st_ctime_ns", "st_ino", "st_dev", "st_mode")
_FOLDER_FIELDS = ("st_mtime_ns", "st_ctime_ns", "st_ino", "st_dev")
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

# size, mtime, ctime (ns), inode, device, mode
Signature = tuple[int, int, int, int, int, int]
signature: Callable[[os.stat_result], Signature] = attrgetter(*_FIELDS)
_of_folder = attrgetter(*_FOLDER_FIELDS)
UNKNOWN = (0, 0, 0, 0, 0, 0)
"""Equals the stamps of no file: inodes begin at 1."""


def packed(signatures: Iterable[Signature]) -> bytes:
    """The stamps of some files, field by field: equal bytes mean equal stamps.

    What does not fit 64 bits (a time after 2262) gives no bytes, which equal those of no file.
    """
    columns = list(zip(*signatures, strict=True))
    if not columns:
        return b""
    count = SIGNED * len(columns[0])
    try:
        return pack(f"={count}q{count}Q", *chain.from_iterable(columns))
    except PackError:
        return b""


def unpacked(stamps: bytes, files: int) -> list[Signature]:
    """The stamps of `files` files again; all unknown where they could not be packed."""
    if not stamps:
        return [UNKNOWN] * files
    count = SIGNED * files
    numbers = unpack(f"={count}q{count}Q", stamps)
    return list(zip(*(numbers[at * files : (at + 1) * files] for at in range(2 * SIGNED)), strict=True))


def packed_folder(status: os.stat_result) -> bytes:
    """The stamps by which a folder counts as unchanged: mtime, ctime (ns), inode, device."""
    try:
        return pack("=2q2Q", *_of_folder(status))
    except PackError:
        return b""


def differing(root: int, folders: Sequence[Watched], begin: int, end: int) -> list[int]:
    """Positions, from `begin` to below `end`, of folders whose own stamps or whose files' stamps are others now.

    `root` is the descriptor that their paths start from. What cannot be looked at counts as differing.
    """
    return [position for position in range(begin, end) if not _is_same(root, folders[position])]


def _is_same(root: int, folder: Watched) -> bool:
    path, stamp, names, stamps = folder[:4]
    if not stamp or bool(names) != bool(stamps):
        return False
    look = os.stat
    try:
        # A link that took the place of a folder further up leads to a folder with another inode.
        fd = os.open(path or b".", FOLDER, dir_fd=root)
        try:
            if packed_folder(os.fstat(fd)) != stamp:
                return False
            found = [look(name, dir_fd=fd, follow_symlinks=False) for name in names.split(b"\0")[:-1]]
        finally:
            os.close(fd)
    except OSError:
        return False
    return packed(map(signature, found)) == stamps


def main() -> None:
    """Arguments: descriptors of the cache, of the root and of the answer; the body's offset; begin; end."""
    cache, root, answer, offset, begin, end = map(int, sys.argv[1:])
    body = os.pread(cache, os.fstat(cache).st_size, offset)
    found = marshal.loads(body)[-1]  # noqa: S302
    os.write(answer, marshal.dumps(differing(root, found, begin, end)))


if __name__ == "__main__":
    main()
