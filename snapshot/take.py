"""Taking a snapshot: scan the source, store what is new, give back one id for all of it."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

import attrs

from onrecord.snapshot.digest import digest_of
from onrecord.snapshot.errors import SourceError, shown
from onrecord.snapshot.ignore import Rules
from onrecord.snapshot.intake import HelperLost
from onrecord.snapshot.scan import Scan, Skipped, skipped_of
from onrecord.snapshot.statcache import Cache, FolderSeen, Seen
from onrecord.snapshot.store import Store
from onrecord.snapshot.survey import survey
from onrecord.snapshot.tree import encode_root

WARN_BYTES = 300_000_000
WARN_FILES = 20_000


@attrs.frozen
class Snapshot:
    """A snapshot that is in the store and durable.

    `snapshot_id`: 64 hex digits, equal for equal trees on any machine. `files`, `bytes`: regular files in it
    and their total size. `bytes_stored`: what this call added to the store. `skipped`: FIFOs, sockets and
    devices. `warnings`: whole sentences for the user, one of them in several lines.
    """

    snapshot_id: str
    files: int
    bytes: int
    bytes_stored: int
    skipped: tuple[Skipped, ...]
    warnings: tuple[str, ...]


def take_snapshot(
    source: Path,
    store: Store,
    *,
    cache: Path | None = None,
    rules: Rules | None = None,
    rehash: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Snapshot:
    """Record a folder as it is now; durable on return.

    `cache` is a file, one per source folder, that lets an unchanged file pass with one `lstat`; it is made
    when missing. `rehash` reads every file nevertheless (a write through an old memory mapping can leave a
    file's times as they were). `progress` is told the files and bytes looked at so far.

    Nothing in the source is written, and no link in it is followed. Where much is new, helping processes
    read with this one; they have ended on return.

    Errors: SourceError for a source that is no folder and for whatever in it cannot be read, FileChanging,
    DiskFull, StoreError. On any of them the store is as it was.
    """
    rules = Rules() if rules is None else rules
    root = open_source(source)
    try:
        # What the cache says is stored must not leave the store before this snapshot holds it.
        with store.in_use(), Cache(cache, cache_key(store, rules, os.fstat(root))) as kept:
            return _take(root, store, kept, rules, rehash, progress)
    finally:
        os.close(root)


def _take(
    root: int,
    store: Store,
    cache: Cache,
    rules: Rules,
    rehash: bool,
    progress: Callable[[int, int], None] | None,
) -> Snapshot:
    began = time.time_ns()
    known = None if rehash else survey(root, cache)
    if known is not None and known.all_same:
        if progress is not None:
            progress(known.seen.files, known.seen.size)
        return _snapshot(known.seen, digest_of(encode_root(known.seen.root)), 0)
    for alone in (False, True):
        with store.writer() as writer:
            scan = Scan(writer, rules, known, private_folders(store), began, progress)
            try:
                seen = scan.run(os.dup(root), alone=alone)
            except HelperLost:
                # Whatever it had written is dropped with this writer.
                continue
            digest = writer.add(encode_root(seen.root))
            bytes_stored = sum(writer.commit().values())
            break
    if known is None or seen != known.seen:
        # Only now: a cache must never speak of objects that did not reach the store.
        cache.save(seen)
    return _snapshot(seen, digest, bytes_stored)


def _snapshot(seen: Seen, digest: bytes, bytes_stored: int) -> Snapshot:
    return Snapshot(
        snapshot_id=digest.hex(),
        files=seen.files,
        bytes=seen.size,
        bytes_stored=bytes_stored,
        skipped=tuple(skipped_of(seen)),
        warnings=tuple(_warnings(seen)),
    )


def cache_key(store: Store, rules: Rules, status: os.stat_result) -> bytes:
    """What a stat cache must have been written for to be believed: this store, these rules, this folder."""
    return digest_of(f"{store.identity} {rules} {status.st_dev} {status.st_ino}".encode())


def open_source(source: Path) -> int:
    """A descriptor of the folder to take; SourceError where there is none."""
    place = shown(source)
    try:
        # The source itself may be given through a link; nothing below it is.
        return os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        why = "there is no such folder"
    except NotADirectoryError:
        why = "it is not a folder"
    except PermissionError:
        why = "its rights do not allow to read it"
    except OSError as error:
        why = "a part of its path is a link to itself" if error.errno == errno.ELOOP else str(error)
    raise SourceError(
        f"cannot take a snapshot of {place}",
        why=why,
        next_step="give the folder that holds the training script",
        path=place,
    )


def private_folders(store: Store) -> list[tuple[int, int]]:
    """The store, and the workspace around it: opening a live SQLite file would drop its locks."""
    out: list[tuple[int, int]] = []
    workspace = store.folder.parent
    for folder, mark in ((store.folder, store.folder), (workspace, workspace / "ledger.db")):
        try:
            mark.stat()
            status = folder.stat()
        except OSError:
            continue
        out.append((status.st_dev, status.st_ino))
    return out


def _warnings(seen: Seen) -> list[str]:
    out = [
        f"{shown(path)} points out of the source, to {shown(target)}: kept as a link, not followed"
        for path, target in seen.stray_links
    ]
    by_size = seen.size > WARN_BYTES
    if by_size or seen.files > WARN_FILES:
        largest = _largest(seen.folders, by_size)
        width = max(len(name) for name, _, _ in largest)
        files = "1 file" if seen.files == 1 else f"{seen.files:,} files"
        out.append(
            f"the snapshot holds {files} and {seen.size / 1e6:,.0f} MB; the largest entries:\n"
            + "".join(
                f"  {name.ljust(width)}  {size / 1e6:9,.1f} MB" + (f" in {files:,} files\n" if files != 1 else "\n")
                for name, files, size in largest
            )
            + "name what the run does not need in .amlignore or .gitignore"
        )
    return out


def _largest(folders: list[FolderSeen], by_size: bool) -> list[tuple[str, int, int]]:
    """The three largest entries, each narrowed to the entry inside it that makes up most of it."""

    def weight(entry: tuple[bytes, int, int, int]) -> int:
        return entry[2] if by_size else entry[1]

    found: list[tuple[str, int, int]] = []
    for entry in sorted(_entries(folders, len(folders) - 1), key=weight, reverse=True)[:3]:
        path, files, size, position = entry
        while position >= 0:
            inside = max(_entries(folders, position), key=weight, default=None)
            if inside is None or weight(inside) < 0.8 * weight(entry):
                break
            path, files, size, position = inside
        found.append((shown(path) + ("/" if position >= 0 else ""), files, size))
    return found


def _entries(folders: list[FolderSeen], position: int) -> list[tuple[bytes, int, int, int]]:
    """Path, files, bytes and position (-1: a file) of what is directly in a folder."""
    folder = folders[position]
    out = [(folder.path + seen[0], 1, seen[4], -1) for seen in folder.files()]
    return out + [(folder.path + ref[0], ref[3], ref[4], position - ref[1]) for ref in folder.folders]
