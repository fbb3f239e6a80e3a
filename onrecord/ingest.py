"""Move metric points from a run's spool into the ledger, each exactly once."""

from __future__ import annotations

from pathlib import Path

from onrecord.ledger.errors import StaleVersion
from onrecord.ledger.events import RunMetrics, Series
from onrecord.ledger.journal import Journal
from onrecord.ledger.query import Query
from onrecord.spool import KINDS, Point, read_points

# One event holds at most this much of the spool, so that a long backlog becomes many modest events.
_MOST_BYTES = 4 * 1024 * 1024


def ingest(journal: Journal, run_id: str, spool: Path) -> int:
    """Append what the spool has beyond the ledger's position; returns the number of points.

    Anyone may call it at any time: the event carries the bytes it covers, and an append that comes
    second is refused by its expected version and looks again.
    """
    query = Query(journal)
    total = 0
    while True:
        head = query.run(run_id).head
        position = query.spool_position(run_id)
        points, reached = _read(spool, position)
        if not points:
            return total
        event = RunMetrics(series=_series(points), spool_start=position, spool_end=position + reached)
        try:
            journal.append(run_id, [event], expected=head)
        except StaleVersion:
            continue
        total += len(points)


def has_more(spool: Path, position: int) -> bool:
    """Whether the spool is longer than `position` bytes."""
    return size_of(spool) > position


def size_of(spool: Path) -> int:
    """The spool's length in bytes, 0 where there is none."""
    try:
        return spool.stat().st_size
    except OSError:
        return 0


def _read(spool: Path, position: int) -> tuple[list[Point], int]:
    try:
        with spool.open("rb") as file:
            file.seek(position)
            data = file.read(_MOST_BYTES)
            points, reached = read_points(data)
            if not points and len(data) == _MOST_BYTES:
                # One point larger than a whole reading.
                points, reached = read_points(data + file.read())
    except FileNotFoundError:
        return [], 0
    return points, reached


def _series(points: list[Point]) -> list[Series]:
    grouped: dict[str, list[Series]] = {}
    for name, kind, at, step, value in points:
        pieces = grouped.setdefault(name, [])
        # A piece has one kind; where the kind changes, a new piece keeps the order.
        if not pieces or pieces[-1].kind != KINDS[kind]:
            pieces.append(Series(name, KINDS[kind], [], [], []))
        piece = pieces[-1]
        piece.values.append(value)
        piece.steps.append(step)
        piece.times.append(at)
    return [piece for pieces in grouped.values() for piece in pieces]
