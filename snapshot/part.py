"""Writing a part of a snapshot out: one file, one link, or one folder with what is in it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from onrecord.snapshot.errors import RestoreError, disk_full, is_full, shown
from onrecord.snapshot.manifest import Entry
from onrecord.snapshot.partial import partial_of
from onrecord.snapshot.restore import restore_snapshot
from onrecord.snapshot.side import StoredSide, entry_at
from onrecord.snapshot.store import Store


class Restored(NamedTuple):
    """Where a part of a snapshot was written, and how many files and links that were."""

    path: Path
    files: int


def restore_part(
    store: Store,
    snapshot_id: str,
    path: str,
    destination: Path,
    *,
    force: bool = False,
    into: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Restored:
    """Write what lies at `path`, from the top of a snapshot, to `destination`.

    Of a folder, its contents are written into the folder `destination`, as `restore_snapshot` does it. A file or a
    link is written to the file `destination`, or, where that is a folder or `into`, into it under its own name;
    folders are made as needed, and what is there already stays, unless `force`. A file appears whole or not at all.

    Errors: RestoreError, ObjectMissing, ObjectCorrupt, ManifestError, DiskFull.
    """
    side = StoredSide(store, snapshot_id)
    entry = entry_at(side, os.fsencode(path))
    if entry is None:
        raise _unknown(side, path)
    if entry.kind == "dir":
        tree = bytes.fromhex(entry.digest)
        files = restore_snapshot(store, snapshot_id, destination, force=force, tree=tree, progress=progress)
        return Restored(destination, files)
    if into or destination.is_dir():
        destination = destination / os.fsdecode(entry.path.rpartition(b"/")[2])
    if os.path.lexists(destination) and (not force or (destination.is_dir() and not destination.is_symlink())):
        raise _in_the_way(destination)
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        _write(store, entry, destination)
    except OSError as error:
        if is_full(error):
            raise disk_full(destination.parent) from error
        place = shown(destination)
        raise RestoreError(
            f"cannot write {place}", why=error.strerror or str(error), next_step="name another place", path=place
        ) from error
    return Restored(destination, 1)


def _write(store: Store, entry: Entry, destination: Path) -> None:
    if entry.kind == "link":
        partial = partial_of(destination)
        partial.symlink_to(os.fsdecode(entry.target))
        partial.replace(destination)
        return
    store.copy_to(entry.digest, destination)
    if entry.executable:
        mode = stat.S_IMODE(destination.stat().st_mode)
        # Whoever may read it may run it.
        destination.chmod(mode | (mode & 0o444) >> 2)


def _in_the_way(destination: Path) -> RestoreError:
    folder = destination.is_dir() and not destination.is_symlink()
    return RestoreError(
        f"{shown(destination)} is there already",
        why="a folder is not replaced by a file" if folder else "nothing of yours is overwritten unasked",
        next_step="name another place" if folder else "name another file, or pass --force to replace it",
        path=shown(destination),
    )


def _unknown(side: StoredSide, path: str) -> RestoreError:
    from difflib import get_close_matches

    above = entry_at(side, os.fsencode(path).rstrip(b"/").rpartition(b"/")[0])
    nodes = side.nodes(bytes.fromhex(above.digest)) if above is not None and above.kind == "dir" else []
    names = [os.fsdecode(node.name) for node in nodes]
    near = get_close_matches(path.rstrip("/").rpartition("/")[2], names)
    return RestoreError(
        f"there is no {shown(path)} in the snapshot",
        why=f"did you mean {' or '.join(shown(name) for name in near)}?" if near else "nothing there has this name",
        next_step="without --path all of it is written",
        path=shown(path),
    )
