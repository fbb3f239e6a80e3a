"""Every way in which taking, keeping or restoring a snapshot can fail."""

from __future__ import annotations

import errno
import os

from onrecord.errors import OnRecordError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class SnapshotError(OnRecordError):
    """A snapshot could not be taken, read or restored; base of every error of this package."""


class SourceError(SnapshotError):
    """Something in the source folder cannot be recorded; `path` names it."""


class FileChanging(SourceError):
    """A file changed each time it was read, so no copy of it would be true; `path` names it."""


class DiskFull(SnapshotError):
    """The file system of the store or of the destination has no room left; `folder` names it."""


class StoreError(SnapshotError):
    """The store of objects cannot be used; `folder` names it."""


class NotSwept(StoreError):
    """A store was not swept, because a snapshot that is needed cannot be read; `digest` is its 64 hex digits."""


class ObjectMissing(StoreError):
    """The store holds no object of this address; `digest` is its 64 hex digits."""


class ObjectCorrupt(StoreError):
    """The bytes kept for an object are not those that were stored; `digest` is its 64 hex digits."""


class RemoteError(SnapshotError):
    """A remote cannot be reached, or does not do what was asked for; `remote` names it."""


class RemoteLacks(RemoteError):
    """A remote does not have an object; `digest` is its 64 hex digits."""


class RemoteDamaged(RemoteError):
    """What a remote gave is not what was sent to it; `name` is the file or the address (64 hex digits)."""


class ManifestError(SnapshotError):
    """An object is not the snapshot or folder listing that it was taken for; `digest` names it."""


class RestoreError(SnapshotError):
    """A snapshot cannot be written where it was asked for; `path` names the place."""


def shown(path: bytes | str | os.PathLike[str]) -> str:
    r"""A path as one line of text that any terminal can print.

    >>> shown(b"a\xff\n")
    'a\\xff\\n'
    """
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def is_full(error: OSError) -> bool:
    """Whether an operating system error says that no space (or quota) is left."""
    return error.errno in _FULL


def disk_full(folder: str | os.PathLike[str]) -> DiskFull:
    """The error for a full disk, with what to do about it."""
    place = shown(folder)
    return DiskFull(
        f"no space left in {place}",
        why="the disk or the quota is full; what was recorded before is untouched, nothing new was added",
        next_step=f"free space (df -h {place}), then run the same command again",
        folder=place,
    )


def missing(digest: bytes) -> ObjectMissing:
    """The error for an address that the store does not hold."""
    return ObjectMissing(
        f"the store holds no object {digest.hex()}",
        why="the id is mistyped, or it was recorded in another workspace",
        next_step="onrecord verify",
        digest=digest.hex(),
    )


def corrupt(digest: bytes, problem: str) -> ObjectCorrupt:
    """The error for an object whose kept bytes are wrong; `problem` is a short clause."""
    return ObjectCorrupt(
        f"object {digest.hex()} is damaged: {problem}",
        why="its bytes on disk are not those that were stored, so they are not handed out",
        next_step="onrecord verify, then take the snapshot again from the source or restore objects/ from a backup",
        digest=digest.hex(),
    )
