"""Questions about one run's metrics: their points, and few buckets for many points."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from onrecord.ledger.buckets import RATIO, SIZE, Bucket, Points, at_most, joined, points_of, summed_up
from onrecord.ledger.chunk import unpack_one
from onrecord.ledger.codec import decode
from onrecord.ledger.errors import BadBuckets
from onrecord.ledger.events import RunMetrics, Series
from onrecord.ledger.journal import Journal
from onrecord.ledger.text import storable

_END = 2**63 - 1
# Of a run by its id, in the tables that name it by its `seq`.
_RUN = "run = (SELECT seq FROM runs WHERE run_id = ?)"


class Steps(NamedTuple):
    """A range of steps, both ends included; None: without end. A point without a step is in no range with an end."""

    least: int | None = None
    greatest: int | None = None

    @property
    def everything(self) -> bool:
        """Whether it has no end at all."""
        return self.least is None and self.greatest is None

    def holds(self, step: int | None) -> bool:
        """Whether a point with this step is in it."""
        if step is None:
            return self.everything
        return (self.least is None or step >= self.least) and (self.greatest is None or step <= self.greatest)

    def holds_all(self, bucket: Bucket) -> bool:
        """Whether every point of the bucket is in it."""
        if self.everything:
            return True
        return not bucket.stepless and self.holds(bucket.least_step) and self.holds(bucket.greatest_step)

    def condition(self) -> tuple[str, list[int]]:
        """SQL for rows that may have points in it, with its values."""
        ends = [("greatest_step >= ?", self.least), ("least_step <= ?", self.greatest)]
        given = [(text, max(-_END, min(end, _END))) for text, end in ends if end is not None]
        return " AND ".join(["1", *(text for text, _ in given)]), [end for _, end in given]


class Standing(NamedTuple):
    """How a metric stands: what the table of metrics says, without a look at any point."""

    name: str
    kind: str  # of the last point, as `Series` has it
    points: int  # what a call logged as a whole is one
    last: float | None  # None where the last point is NaN or no number
    minimum: float | None  # NaN ignored; None where there is no number
    maximum: float | None
    first_step: int | None
    first_at: int  # microseconds since the epoch, UTC
    last_step: int | None
    last_at: int


def standings(journal: Journal, run_id: str) -> list[Standing]:
    """How each metric of a run stands, by name. Cost: a row a metric, however many points."""
    journal.catch_up()
    rows = journal.fetch(
        "SELECT name, kind, count, last, minimum, maximum, first_step, first_at, last_step, last_at"  # noqa: S608
        f" FROM run_metrics WHERE {_RUN} ORDER BY name",
        (run_id,),
    )
    return [Standing._make(row) for row in rows]


def last_value(journal: Journal, run_id: str, name: str) -> Any:
    """The last value of a metric, as it was logged; None also where there is none. Cost: one chunk."""
    journal.catch_up()
    rows = journal.fetch(
        "SELECT place, payload FROM metric_chunks JOIN events USING(seq)"  # noqa: S608 - see _RUN
        f" WHERE {_RUN} AND name = ? ORDER BY first DESC LIMIT 1",
        (run_id, storable(name)),
    )
    for place, payload in rows:
        found = unpack_one(payload, place) if payload is not None else None
        if found is not None:
            return found.values[-1]
    return None


def all_series(journal: Journal, run_id: str) -> dict[str, list[Series]]:
    """Every metric's points in the order in which they were logged, in one or more pieces by metric."""
    journal.catch_up()
    rows = journal.fetch(f"SELECT name, place, seq FROM metric_chunks WHERE {_RUN} ORDER BY name, first", (run_id,))  # noqa: S608
    # Each payload once: a join would copy a chunk of 100 metrics 100 times.
    payloads = journal.fetch(
        f"SELECT seq, payload FROM events WHERE seq IN (SELECT seq FROM metric_chunks WHERE {_RUN})",  # noqa: S608
        (run_id,),
    )
    chunks = {seq: decode("run.metrics", payload) for seq, payload in payloads}
    found: dict[str, list[Series]] = {}
    for name, place, seq in rows:
        chunk = chunks.get(seq)
        if isinstance(chunk, RunMetrics):
            found.setdefault(name, []).append(chunk.series[place])
    return found


def series_of(journal: Journal, run_id: str, name: str, steps: Steps) -> list[Series]:
    """The points of one metric whose steps are in the range, in the order in which they were logged."""
    journal.catch_up()
    pieces = []
    for _, series in _pieces(journal, (run_id, storable(name)), 0, _END, steps):
        spans = list(_spans(series.steps, steps))
        if spans == [(0, len(series.values))]:
            pieces.append(series)
            continue
        pieces += [_part(series, begin, end) for begin, end in spans]
    return pieces


def _part(series: Series, begin: int, end: int) -> Series:
    ranks = None if series.ranks is None else series.ranks[begin:end]
    columns = series.values[begin:end], series.steps[begin:end], series.times[begin:end]
    return Series(series.name, series.kind, *columns, ranks)


def downsampled(journal: Journal, run_id: str, name: str, buckets: int, steps: Steps) -> list[Bucket]:
    """At most so many buckets that hold every point in the range once. Raises BadBuckets."""
    if buckets < 1:
        raise BadBuckets(
            f"points cannot be shown in {buckets} buckets",
            why="at least one is needed",
            next_step=f"downsampled(run_id, {name!r}, buckets=1000)",
            buckets=buckets,
        )
    journal.catch_up()
    key = run_id, storable(name)
    standing = journal.fetch(f"SELECT count FROM run_metrics WHERE {_RUN} AND name = ?", key)  # noqa: S608
    if not standing:
        return []
    count = standing[0][0]
    for level in _levels(count, buckets):
        found = _stored(journal, key, count, level, steps)
        # Two more, for what lies at the ends of the range may turn out to hold nothing of it.
        if len(found) >= buckets + 2 * (not steps.everything):
            return at_most(_inside(journal, key, found, steps), buckets)
    return at_most(_from_points(journal, key, buckets, steps), buckets)


def _levels(count: int, buckets: int) -> Iterator[int]:
    """The levels of the pyramid that have so many buckets over so many points, the coarsest first."""
    level = 0
    while SIZE * RATIO ** (level + 1) * buckets <= count:
        level += 1
    if SIZE * buckets <= count:
        yield from range(level, -1, -1)


def _stored(journal: Journal, key: tuple[str, str], count: int, level: int, steps: Steps) -> list[Bucket]:
    """The buckets of a level that may have points in the range, and of lower levels what it does not reach."""
    condition, values = steps.condition()
    bounds, begin = list[tuple[int, int, int]](), 0
    for lower in range(level, -1, -1):
        size = SIZE * RATIO**lower
        bounds.append((lower, begin, count // size * size))
        begin = bounds[-1][2]
    # What is not full yet starts where the full ones end. It may have grown since the points were counted.
    bounds.append((0, begin, begin + 1))
    part = (
        f"SELECT {', '.join(Bucket._fields)} FROM metric_buckets"  # noqa: S608 - our own column names
        f" WHERE {_RUN} AND name = ? AND level = ? AND start >= ? AND start < ? AND {condition}"
    )
    rows = journal.fetch(
        " UNION ALL ".join([part] * len(bounds)), [value for bound in bounds for value in (*key, *bound, *values)]
    )
    return sorted(map(Bucket._make, rows))


def _inside(journal: Journal, key: tuple[str, str], found: Sequence[Bucket], steps: Steps) -> list[Bucket]:
    """The buckets with what is outside of the range taken out."""
    inside = []
    for bucket in found:
        if steps.holds_all(bucket):
            inside.append(bucket)
            continue
        for start, points in _runs(journal, key, bucket.start, bucket.start + bucket.points, steps):
            inside += summed_up(points, start, bucket.points)
    return inside


def _from_points(journal: Journal, key: tuple[str, str], buckets: int, steps: Steps) -> list[Bucket]:
    runs = list(_runs(journal, key, 0, _END, steps))
    size = max(1, -(-sum(len(points.times) for _, points in runs) // buckets))
    return [bucket for start, points in runs for bucket in summed_up(points, start, size)]


def _runs(journal: Journal, key: tuple[str, str], begin: int, end: int, steps: Steps) -> Iterator[tuple[int, Points]]:
    """The points from index `begin` to `end` that are in the range, joined where they follow one another."""
    parts: list[Points] = []
    start = following = 0
    for first, series in _pieces(journal, key, begin, end, steps):
        points = points_of(series)
        shown = points.part(max(0, begin - first), max(0, end - first))
        offset = max(begin, first)
        for low, high in _spans(shown.steps, steps):
            if parts and offset + low != following:
                yield start, joined(parts)
                parts = []
            if not parts:
                start = offset + low
            parts.append(shown.part(low, high))
            following = offset + high
    if parts:
        yield start, joined(parts)


def _pieces(journal: Journal, key: tuple[str, str], begin: int, end: int, steps: Steps) -> Iterator[tuple[int, Series]]:
    """The series that may have points between the indices and in the range, with the index of their first point."""
    condition, values = steps.condition()
    rows = journal.fetch(
        "SELECT first, place, payload FROM metric_chunks JOIN events USING(seq)"  # noqa: S608 - of Steps.condition
        f" WHERE {_RUN} AND name = ? AND first < ? AND first + count > ? AND {condition} ORDER BY first",
        (*key, end, begin, *values),
    )
    for first, place, payload in rows:
        series = unpack_one(payload, place) if payload is not None else None
        if series is not None:
            yield first, series


def _spans(known: Sequence[Any], steps: Steps) -> Iterator[tuple[int, int]]:
    """From where to where the steps are in the range."""
    count = len(known)
    if isinstance(known, range) and known.step > 0:
        begin = 0 if steps.least is None else bisect_left(known, steps.least)
        end = count if steps.greatest is None else bisect_right(known, steps.greatest)
        if begin < end:
            yield begin, end
        return
    if steps.everything:
        yield 0, count
        return
    yield from _scattered_spans(known, steps)


def _scattered_spans(known: Sequence[Any], steps: Steps) -> Iterator[tuple[int, int]]:
    begin = None
    for place, step in enumerate(known):
        if steps.holds(step):
            begin = place if begin is None else begin
        elif begin is not None:
            yield begin, place
            begin = None
    if begin is not None:
        yield begin, len(known)
