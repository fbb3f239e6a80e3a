"""Files that a script wrote where the history does not look, so that nobody believes them kept."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from onrecord.snapshot.manifest import walk_snapshot
from onrecord.snapshot.store import Store

_NAMED = 3
_MOST = 10_000
_CACHES = {b"__pycache__", b".cache", b".pytest_cache", b".ipynb_checkpoints"}


def unkept_warning(work: Path, store: Store, snapshot_id: str, kept: Sequence[str]) -> str | None:
    """A sentence naming new files outside the folders `kept`, or None when there are none."""
    came = {entry.path for entry in walk_snapshot(store, snapshot_id)}
    found = [name for name in _walk(os.fsencode(work), b"", {os.fsencode(name) for name in kept}) if name not in came]
    if not found:
        return None
    names = ", ".join(os.fsdecode(name) for name in sorted(found)[:_NAMED])
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return (
        f"written outside outputs/ and logs/, so not in the history: {names}{more}"
        f" (they stay in {work}; onrecord run --keep FOLDER records a folder)"
    )


def _walk(root: bytes, prefix: bytes, left_out: set[bytes]) -> Iterator[bytes]:
    count = 0
    folders = [prefix]
    while folders and count < _MOST:
        inner = folders.pop()
        try:
            entries = list(os.scandir(os.path.join(root, inner)))  # noqa: PTH118 - bytes, as file names are
        except OSError:
            continue
        for entry in entries:
            name = inner + b"/" + entry.name if inner else entry.name
            if name in left_out or entry.name in _CACHES:
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(name)
            else:
                count += 1
                yield name
