"""When a file that is being written is taken: when it has come to rest, or now and then where it never does."""

from __future__ import annotations

from typing import NamedTuple

from onrecord.kept_folders import Seen

# A file is taken when it has been left alone for this long.
SETTLED_SECONDS = 2.0
# One that is never left alone is taken as it stands after this long, and then at intervals that grow with the time
# that it has been written for: a log of a minute every 10 seconds, one of an hour every 36, one of ten every 5 minutes.
LIVE_SECONDS = 10.0
_LONGEST_LIVE_SECONDS = 300.0
_PART_OF_AGE = 0.01
# What grows faster than this in an interval is a checkpoint on its way, and is given time to become whole.
_MOST_GROWTH_BYTES = 64 << 20


class _Open(NamedTuple):
    seen: Seen
    # Seconds on the monotonic clock: since when it looks like that, since when it is being written, when it was taken.
    since: float
    begun: float
    taken: float
    size: int
    rewritten: bool = False


class Settling:
    """The files that are being written. Times in nanoseconds since the epoch, and in seconds on a monotonic clock."""

    def __init__(self) -> None:
        self._open: dict[str, _Open] = {}

    def __bool__(self) -> bool:
        return bool(self._open)

    def names(self) -> list[str]:
        """Names of the files that are being written."""
        return list(self._open)

    def forget(self, name: str) -> None:
        """It is gone, or it was taken after it had come to rest."""
        self._open.pop(name, None)

    def is_settled(self, name: str, seen: Seen, wall: int, now: float) -> bool:
        """Whether a file has been left alone long enough; if not, it counts as being written from now on."""
        known = self._open.get(name)
        # By its time, which may lie in the future or be set by hand, or by what was seen of it.
        if wall - seen.modified > SETTLED_SECONDS * 1e9:
            return True
        if known is None:
            self._open[name] = _Open(seen, now, now, now, 0)
        elif known.seen != seen:
            self._open[name] = known._replace(seen=seen, since=now)
        return known is not None and known.seen == seen and now - known.since > SETTLED_SECONDS

    def is_due(self, name: str, seen: Seen, now: float) -> bool:
        """Whether a file that is being written is to be taken as it stands."""
        known = self._open[name]
        pause = min(max((now - known.begun) * _PART_OF_AGE, LIVE_SECONDS), _LONGEST_LIVE_SECONDS)
        waited = now - known.taken
        if waited < pause or known.rewritten or seen.size <= known.size:
            return False
        return seen.size - known.size <= _MOST_GROWTH_BYTES or waited >= _LONGEST_LIVE_SECONDS

    def taken(self, name: str, size: int, now: float) -> None:
        """It was taken as it stood, with so many bytes."""
        if name in self._open:
            self._open[name] = self._open[name]._replace(taken=now, size=size)

    def rewritten(self, name: str) -> None:
        """It does not only grow: no state of it is whole before it has come to rest."""
        if name in self._open:
            self._open[name] = self._open[name]._replace(rewritten=True)
