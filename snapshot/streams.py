"""Moving the bytes of large files: in pieces, hashed on the way, holes kept as holes."""

from __future__ import annotations

import errno
import os

from onrecord.snapshot.digest import hasher

_PIECE = 4 << 20
_ZEROS = bytes(_PIECE)
_FICLONE = 0x40049409


def write_all(fd: int, data: bytes | memoryview) -> int:
    """Write all of `data`; returns how many bytes that were."""
    view = memoryview(data)
    written = 0
    while written < len(view):
        written += os.write(fd, view[written:])
    return written


def hash_file(source: int, limit: int | None = None) -> tuple[bytes, int]:
    """Address and size in bytes of what a descriptor still has to give.

    With a `limit` reading ends soon after that many bytes: a file may grow faster than it is read.
    """
    state, total = hasher(), 0
    buffer = bytearray(_PIECE)
    view = memoryview(buffer)
    while read := os.readv(source, [buffer]):
        state.update(view[:read])
        total += read
        if limit is not None and total > limit:
            break
    return state.digest(), total


def copy_hashing(source: int, target: int, limit: int | None = None) -> tuple[bytes, int]:
    """Copy a file to an empty one; address and size in bytes of what was copied; `limit` as `hash_file`.

    Pieces of zeros become holes, so that a sparse file of 10 GB costs neither its size nor its writing.
    """
    state, total = hasher(), 0
    buffer = bytearray(_PIECE)
    view = memoryview(buffer)
    hole = False
    while read := os.readv(source, [buffer]):
        piece = view[:read]
        state.update(piece)
        hole = piece == _ZEROS[:read] if read < _PIECE else buffer == _ZEROS
        if hole:
            os.lseek(target, read, os.SEEK_CUR)
        else:
            write_all(target, piece)
        total += read
        if limit is not None and total > limit:
            break
    if hole:
        os.ftruncate(target, total)
    return state.digest(), total


def clone(source: int, target: int) -> bool:
    """Share the blocks of a whole file copy-on-write (xfs, btrfs, bcachefs); False where that cannot be."""
    import fcntl

    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        return False
    return True
