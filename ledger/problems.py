"""What SQLite and the operating system say, in the ledger's own errors."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

from onrecord.ledger.errors import (
    CopyExists,
    CopyFailed,
    LedgerBusy,
    LedgerDamaged,
    LedgerFull,
    LedgerLost,
    LedgerOnNetwork,
    LedgerReadOnly,
    NewerLedger,
    NotALedger,
)
from onrecord.ledger.schema import VERSION

# Only a foreign program can hold the write lock against the holder of ours.
BUSY_SECONDS = 30.0
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_IOERR}


def explained(path: Path, problem: Exception) -> Exception:
    """The ledger's own error for what SQLite or the operating system said; others come back as they are.

    Goes by SQLite's result code, never by its text: a mistake in our own SQL is SQLITE_ERROR and must
    not read as a damaged file.
    """
    full = int(getattr(problem, "sqlite_errorcode", 0))
    code, number = full & 0xFF, getattr(problem, "errno", None)
    if code == sqlite3.SQLITE_FULL or full == sqlite3.SQLITE_IOERR_SHMSIZE or number in _NO_ROOM:
        return no_room(path)
    if code in _BUSY:
        return _busy(path)
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM) or number in _NOT_ALLOWED:
        return read_only(path, str(problem))
    if code == sqlite3.SQLITE_NOTADB:
        return no_ledger(path, "it is not an SQLite file")
    if code == sqlite3.SQLITE_CANTOPEN:
        return _cannot_open(path)
    if code in _DAMAGED or isinstance(problem, OSError):
        return damaged(path, str(problem))
    if isinstance(problem, UnicodeDecodeError) or (not full and isinstance(problem, sqlite3.OperationalError)):
        # Python's own: text in the file, or in what SQLite says of it, is not UTF-8.
        return damaged(path, "text in it is not UTF-8")
    return problem


def damaged(path: Path, why: str) -> LedgerDamaged:
    """The file, or the disk, is not sound."""
    return LedgerDamaged(
        f"{path} cannot be read or written: {why}",
        why="the file is damaged, or the disk reports an error",
        next_step="onrecord verify",
        path=path,
    )


def misshapen(path: Path, problem: Exception) -> LedgerDamaged:
    """Its tables are not those that were made."""
    return damaged(path, f"its tables are not those of a ledger ({problem})")


def unconfirmed(path: Path, why: str) -> LedgerDamaged:
    """The events are in the ledger, but the disk did not confirm them."""
    return LedgerDamaged(
        f"the disk did not confirm the last events of {path}: {why}",
        why="they are recorded and readable now, but may be gone after a power failure",
        next_step="look after the disk, then: onrecord verify",
        path=path,
    )


def lost(path: Path) -> LedgerLost:
    """The path no longer leads to the file that is open."""
    return LedgerLost(
        f"{path} was removed, moved or replaced while it was open",
        why="another program took the ledger or its -wal file away; the last events may not be on the disk",
        next_step="put the workspace folder back, then: onrecord verify",
        path=path,
    )


def read_only(path: Path, why: str) -> LedgerReadOnly:
    """This user cannot write the ledger."""
    return LedgerReadOnly(
        f"{path} cannot be written",
        why=why,
        next_step=f"chmod -R u+w {path.parent}   (reading works where the file can be read)",
        path=path,
    )


def on_network(path: Path, file_system: str) -> LedgerOnNetwork:
    """SQLite's write-ahead log does not work there."""
    return LedgerOnNetwork(
        f"{path} is on a network file system ({file_system}) and cannot be written there",
        why="computers that share the folder would not see one another's writing, and that destroys the file",
        next_step="keep the workspace on a local disk: onrecord init DIRECTORY, then"
        " export ONRECORD_WORKSPACE=DIRECTORY   (its copies may go anywhere: onrecord backup FILE)",
        path=path,
        file_system=file_system,
    )


def newer(path: Path, found: int) -> NewerLedger:
    """A later onrecord made the file."""
    return NewerLedger(
        f"{path} was written by a later onrecord",
        why=f"its schema is version {found}; this onrecord writes up to version {VERSION}",
        next_step="pip install --upgrade onrecord   (its events can be read as it is)",
        path=path,
        found=found,
        known=VERSION,
    )


def copy_exists(path: Path) -> CopyExists:
    """A copy never replaces a file."""
    return CopyExists(
        f"there is a file {path} already",
        why="a copy of the ledger never replaces one that may be needed",
        next_step="name a file that does not exist",
        path=path,
    )


def not_copied(source: Path, target: Path, problem: Exception) -> Exception:
    """Why there is no copy: no room or no permission at the target, or a source that cannot be read."""
    if getattr(problem, "sqlite_errorcode", 0) == sqlite3.SQLITE_CORRUPT:
        return damaged(source, str(problem))
    number = getattr(problem, "errno", None)
    full = number in _NO_ROOM or getattr(problem, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
    return CopyFailed(
        f"{source} was not copied to {target}",
        why="there is no room for it" if full else str(problem),
        next_step="free some space, then repeat the command" if full else "choose a folder that you can write",
        path=target,
    )


def no_ledger(path: Path, why: str) -> NotALedger:
    """There is nothing at the path, or something else."""
    return NotALedger(
        f"{path} is not an onrecord ledger",
        why=why,
        next_step="onrecord init in a folder without a .onrecord",
        path=path,
    )


def no_room(path: Path) -> LedgerFull:
    """There is no room to write."""
    return LedgerFull(
        f"no room to write {path}",
        why="the disk is full; nothing of this call was recorded, everything before it is safe",
        next_step="free some space, then repeat the command",
        path=path,
    )


def _busy(path: Path) -> LedgerBusy:
    return LedgerBusy(
        f"{path} is held by another program",
        why=f"a program other than onrecord kept its write lock for {BUSY_SECONDS:g} seconds",
        next_step=f"close it (fuser {path} names it), then repeat the command",
        path=path,
        waited=BUSY_SECONDS,
    )


def _cannot_open(path: Path) -> Exception:
    if not path.parent.is_dir():
        return no_ledger(path, f"there is no folder {path.parent}")
    if path.is_dir():
        return no_ledger(path, "it is a folder")
    if Path(f"{path}-wal").exists():
        why = "its last events are in the -wal file beside it, and this user may not write the -shm file they need"
        return LedgerReadOnly(
            f"{path} cannot be read here",
            why=why,
            next_step=f"copy {path}, {path.name}-wal to a folder that you can write, and read them there",
            path=path,
        )
    return read_only(path, "SQLite cannot open it: the file or its folder is not open to this user")
