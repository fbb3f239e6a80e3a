"""Moving the bytes of large files: in pieces, hashed on the way, holes kept as holes."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from onrecord.snapshot.digest import hasher

# Called with each number of bytes that has been moved; what it raises gives the work up.
Watch = Callable[[int], object]

_PIECE = 4 << 20
# What was moved in a step of this size is still in the processor's cache when it is hashed.
_STEP = 1 << 20
_HEAD = 4 << 10
_ZEROS = bytes(_PIECE)
_FICLONE = 0x40049409
_CANNOT = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF})


def write_all(fd: int, data: bytes | memoryview) -> int:
    """Write all of `data`; returns how many bytes that were."""
    written = os.write(fd, data) if data else 0
    if written < len(data):
        view = memoryview(data)
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


def copy_checked(source: int, target: int, watch: Watch) -> bytes:
    """Copy a whole file to an empty one by the cheapest way there is; address of what the target then holds.

    Blocks are shared where that can be; else the kernel moves the bytes, and what has arrived is hashed; else
    they pass through memory. Holes, and long runs of zeros, become holes.
    """
    if clone(source, target):
        return _hash_clone(target, watch)
    digest = _copy_in_kernel(source, target, watch)
    if digest is None:
        os.lseek(source, 0, os.SEEK_SET)
        digest, size = copy_hashing(source, target)
        watch(size)
    return digest


def _hash_clone(target: int, watch: Watch) -> bytes:
    state = hasher(alone=False)
    buffer = bytearray(_STEP)
    view = memoryview(buffer)
    while read := os.readv(target, [buffer]):
        state.update(view[:read])
        watch(read)
    return state.digest()


def _copy_in_kernel(source: int, target: int, watch: Watch) -> bytes | None:
    """None, with nothing written, where the kernel cannot move bytes between the two."""
    state = hasher(alone=False)
    view = memoryview(bytearray(_STEP))
    size, at, moved = os.fstat(source).st_size, 0, False
    while at < size:
        length = min(_STEP, size - at)
        if _is_hole(source, at, length):
            state.update(memoryview(_ZEROS)[:length])
        else:
            try:
                _move(source, target, at, length)
            except (OSError, AttributeError) as error:
                if moved or (isinstance(error, OSError) and error.errno not in _CANNOT):
                    raise
                return None
            moved = True
            # What has arrived is hashed, not what was sent.
            state.update(view[: os.preadv(target, [view[:length]], at)])
        at += length
        watch(length)
    if os.fstat(target).st_size < size:
        os.ftruncate(target, size)
    return state.digest()


def _move(source: int, target: int, at: int, length: int) -> None:
    end = at + length
    while at < end:
        moved = os.copy_file_range(source, target, end - at, at, at)
        if not moved:
            return
        at += moved


def _is_hole(source: int, at: int, length: int) -> bool:
    """Whether a piece is a hole or holds only zeros; found out by its beginning where it is neither."""
    try:
        if os.lseek(source, at, os.SEEK_DATA) >= at + length:
            return True
    except OSError as error:
        if error.errno == errno.ENXIO:
            return True
    head = os.pread(source, min(length, _HEAD), at)
    return head == _ZEROS[: len(head)] and os.pread(source, length, at) == _ZEROS[:length]
