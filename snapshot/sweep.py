"""Garbage collection: whatever nothing needs, and nothing has stored lately, goes.

    mark what is named -> [alone] -> mark what was named since -> what is left, is old, and lies in packs that are
    worth it -> remove some of it (`gc.Removal`) -> [others again] -> the next round, until nothing is left to do

Marking runs beside everybody else. Whoever relies on objects that nothing refers to yet (`Store.in_use`) is waited
for, and waits no longer than one round, which copies at most `_ROUND_BYTES`. What was stored within the grace period
is kept, with everything that it needs if it is a snapshot or a listing: so a snapshot that nobody refers to yet is
whole for as long. A sweep that is killed at any moment has removed some of what it was to remove, and nothing else.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from onrecord.snapshot.digest import from_hex
from onrecord.snapshot.errors import NotSwept, ObjectCorrupt, ObjectMissing, SnapshotError
from onrecord.snapshot.index import Index, Place
from onrecord.snapshot.layout import HEADER_SIZE, Layout
from onrecord.snapshot.leftovers import clear
from onrecord.snapshot.marking import Marking

if TYPE_CHECKING:
    from onrecord.snapshot.store import Store

# Packs are written anew where at least this share of them is of no use: then it costs at most four bytes of copying
# to regain one.
_WORTH = 0.2
_ROUND_BYTES = 256 << 20
_PACK_FILE = re.compile(r"[0-9a-f]{16}\.pack")
_LOOSE_FILE = re.compile(r"[0-9a-f]{64}")

Progress = Callable[[int, int], None]


class Wanted(NamedTuple):
    """Addresses (64 hex digits) that a caller refers to.

    `snapshots` with all that they need; `contents` of files; `possible`: what may be the address of anything.
    """

    snapshots: Collection[str] = ()
    contents: Collection[str] = ()
    possible: Collection[str] = ()


class Swept(NamedTuple):
    """What a sweep did, in objects and in bytes on the disk.

    `removed`: how much smaller the store is. `needed`: by what is referred to. `young`: kept for the grace period.
    `waiting`: of no use, in packs that are mostly of use; they go when more of their packs has become useless.
    """

    removed_objects: int
    removed_bytes: int
    needed_objects: int
    needed_bytes: int
    young_objects: int
    young_bytes: int
    waiting_objects: int
    waiting_bytes: int


class _Group(NamedTuple):
    """What goes together: the objects of a pack, or all that are files of their own. `copied`: what stays of it."""

    places: list[Place]
    bytes: int
    copied: int


class _Plan(NamedTuple):
    going: list[_Group]
    strays: list[Path]
    swept: Swept


class Sweep:
    """One sweep of a store."""

    def __init__(self, store: Store, layout: Layout, index: Index, wanted: Callable[[], Wanted], before: float) -> None:
        """`wanted` and `before` as `Store.sweep` has them."""
        self._store = store
        self._layout = layout
        self._index = index
        self._wanted = wanted
        self._before = before
        self._marking = Marking(lambda digest: store.fetch(store.place(digest)))

    def look(self) -> Swept:
        """What a sweep would do."""
        with self._store.in_use():
            self._mark()
            return self._plan().swept

    def run(self, progress: Progress | None) -> Swept:
        """Sweep. Errors: NotSwept, DiskFull; what went before stays gone, and nothing that is needed has."""
        # Most of the marking is done before anybody has to wait.
        with self._store.in_use():
            self._mark()
        objects = freed = total = 0
        stuck = False
        while True:
            with self._store.in_use(alone=True):
                self._mark()
                # What dead writers left is none of the files that the index has lost.
                clear(self._layout, self._index)
                plan = self._plan()
                total = total or plan.swept.removed_bytes
                # Parts stay as long as a content that is read through them is there: then all must go at once.
                now = plan.going if stuck else _round(plan.going)
                done = self._store.remove(place.digest.hex() for group in now for place in group.places)
                objects, freed = objects + done[0], freed + done[1] + self._remove(plan.strays)
            if progress is not None:
                progress(min(freed, total), total)
            stuck = not done[0]
            if len(now) == len(plan.going):
                return plan.swept._replace(removed_objects=objects, removed_bytes=freed)

    def _mark(self) -> None:
        wanted = self._wanted()
        for snapshot in sorted(set(wanted.snapshots)):
            try:
                self._marking.snapshot(from_hex(snapshot))
            except (SnapshotError, OSError) as error:
                raise _not_swept("snapshot", snapshot, error) from error
        self._marking.found.update(_addresses(wanted.contents))
        self._mark_parts(surely=True)
        for place in self._index.places(_addresses(wanted.possible)):
            self._mark_whatever(place)

    def _mark_parts(self, *, surely: bool) -> None:
        """Mark what contents that are marked are read through; `surely`: or say that it cannot be known."""
        found, lists = self._marking.found, {place.digest: place for place in self._store.in_parts()}
        waiting = [digest for digest in lists if digest in found]
        while waiting:
            digest = waiting.pop()
            try:
                new = {part.digest for part in self._store.parts(lists[digest])} - found
            except (SnapshotError, OSError) as error:
                if surely:
                    raise _not_swept("content", digest.hex(), error) from error
                continue
            found |= new
            waiting += [part for part in new if part in lists]

    def _mark_whatever(self, place: Place) -> None:
        try:
            # Of a large object the first piece is enough to say what it is.
            data = next(self._store.pieces(place.digest.hex()), b"")
        except (ObjectMissing, ObjectCorrupt):
            data = b""
        self._marking.whatever(place.digest, data)

    def _remove(self, strays: list[Path]) -> int:
        freed = sum(status.st_size for status in map(_status, strays) if status)
        if strays:
            with self._index.excluding_writers(settled=True):
                for path in strays:
                    path.unlink(missing_ok=True)
        return freed

    def _plan(self) -> _Plan:
        found, census = self._marking.found, _Census(self._layout, self._index)
        unneeded = list(census.without(found))
        # Where something that is referred to is missing, it may be in a file that the index has lost.
        strays = [] if len(found) > census.needed else list(census.strays(self._before))
        for place in unneeded:
            if census.written_at(place) >= self._before:
                self._mark_whatever(place)
        self._mark_parts(surely=False)
        young = [place for place in unneeded if place.digest in found]
        going, waiting = census.worth_it([place for place in unneeded if place.digest not in found])
        removed = sum(group.bytes for group in going) + sum(status.st_size for status in map(_status, strays) if status)
        swept = Swept(
            *(sum(len(group.places) for group in going), removed),
            *(census.needed, census.needed_bytes),
            *(len(young), sum(map(_kept, young))),
            *(len(waiting), sum(map(_kept, waiting))),
        )
        return _Plan(going, strays, swept)


class _Census:
    """What is in a store, and in which file."""

    def __init__(self, layout: Layout, index: Index) -> None:
        self._layout = layout
        self._index = index
        self._names = index.pack_names()
        self._objects: Counter[int] = Counter()
        self._packs: dict[int, os.stat_result | None] = {}
        self.needed = 0
        self.needed_bytes = 0

    def without(self, found: set[bytes]) -> Iterator[Place]:
        """Every object that is not in `found`; counts all of them."""
        for page in self._index.all_places():
            for place in page:
                if place.pack is not None:
                    self._objects[place.pack] += 1
                if place.digest not in found:
                    yield place
                    continue
                self.needed += 1
                self.needed_bytes += _kept(place)

    def written_at(self, place: Place) -> float:
        """When the file that holds an object was written, in seconds since the epoch; 0.0 where there is none."""
        status = _status(self._layout.loose_object(place.digest)) if place.pack is None else self._pack(place.pack)
        return status.st_mtime if status else 0.0

    def worth_it(self, dead: list[Place]) -> tuple[list[_Group], list[Place]]:
        """Of objects that are of no use those whose files go, or are worth to be written anew, and the others."""
        loose = [place for place in dead if place.pack is None]
        going, waiting = [_Group(loose, sum(map(_kept, loose)), 0)] if loose else [], list[Place]()
        packed = sorted((place for place in dead if place.pack is not None), key=lambda place: place.pack or 0)
        for pack, group in groupby(packed, key=lambda place: place.pack or 0):
            places = list(group)
            status = self._pack(pack)
            whole, useless = status.st_size if status else 0, sum(map(_kept, places))
            if len(places) == self._objects[pack]:
                going.append(_Group(places, whole, 0))
            elif useless >= whole * _WORTH:
                going.append(_Group(places, useless, max(0, whole - useless)))
            else:
                waiting += places
        return going, waiting

    def strays(self, before: float) -> Iterator[Path]:
        """Files of objects that the index does not know, left by a power failure; those written since stay."""
        packs, loose = self._layout.packs, self._layout.loose
        found = [path for path in packs.iterdir() if _PACK_FILE.fullmatch(path.name)]
        known = {f"{name}.pack" for name in self._names.values()}
        large = [bytes.fromhex(path.name) for path in loose.iterdir() if _LOOSE_FILE.fullmatch(path.name)]
        have = self._index.known(large)
        strays = [path for path in found if path.name not in known]
        strays += [self._layout.loose_object(digest) for digest in large if digest not in have]
        for path in strays:
            status = _status(path)
            if status and status.st_mtime < before:
                yield path

    def _pack(self, pack: int) -> os.stat_result | None:
        if pack not in self._packs:
            name = self._names.get(pack)
            self._packs[pack] = _status(self._layout.pack(name)) if name else None
        return self._packs[pack]


def _round(going: list[_Group]) -> list[_Group]:
    """The first of some groups, at least one of them, as many as may be copied while others wait."""
    copied = 0
    for at, group in enumerate(going):
        copied += group.copied
        if at and copied > _ROUND_BYTES:
            return going[:at]
    return going


def _kept(place: Place) -> int:
    return place.kept + (0 if place.pack is None else HEADER_SIZE)


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _addresses(digests: Iterable[str]) -> list[bytes]:
    """Those that are addresses; no object has another name, and an event may name anything."""
    return [bytes.fromhex(digest) for digest in digests if _LOOSE_FILE.fullmatch(digest)]


def _not_swept(kind: str, digest: str, error: Exception) -> NotSwept:
    what = error.what if isinstance(error, SnapshotError) else str(error)
    return NotSwept(
        f"nothing was removed, because the {kind} {digest} cannot be read whole",
        why=f"{what}; which objects it needs is not known",
        next_step="onrecord verify names what is damaged: bring it back from a backup, or onrecord erase the run",
        digest=digest,
    )
