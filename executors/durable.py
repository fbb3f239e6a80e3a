"""Files that are there in full or not at all, also after the power fails."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def reserve(path: Path, size: int) -> None:
    """Make a file of that many zero bytes, to be overwritten later on a disk that may be full by then."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        _write_all(fd, b"\0" * size)
    finally:
        os.close(fd)


def create(path: Path, content: bytes) -> None:
    """Make a new file, whole from the moment on at which it has its name. Raises `FileExistsError`.

    Two callers at once must be kept apart by a lock.
    """
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(path))
    draft = path.with_name(path.name + ".tmp")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        _write_all(fd, content)
        draft.replace(path)
    except OSError:
        draft.unlink()
        raise
    finally:
        os.close(fd)


def replace(path: Path, content: bytes) -> None:
    """Write beside it, make that durable, and rename it into place."""
    draft = path.with_name(path.name + ".tmp")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(fd, content, 0)
        os.ftruncate(fd, len(content))
        os.fsync(fd)
    finally:
        os.close(fd)
    draft.replace(path)
    flush_folder(path.parent)


def flush(path: Path) -> None:
    """Make a file's content durable."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def flush_folder(path: Path) -> None:
    """Make a folder's names durable (fsync(2): a file's own fsync does not)."""
    flush(path)


def _write_all(fd: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
