"""What of a stat cache still holds: one look at every file that the last scan saw."""

from __future__ import annotations

import marshal
import os
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from onrecord.snapshot import processes, stamps
from onrecord.snapshot.statcache import OFFSET, Cache, FolderRef, FolderSeen, Seen

_STAMPS = 48  # bytes of stamps a file
_HELP_FROM = 10_000
# A helping process starts in the time in which so many files are looked at.
_HEAD_START = 4_500


class Survey:
    """What the last scan saw, and what of it is still as it was."""

    def __init__(self, seen: Seen, differing: Iterable[int]) -> None:
        self.seen = seen
        self.own_same = [True] * len(seen.folders)
        for position in differing:
            self.own_same[position] = False
        self.same = list(self.own_same)
        self.first = list(range(len(seen.folders)))
        for position, folder in enumerate(seen.folders):
            for _, distance, *_ in folder.folders:
                below = position - distance
                self.same[position] &= self.same[below]
                self.first[position] = min(self.first[position], self.first[below])

    @property
    def all_same(self) -> bool:
        """Whether nothing at all has changed."""
        return self.same[-1]

    @property
    def root(self) -> Old:
        """The source itself."""
        folder = self.seen.folders[-1]
        return Old(self, len(self.seen.folders) - 1, (b"", 0, folder.tree, self.seen.files, self.seen.size))


class Old:
    """A folder as the last scan saw it; `ref` is what its parent says of it."""

    __slots__ = ("_folders", "_position", "_survey", "ref", "seen")

    def __init__(self, survey: Survey, position: int, ref: FolderRef) -> None:
        self._survey = survey
        self._position = position
        self._folders: dict[bytes, FolderRef] | None = None
        self.ref = ref
        self.seen = survey.seen.folders[position]

    @property
    def same(self) -> bool:
        """Whether it and all below it are as they were."""
        return self._survey.same[self._position]

    @property
    def own_same(self) -> bool:
        """Whether its own names and files are as they were."""
        return self._survey.own_same[self._position]

    def below(self, name: bytes) -> Old | None:
        """A folder directly in it."""
        if self._folders is None:
            self._folders = {ref[0]: ref for ref in self.seen.folders}
        ref = self._folders.get(name)
        return None if ref is None else Old(self._survey, self._position - ref[1], ref)

    def with_below(self) -> list[FolderSeen]:
        """It and all below it, in the order of the cache."""
        return self._survey.seen.folders[self._survey.first[self._position] : self._position + 1]


def survey(root: int, cache: Cache) -> Survey | None:
    """Look at all that the cache knows of the folder behind a descriptor; None when it knows nothing."""
    seen = cache.load()
    return None if seen is None else Survey(seen, _differing(root, cache.fd, seen))


class _Share(NamedTuple):
    """The part of the look that a helping process does: positions from `begin` to below `end`."""

    begin: int
    end: int
    process: int
    answer: int


def _differing(root: int, cache: int, seen: Seen) -> list[int]:
    cuts = _cuts(seen.folders)
    shares: list[_Share] = []
    try:
        shares += [_handed_out(root, cache, begin, end) for begin, end in pairwise(cuts[1:])]
        found = stamps.differing(root, seen.folders, 0, cuts[1])
        for share in shares:
            answer = _answered(share)
            found += stamps.differing(root, seen.folders, share.begin, share.end) if answer is None else answer
    finally:
        for share in shares:
            os.close(share.answer)
            if share.process:
                processes.end(share.process)
    return found


def _cuts(folders: Sequence[FolderSeen]) -> list[int]:
    """Where the shares begin and end: our own, then those of helping processes, which start late."""
    counts = list(accumulate(len(folder.stamps) // _STAMPS + 1 for folder in folders))
    helping = processes.helpers() if counts[-1] >= _HELP_FROM else 0
    late = (counts[-1] - _HEAD_START) // (helping + 1)
    cuts = [0]
    for part in range(helping, 0, -1):
        wanted = counts[-1] - part * late
        cuts.append(next(at for at, count in enumerate(counts) if count >= wanted))
    return [*cuts, len(folders)]


def _handed_out(root: int, cache: int, begin: int, end: int) -> _Share:
    reading, writing = os.pipe()
    try:
        words = [stamps.__file__, "3", "4", "5", str(OFFSET), str(begin), str(end)]
        return _Share(begin, end, processes.start(words, [cache, root, writing]) or 0, reading)
    finally:
        os.close(writing)


def _answered(share: _Share) -> list[int] | None:
    pieces = []
    while piece := os.read(share.answer, 1 << 16):
        pieces.append(piece)
    try:
        found: list[int] = marshal.loads(b"".join(pieces))  # noqa: S302
    except (EOFError, ValueError, TypeError):
        return None
    return found
