"""A file that appears whole or not at all, and leaves nothing behind when its writer is killed."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_ABANDONED_AFTER_SECONDS = 24 * 3600
# What a file system without nameless files, or one that cannot name them later, answers.
_CANNOT = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL, errno.EACCES, errno.EPERM})


@contextmanager
def whole_file(path: Path, *, overwrite: bool = False) -> Iterator[IO[bytes]]:
    """A file to write, which is at `path`, and durable, when the block has ended without an error.

    It has no name before that where the system can do so (Linux's O_TMPFILE, open(2)), else one that starts with a
    dot; such names that were left a day ago are removed. Raises FileExistsError unless `overwrite`, and OSError.
    """
    _clear(path)
    partial = path.with_name(f".{path.name[:200]}.{os.urandom(4).hex()}.part")
    nameless = _open_nameless(path.parent) if _can_name(partial) else None
    fd = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666) if nameless is None else nameless
    try:
        with os.fdopen(fd, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if nameless is not None:
                # Only a name can replace another one.
                _name(file.fileno(), partial if overwrite else path)
        if overwrite:
            partial.replace(path)
        elif nameless is None:
            _move(partial, path)
        _sync(path.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _can_name(partial: Path) -> bool:
    """Whether a nameless file can get a name here; found out before anything is written, with an empty one."""
    fd = _open_nameless(partial.parent)
    if fd is None:
        return False
    try:
        _name(fd, partial)
        partial.unlink()
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def _open_nameless(folder: Path) -> int | None:
    flag = getattr(os, "O_TMPFILE", None)
    if flag is None:
        return None
    try:
        return os.open(folder, os.O_RDWR | flag | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno in _CANNOT:
            return None
        raise


def _name(fd: int, path: Path) -> None:
    # Without a descriptor to start from, Python calls link(2), which does not follow what is in /proc.
    folder = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.link(str(fd), path, src_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)


def _move(partial: Path, path: Path) -> None:
    try:
        os.link(partial, path)
    except FileExistsError:
        raise
    except OSError:
        # A file system without links.
        partial.replace(path)
    else:
        partial.unlink()


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _clear(path: Path) -> None:
    """Remove what writers of this file left that were killed long ago."""
    left = re.compile(re.escape(f".{path.name[:200]}.") + r"[0-9a-f]{8}\.part")
    try:
        names = [name for name in path.parent.iterdir() if left.fullmatch(name.name)]
        for name in names:
            if time.time() - name.stat().st_mtime > _ABANDONED_AFTER_SECONDS:
                name.unlink()
    except OSError:
        return
