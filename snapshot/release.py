"""A folder gives up what a store holds, so that a large file is on the disk once."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from onrecord.snapshot.digest import from_hex
from onrecord.snapshot.errors import ObjectMissing
from onrecord.snapshot.stable import FLAGS
from onrecord.snapshot.store import Store
from onrecord.snapshot.streams import clone


def release(store: Store, digest: str, path: Path, expected: tuple[int, int, int], spare: Path) -> int:
    """Have a file share its blocks with the object of the same content, or else remove it; the bytes freed.

    `expected`: size, mtime in nanoseconds and inode, as they were when the file was found to have that content.
    Nothing happens (0) to a file that is another by now, or whose object is not whole: that is read first, unless
    file and object are the same one already. `spare`: a path on the same file system for the moment. A crash leaves
    the file as it was, or shared, or gone.
    """
    try:
        status = path.lstat()
        place = store.place(from_hex(digest))
    except (FileNotFoundError, NotADirectoryError, ObjectMissing):
        return 0
    if not stat.S_ISREG(status.st_mode) or (status.st_size, status.st_mtime_ns, status.st_ino) != expected:
        return 0
    own = store.loose_path(place)
    same = own is not None and own.exists() and own.samefile(path)
    if not same and next(iter(store.verify([digest])), None) is not None:
        return 0
    if own is None or not _shared(own, path, status, spare):
        path.unlink()
    return status.st_size


def _shared(own: Path, path: Path, status: os.stat_result, spare: Path) -> bool:
    """Put a copy in the file's place that has its blocks in common with the object (xfs, btrfs, bcachefs)."""
    spare.unlink(missing_ok=True)
    source = os.open(own, FLAGS)
    try:
        target = os.open(spare, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if not clone(source, target):
                spare.unlink()
                return False
            os.fchmod(target, stat.S_IMODE(status.st_mode) | stat.S_IWUSR)
            os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
        finally:
            os.close(target)
        spare.replace(path)
    except OSError:
        spare.unlink(missing_ok=True)
        return False
    finally:
        os.close(source)
    return True
