"""A copy of the ledger in one file, as it is at one moment, while others go on writing.

Only SQLite may copy it: `cp` misses the log, and reading the file by hand drops SQLite's locks.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from onrecord.ledger import problems


def copy(connection: sqlite3.Connection, source: Path, target: Path) -> None:
    """Write what `connection` sees to the new file `target`, which is there whole and on the disk, or not at all.

    Costs about as long as reading the whole file, in one read transaction, in which the log of a busy
    ledger grows. Raises CopyExists, CopyFailed, and LedgerDamaged where the source cannot be read.
    """
    target = target.absolute()
    if os.path.lexists(target):
        raise problems.copy_exists(target)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        connection.execute("VACUUM main INTO ?", (os.fspath(partial),))
        _check(partial)
        _flush(partial, os.O_RDWR)
        _publish(partial, target)
        _flush(target.parent, os.O_RDONLY)
    except FileExistsError as problem:
        raise problems.copy_exists(target) from problem
    except (sqlite3.Error, OSError) as problem:
        raise problems.not_copied(source, target, problem) from problem
    finally:
        with suppress(OSError):
            partial.unlink()


def _publish(partial: Path, target: Path) -> None:
    # A link never replaces what someone else put there meanwhile; FAT and some network disks have none.
    try:
        os.link(partial, target)
    except FileExistsError:
        raise
    except OSError:
        if os.path.lexists(target):
            raise FileExistsError(target) from None
        partial.rename(target)


def _check(copied: Path) -> None:
    # `immutable`: no -wal or -shm is left beside a file that nobody else has yet.
    connection = sqlite3.connect(f"{copied.as_uri()}?mode=ro&immutable=1", uri=True)
    try:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    finally:
        connection.close()
    if found != "ok":
        raise sqlite3.DatabaseError(found)


def _flush(path: Path, mode: int) -> None:
    descriptor = os.open(path, mode | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
