"""A file on its way to its name: written beside it, under a lock that tells a dead writer's from a living one's."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from onrecord.snapshot.locks import try_claim, try_lock

_PARTIAL = re.compile(r"\..*\.[0-9a-f]{8}\.partial", re.DOTALL)
# What is added to a name must not make it longer than any file system takes: 255 bytes.
_KEPT_BYTES = 200


def partial_of(destination: Path) -> Path:
    """A new name beside `destination`."""
    kept = os.fsencode(destination.name)[:_KEPT_BYTES].decode("utf-8", "ignore")
    return destination.with_name(f".{kept}.{os.urandom(4).hex()}.partial")


@contextmanager
def arriving(destination: Path) -> Iterator[int]:
    """A descriptor to write into; after the block the file has its name, or, on an error, is gone."""
    partial, fd = _claimed(destination)
    try:
        yield fd
        partial.replace(destination)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)


def _claimed(destination: Path) -> tuple[Path, int]:
    while True:
        partial = partial_of(destination)
        fd = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        if _is_held(fd):
            return partial, fd
        # Taken at its first moment for a leftover, by somebody who removes it.
        os.close(fd)


def _is_held(fd: int) -> bool:
    try:
        return try_lock(fd) and os.fstat(fd).st_nlink > 0
    except OSError:
        # A file system without locks, on which nobody can take it for a leftover either.
        return True


def remove_leftovers(folder: Path) -> int:
    """Remove what killed writers left in a folder; how many. Of what cannot be removed nothing is said."""
    removed = 0
    with suppress(OSError), os.scandir(folder) as entries:
        for path in [entry.path for entry in entries if _PARTIAL.fullmatch(entry.name)]:
            with suppress(OSError):
                removed += _removed(Path(path))
    return removed


def _removed(path: Path) -> bool:
    fd = try_claim(path)
    if fd is None:
        return False
    try:
        path.unlink(missing_ok=True)
    finally:
        os.close(fd)
    return True
