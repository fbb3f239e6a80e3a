"""Take what a run leaves in `outputs/` and `logs/` into the objects and the history.

Watchers only say when to look; what counts is the look itself, and the last one, after every
process of the run has ended, sees everything: after it the history is equal to the folders.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from onrecord.kept_folders import FOLDERS, Place, Seen, is_gone, look_at, walk
from onrecord.ledger.events import Event, FileRecorded, FileRemoved
from onrecord.ledger.query import FileRow
from onrecord.ledger.text import storable
from onrecord.settling import Settling
from onrecord.snapshot.collect import Before, Request, Rewritten, Taken, collect
from onrecord.snapshot.errors import SnapshotError, SourceError
from onrecord.snapshot.layout import LOOSE_FROM
from onrecord.snapshot.store import Store

# What the conductor itself records beside the script's files.
OWN = frozenset({"logs/stdout.txt", "logs/stderr.txt"})
_BATCH_FILES = 5_000
_BATCH_BYTES = 256 << 20
# So many events hold the ledger's lock for some 10 ms.
_EVENTS = 1_000
# A store through a memory mapping changes a file's time only after the kernel has written the page out, 35 seconds
# later at most. What was read sooner after the last change is read again at the end.
_FIRM_NANOSECONDS = 40 * 10**9
_UNKNOWN = Seen(-1, 0, 0)


class _Known(NamedTuple):
    """A file that was taken: what it looked like, what is in the store, and whether its looks can be trusted."""

    seen: Seen
    now: Before
    firm: bool


class Capture:
    """The captured state of one run's working copy. `record` appends events to the run."""

    def __init__(
        self,
        work: Path,
        store: Store,
        record: Callable[[Sequence[Event]], None],
        folders: Sequence[str] = FOLDERS,
        *,
        before: Mapping[str, Seen] | None = None,
    ) -> None:
        """With `before`, a working copy that is not the run's own: what was there and stays so is left out.

        Nothing of such a folder is ever moved.
        """
        self._before = before
        self.work = work
        self.folders = folders
        self._store = store
        self._record = record
        self._known: dict[str, _Known] = {}
        # What the history says is there: names as the ledger spells them.
        self._recorded: dict[str, Before] = {}
        self._settling = Settling()
        self.problems: list[str] = []

    @property
    def unsettled(self) -> list[str]:
        """Names of the files that were left for later because they are being written."""
        return self._settling.names()

    def already_recorded(self, rows: Iterable[FileRow]) -> None:
        """What an earlier conductor recorded, so that it is not recorded again."""
        self._recorded.update({row.name: Before(row.digest, row.size) for row in rows})

    def look(self, *, final: bool, removals: bool = True) -> int:
        """Record new, changed and removed files, only settled ones unless `final`; returns how many.

        `problems` names those that this look could not keep. Without `removals` what is missing means nothing.
        Raises DiskFull; what was taken before is recorded.
        """
        self.problems = []
        places = list(walk(self.work, self.folders))
        count = self._take_all(places, final)
        if not removals:
            return count
        return count + self._note_removed(self._recorded.keys() - {storable(place.name) for place in places})

    def look_at(self, names: Iterable[str]) -> int:
        """The same for some names only, of which a folder stands for all that is in it; never the last look."""
        self.problems = []
        names = set(names)
        places = list(look_at(self.work, names))
        count = self._take_all(places, final=False)
        for name in names - {place.name for place in places}:
            self._settling.forget(name)
        return count + self._note_removed(map(storable, names))

    def take(self, files: Iterable[tuple[str, Path]]) -> None:
        """Record files that lie elsewhere, by their names."""
        places = []
        for name, path in files:
            status = path.stat()
            seen = Seen(status.st_size, status.st_mtime_ns, status.st_ino)
            places.append(Place(name, os.fspath(path), seen, linked=True))
        self._take(places, frozenset(), final=True)

    def large(self) -> list[tuple[Path, str, Seen]]:
        """The large files of the working copy that were taken: the file, its address, what it looked like."""
        names = [name for name, known in self._known.items() if known.seen.size >= LOOSE_FROM]
        return [
            (Path(place.path), self._known[place.name].now.digest, place.seen)
            for place in look_at(self.work, names)
            if not place.linked and self._known[place.name].seen == place.seen
        ]

    # ---- what is due ---------------------------------------------------------------------------

    def _take_all(self, places: Iterable[Place], final: bool) -> int:
        due, growing = list[Place](), set[str]()
        wall, now = time.time_ns(), time.monotonic()
        for place in places:
            name, seen = place.name, place.seen
            known = self._known.get(name)
            if known is not None and known.seen == seen and (known.firm or not final):
                continue
            if self._before and self._before.get(name) == seen:
                continue
            if final or self._settling.is_settled(name, seen, wall, now):
                due.append(place)
            elif self._settling.is_due(name, seen, now):
                growing.add(name)
                due.append(place)
        rest = iter(due)
        while batch := _batch(rest):
            self._take(batch, growing, final=final)
        return len(due)

    def _take(self, places: Sequence[Place], growing: set[str] | frozenset[str], *, final: bool) -> None:
        events: list[Event] = []
        kept: list[tuple[Place, Taken]] = []
        # An object that is there already must not be erased with another run before this one refers to it.
        with self._store.in_use():
            requests = [self._request(place, place.name in growing, final) for place in places]
            for place, result in zip(places, collect(self._store, requests), strict=True):
                if isinstance(result, Taken):
                    kept.append((place, result))
                    recorded = self._recorded.get(storable(place.name))
                    if recorded is None or recorded.digest != result.now.digest:
                        events.append(_recorded(place.name, result))
                elif result is not None:
                    self._complain(place.name, result, final)
            for start in range(0, len(events), _EVENTS):
                self._record(events[start : start + _EVENTS])
        # Known only now: a look that failed to record them must be followed by one that does.
        for place, taken in kept:
            self._remember(place.name, taken, growing=place.name in growing)

    def _request(self, place: Place, growing: bool, final: bool) -> Request:
        known = self._known.get(place.name)
        before = known.now if known is not None else self._recorded.get(storable(place.name))
        return Request(Path(place.path), before, growing, last=final, movable=self._is_movable(final, place))

    def _is_movable(self, final: bool, place: Place) -> bool:
        return final and not place.linked and self._before is None

    def _remember(self, name: str, taken: Taken, *, growing: bool) -> None:
        status = taken.status
        # One that may mix two states is no reason to give the file up.
        seen = _UNKNOWN if taken.torn else Seen(status.st_size, status.st_mtime_ns, status.st_ino)
        firm = time.time_ns() - status.st_mtime_ns > _FIRM_NANOSECONDS
        self._known[name] = _Known(seen, taken.now, firm)
        self._recorded[storable(name)] = taken.now._replace(memory=None)
        if growing:
            self._settling.taken(name, taken.now.size, time.monotonic())
        else:
            self._settling.forget(name)
        if taken.torn:
            self.problems.append(f"{name} was still being written, and was kept as it stood")

    def _complain(self, name: str, problem: SnapshotError, final: bool) -> None:
        if isinstance(problem, Rewritten):
            self._settling.rewritten(name)
        elif final or isinstance(problem, SourceError):
            self.problems.append(f"{name} could not be kept: {problem.what}")

    def _note_removed(self, names: Iterable[str]) -> int:
        # A folder that is gone as a whole says nothing of what was in it.
        if not self.work.is_dir():
            return 0
        gone = [name for name in names if self._was_captured(name) and is_gone(self.work, name)]
        for start in range(0, len(gone), _EVENTS):
            some = sorted(gone)[start : start + _EVENTS]
            self._record([FileRemoved(name=name) for name in some])
            for name in some:
                del self._recorded[name]
                self._known.pop(name, None)
                self._settling.forget(name)
        return len(gone)

    def _was_captured(self, name: str) -> bool:
        return name in self._recorded and name not in OWN and any(name.startswith(f"{one}/") for one in self.folders)


def _batch(places: Iterable[Place]) -> list[Place]:
    batch, size = list[Place](), 0
    for place in islice(places, _BATCH_FILES):
        batch.append(place)
        size += place.seen.size
        if size >= _BATCH_BYTES:
            break
    return batch


def _recorded(name: str, taken: Taken) -> FileRecorded:
    return FileRecorded(name=name, digest=taken.now.digest, size=taken.now.size, bytes_stored=taken.bytes_stored)
