"""Move metric points from a run's spool into the ledger, each exactly once."""

from __future__ import annotations

from pathlib import Path

from onrecord.ledger.errors import StaleVersion
from onrecord.ledger.events import RunMetrics, Series
from onrecord.ledger.journal import Journal
from onrecord.ledger.query import Query
from onrecord.ledger.vectors import numpy_for
from onrecord.spool_reader import read_series

# One event holds at most this much of the spool, so that a long backlog becomes many modest events.
_MOST_BYTES = 4 * 1024 * 1024
_BYTES_A_POINT = 40


def ingest(journal: Journal, run_id: str, spool: Path) -> int:
    """Append what the spool has beyond the ledger's position; returns the number of points.

    Anyone may call it at any time: the event carries the bytes it covers, and an append that comes
    second is refused by its expected version and looks again.
    """
    query = Query(journal)
    head, position = query.run(run_id).head, query.spool_position(run_id)
    numpy_for((size_of(spool) - position) // _BYTES_A_POINT)  # a long backlog is worth its import
    total = 0
    while True:
        series, reached = _read(spool, position)
        if not series:
            return total
        event = RunMetrics(series=series, spool_start=position, spool_end=position + reached)
        try:
            head = journal.append(run_id, [event], expected=head).head
        except StaleVersion:
            head, position = query.run(run_id).head, query.spool_position(run_id)
            continue
        position = event.spool_end
        total += sum(len(piece.values) for piece in series)


def has_more(spool: Path, position: int) -> bool:
    """Whether the spool is longer than `position` bytes."""
    return size_of(spool) > position


def size_of(spool: Path) -> int:
    """The spool's length in bytes, 0 where there is none."""
    try:
        return spool.stat().st_size
    except OSError:
        return 0


def _read(spool: Path, position: int) -> tuple[list[Series], int]:
    try:
        with spool.open("rb") as file:
            file.seek(position)
            data = file.read(_MOST_BYTES)
            series, reached = read_series(data)
            # A value larger than a whole reading: as much more as it takes, for what follows may be very long.
            while not series and (more := file.read(len(data))):
                data += more
                series, reached = read_series(data)
    except FileNotFoundError:
        return [], 0
    return series, reached
