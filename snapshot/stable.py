"""Reading a file so that what was read is known to be one state of it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import TypeVar

from onrecord.snapshot.errors import FileChanging, SourceError, shown
from onrecord.snapshot.stamps import signature

TRIES = 3
# Without O_NONBLOCK a FIFO that took a file's place would hang the open; O_NOFOLLOW refuses a link.
FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_Result = TypeVar("_Result")


class KindChanged(Exception):
    """What was opened is no regular file; never leaves this package."""


def read_stable(
    name: bytes, folder: int | None, path: bytes, take: Callable[[int, os.stat_result], _Result]
) -> tuple[_Result, os.stat_result]:
    """Open a regular file, let `take(fd, status)` read all of it, and do it again if it changed meanwhile.

    `name` is opened relative to the descriptor `folder`; `path` is what an error calls it. Errors:
    FileNotFoundError and KindChanged for what is gone or no file any more, SourceError for what cannot be
    read, FileChanging after three tries.
    """
    for _ in range(TRIES):
        fd = _open(name, folder, path)
        try:
            before = os.fstat(fd)
            if not stat.S_ISREG(before.st_mode):
                raise KindChanged
            result = _taken(fd, before, path, take)
            if signature(os.fstat(fd)) == signature(before):
                return result, before
        except _Torn:
            pass
        finally:
            os.close(fd)
    raise FileChanging(
        f"{shown(path)} changed each of the {TRIES} times it was read",
        why="a copy of it would mix two states of the file",
        next_step="stop what writes to it, or name it in .amlignore or .gitignore",
        path=shown(path),
    )


class _Torn(Exception):
    """The file ended elsewhere than its size said."""


def read_whole(fd: int, status: os.stat_result) -> bytes:
    """All bytes of a small file, for `read_stable`."""
    size = status.st_size
    data = os.read(fd, size + 1)
    while len(data) < size:
        more = os.read(fd, size + 1 - len(data))
        if not more:
            break
        data += more
    if len(data) != size:
        raise _Torn
    return data


def expect(read: int, status: os.stat_result) -> None:
    """Have `read_stable` try again unless `read` bytes are the whole file."""
    if read != status.st_size:
        raise _Torn


def _open(name: bytes, folder: int | None, path: bytes) -> int:
    try:
        return os.open(name, FLAGS, dir_fd=folder)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise KindChanged from error
        raise unreadable(path, error) from error


def _taken(fd: int, status: os.stat_result, path: bytes, take: Callable[[int, os.stat_result], _Result]) -> _Result:
    try:
        return take(fd, status)
    except OSError as error:
        if error.errno in (errno.EIO, errno.EISDIR, errno.ESTALE, errno.EACCES):
            raise unreadable(path, error) from error
        raise


def unreadable(path: bytes, error: OSError) -> SourceError:
    """The error for something in the source that cannot be read."""
    return SourceError(
        f"cannot read {shown(path)}: {error.strerror}",
        why="a snapshot without it would not be the source that ran",
        next_step=f"chmod +r {shown(path)}, or name it in .amlignore or .gitignore",
        path=shown(path),
    )
