"""Take what a run leaves in `outputs/` and `logs/` into the objects and the history.

Watchers only say when to look; what counts is the look itself, and the last one, after every
process of the run has ended, sees everything.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs

from onrecord.errors import OnRecordError
from onrecord.ledger.events import Event, FileRecorded
from onrecord.snapshot.errors import DiskFull
from onrecord.snapshot.store import Store, Stored

FOLDERS = ("outputs", "logs")
# While the script writes, a file is taken when it has been left alone for this long.
SETTLED_SECONDS = 2.0
_BATCH = 500


@attrs.frozen
class _Seen:
    size: int
    modified: int
    inode: int


class Capture:
    """The captured state of one run's working copy. `record` appends events to the run."""

    def __init__(
        self,
        work: Path,
        store: Store,
        record: Callable[[Sequence[Event]], None],
        folders: Sequence[str] = FOLDERS,
    ) -> None:
        self._work = work
        self._folders = folders
        self._store = store
        self._record = record
        self._known: dict[str, _Seen] = {}
        self._digests: dict[str, str] = {}
        # Whether the last look left files for later because they were still being written.
        self.unsettled = False
        self.problems: list[str] = []

    def already_recorded(self, digests: dict[str, str]) -> None:
        """What an earlier conductor recorded, by name, so that it is not recorded again."""
        self._digests.update(digests)

    def look(self, *, final: bool) -> int:
        """Record new and changed files, only settled ones unless `final`; returns how many.

        `problems` names those that this look could not keep. Raises DiskFull; what was taken before is recorded.
        """
        now = time.time_ns()
        changed: list[tuple[str, Path, _Seen]] = []
        self.unsettled = False
        self.problems = []
        for name, path, seen in self._files():
            if self._known.get(name) == seen:
                continue
            if final or now - seen.modified > SETTLED_SECONDS * 1e9:
                changed.append((name, path, seen))
            else:
                self.unsettled = True
        for start in range(0, len(changed), _BATCH):
            self._take(changed[start : start + _BATCH])
        return len(changed)

    def take(self, name: str, path: Path) -> None:
        """Record one file under `name`."""
        status = path.stat()
        self._take([(name, path, _Seen(status.st_size, status.st_mtime_ns, status.st_ino))])

    def _take(self, files: Sequence[tuple[str, Path, _Seen]]) -> None:
        events: list[Event] = []
        kept: dict[str, tuple[_Seen, str]] = {}
        # An object that is there already must not be erased with another run before this one refers to it.
        with self._store.in_use():
            for (name, _, seen), stored in zip(files, self._put(files), strict=True):
                if stored is None:
                    continue
                kept[name] = (seen, stored.digest)
                if self._digests.get(name) != stored.digest:
                    events.append(
                        FileRecorded(
                            name=name, digest=stored.digest, size=stored.size, bytes_stored=stored.bytes_stored
                        )
                    )
            if events:
                self._record(events)
        # Known only now: a look that failed to record them must be followed by one that does.
        for name, (seen, digest) in kept.items():
            self._known[name], self._digests[name] = seen, digest

    def _put(self, files: Sequence[tuple[str, Path, _Seen]]) -> list[Stored | None]:
        try:
            return list(self._store.put_files([path for _, path, _ in files]))
        except DiskFull:
            raise
        except (OnRecordError, OSError):
            # One bad file must not cost the others: find it, name it, keep the rest.
            return [self._put_one(name, path) for name, path, _ in files]

    def _put_one(self, name: str, path: Path) -> Stored | None:
        try:
            return self._store.put_file(path)
        except DiskFull:
            raise
        except FileNotFoundError:
            return None
        except (OnRecordError, OSError) as problem:
            if path.exists():
                self.problems.append(f"{name} could not be kept: {problem}")
            return None

    def _files(self) -> Iterator[tuple[str, Path, _Seen]]:
        for folder in self._folders:
            yield from _walk(self._work / folder, folder)


def _walk(folder: Path, name: str) -> Iterator[tuple[str, Path, _Seen]]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        inner = f"{name}/{entry.name}"
        try:
            # A link is followed to a file, as reading it would; never into a folder, which could be anywhere.
            status = entry.stat()
        except OSError:
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(folder / entry.name, inner)
        elif stat.S_ISREG(status.st_mode):
            path = Path(os.path.realpath(entry.path)) if entry.is_symlink() else folder / entry.name
            yield inner, path, _Seen(status.st_size, status.st_mtime_ns, status.st_ino)
