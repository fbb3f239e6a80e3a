"""Fill the projections from the events. The caller holds a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from onrecord.ledger.ids import encode as id_text
from onrecord.ledger.projections import ALL, HOT, LAZY
from onrecord.ledger.recorded import Recorded
from onrecord.ledger.run_state import TYPES, RunState

_BATCH = 2000


class RunsReplay:
    """The table of runs as the events make it, in memory.

    >>> RunsReplay().states
    {}
    """

    def __init__(self) -> None:
        self.states: dict[str, RunState] = {}
        self._numbers: dict[str, int] = {}

    def take(self, recorded: Recorded) -> None:
        """Go one event on. One of a run that was never submitted has no row; the audit names it."""
        if recorded.type == "run.submitted":
            self.states[recorded.run_id] = RunState.submitted(recorded, self._next_number)
        elif recorded.run_id in self.states:
            self.states[recorded.run_id].take(recorded)

    def _next_number(self, experiment: str) -> int:
        number = self._numbers[experiment] = self._numbers.get(experiment, 0) + 1
        return number


def project_batch(connection: sqlite3.Connection) -> bool:
    """Bring the lazy projections up to 2,000 events forward; whether there may be more."""
    positions = dict(connection.execute("SELECT name, seq FROM projections").fetchall())
    start = min(positions[projection.NAME] for projection in LAZY)
    rows = connection.execute(
        "SELECT seq, stream, rseq, type, ts, payload FROM events WHERE seq > ? ORDER BY seq LIMIT ?",
        (start, _BATCH),
    ).fetchall()
    batch = [
        Recorded.stored(seq, id_text(stream), rseq, kind, at, payload) for seq, stream, rseq, kind, at, payload in rows
    ]
    for projection in LAZY:
        position, types = positions[projection.NAME], projection.TYPES
        projection.apply(connection, [one for one in batch if one.type in types and one.seq > position])
    if rows:
        connection.executemany(
            "UPDATE projections SET seq = max(seq, ?) WHERE name = ?",
            [(rows[-1][0], projection.NAME) for projection in LAZY],
        )
    return len(rows) == _BATCH


def drop_and_replay(connection: sqlite3.Connection) -> None:
    """Empty every projection and fill the hot one again; the others catch up when they are read."""
    for projection in ALL:
        for table in projection.TABLES:
            connection.execute(f"DELETE FROM {table}")  # noqa: S608 - our own table names
    connection.execute("UPDATE projections SET seq = 0")
    fill_runs(connection)


def fill_runs(connection: sqlite3.Connection) -> None:
    """Make the empty table of runs from all events."""
    rows = connection.execute("SELECT seq, stream, rseq, type, ts, payload FROM events ORDER BY seq")
    HOT.insert(connection, replayed_runs(rows).values())


def make_current(connection: sqlite3.Connection) -> None:
    """Make the projections whose stored version is not this onrecord's, or that are not there, anew.

    They are empty afterwards and catch up when they are read, all but the hot one.
    """
    stored = dict(connection.execute("SELECT name, version FROM projections").fetchall())
    for projection in ALL:
        if stored.get(projection.NAME) == projection.VERSION:
            continue
        for table in projection.TABLES:
            connection.execute(f"DROP TABLE IF EXISTS {table}")
        run_script(connection, projection.SCHEMA)
        connection.execute("INSERT OR REPLACE INTO projections VALUES (?, ?, 0)", (projection.NAME, projection.VERSION))
        if projection is HOT:
            fill_runs(connection)


def run_script(connection: sqlite3.Connection, script: str) -> None:
    """Run statements inside the caller's transaction, which executescript() would commit half-way."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            connection.execute(statement)
            statement = ""


def replayed_runs(rows: Iterable[tuple[int, bytes, int, str, int, bytes | None]]) -> dict[str, RunState]:
    """Every run as all its events make it, by id."""
    replay, ids = RunsReplay(), dict[bytes, str]()
    for seq, stream, rseq, kind, at, payload in rows:
        run_id = ids.get(stream)
        if run_id is None:
            run_id = ids[stream] = id_text(stream)
        if kind in TYPES:
            replay.take(Recorded.stored(seq, run_id, rseq, kind, at, payload))
        elif run_id in replay.states:
            # Most events only count.
            replay.states[run_id].head = rseq
    return replay.states
