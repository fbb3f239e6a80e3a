"""Fill the projections from the events. The caller holds a transaction."""

from __future__ import annotations

import gc
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from onrecord.ledger.erasures import Erasures
from onrecord.ledger.ids import encode as id_text
from onrecord.ledger.projections import ALL, HOT, LAZY, Tables
from onrecord.ledger.recorded import Recorded
from onrecord.ledger.run_state import TYPES, RunState
from onrecord.ledger.schema import NOT_LAZY

Progress = Callable[[int, int], None]
Row = tuple[int, bytes, int, str, int, bytes | None]

INDEX = ("CREATE INDEX", "CREATE UNIQUE INDEX")
_BATCH = 10_000
# Chunks of points are large: no more of them at a time than memory has room for.
_BATCH_BYTES = 16 * 1024 * 1024
_EVENTS = "SELECT seq, stream, rseq, type, ts, payload FROM events"
_DECODED = frozenset(kind for projection in LAZY for kind in projection.TYPES)


class RunsReplay:
    """The table of runs as the events make it, in memory; whole once `finish` was called.

    >>> RunsReplay().finish()
    {}
    """

    def __init__(self) -> None:
        self.states: dict[str, RunState] = {}
        self._numbers: dict[str, int] = {}
        self._erasures = Erasures()

    def take(self, recorded: Recorded) -> None:
        """Go one event on. One of a run that was never submitted has no row; the audit names it."""
        if recorded.type == "run.submitted":
            self.states[recorded.run_id] = RunState.submitted(recorded, self._next_number)
        elif recorded.run_id in self.states:
            self.states[recorded.run_id].take(recorded)
            self._erasures.take(recorded)

    def note(self, recorded: Recorded) -> None:
        """Hear of an erasure that came after the last event to be taken: payloads before it may be gone."""
        self._erasures.take(recorded)

    def note_import(self, run_id: str) -> None:
        """Hear that the run's events so far come from another ledger."""
        self._erasures.import_run(run_id)

    def finish(self) -> dict[str, RunState]:
        """Every run by id. What an erased run was is said after its number was given to others: they are told here."""
        if self._erasures:
            self._numbers, kept = {}, self._erasures.numbers()
            for state in self.states.values():
                number = self._erasures.place(state) or kept.get(state.run_id)
                state.number = number or self._next_number(state.experiment)
                self._numbers[state.experiment] = max(state.number, self._numbers.get(state.experiment, 0))
        return self.states

    def _next_number(self, experiment: str) -> int:
        number = self._numbers[experiment] = self._numbers.get(experiment, 0) + 1
        return number


def project_batch(connection: sqlite3.Connection) -> bool:
    """Bring the lazy projections up to 10,000 events forward; whether there may be more."""
    positions = dict(connection.execute("SELECT name, seq FROM projections").fetchall())
    start = min(positions[projection.NAME] for projection in LAZY)
    cursor = connection.execute(f"{_EVENTS} WHERE seq > ? ORDER BY seq", (start,))
    rows = next(_batches(cursor), [])
    cursor.close()
    batch = _wanted(rows, {})
    for projection in LAZY:
        position, types = positions[projection.NAME], projection.TYPES
        projection.apply(connection, [one for one in batch if one.type in types and one.seq > position])
    if not rows:
        return False
    reached = rows[-1][0]
    connection.execute("UPDATE projections SET seq = max(seq, ?) WHERE name NOT IN (?, ?)", (reached, *NOT_LAZY))
    return bool(connection.execute("SELECT max(seq) > ? FROM events", (reached,)).fetchone()[0])


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    batch, size = list[Row](), 0
    for row in rows:
        batch.append(row)
        size += len(row[5] or b"")
        if len(batch) == _BATCH or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def rebuild(connection: sqlite3.Connection, progress: Progress | None = None) -> int:
    """Make every projection anew from the events, in the caller's one transaction; returns how many events.

    Whoever reads meanwhile, and whoever comes after an interruption, finds the former tables. `progress` is told
    the events done and the events there are. Each payload is decoded once for all projections, and the indexes
    are made at the end, from sorted rows, not kept up row by row.
    """
    indexes = _make_tables(connection, ALL)
    done = fill(connection, progress)
    for index in indexes:
        connection.execute(index)
    for model in ALL:
        seq = 0 if model.NAME in NOT_LAZY else done
        connection.execute("INSERT OR REPLACE INTO projections VALUES (?, ?, ?)", (model.NAME, model.VERSION, seq))
    return done


def fill(connection: sqlite3.Connection, progress: Progress | None = None) -> int:
    """Take all events into the empty tables of every projection; returns how many there were."""
    total = int(connection.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0])
    replay, run_ids, done = RunsReplay(), dict[bytes, str](), 0
    cursor = connection.execute(f"{_EVENTS} ORDER BY seq")
    with without_collector():
        for rows in _batches(cursor):
            batch = _wanted(rows, run_ids, replay)
            for projection in LAZY:
                types = projection.TYPES
                projection.apply(connection, [one for one in batch if one.type in types])
            done += len(rows)
            if progress is not None:
                progress(done, total)
        for recorded in _hidden_erasures(connection):
            replay.note(recorded)
        HOT.insert(connection, replay.finish().values())
    return done


@contextmanager
def without_collector() -> Iterator[None]:
    """No collection of cycles meanwhile, in code that makes none."""
    # All runs are in memory, and the collector of cycles would look at every one of them again and again.
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _wanted(rows: Sequence[Row], run_ids: dict[bytes, str], replay: RunsReplay | None = None) -> list[Recorded]:
    # The events that a lazy projection takes; the run of each, told by `run_ids`, is spelled once.
    batch = []
    for seq, stream, rseq, kind, at, payload in rows:
        run_id = run_ids.get(stream)
        if run_id is None:
            run_id = run_ids[stream] = id_text(stream)
        if kind in _DECODED or (replay is not None and kind in TYPES):
            recorded = Recorded.stored(seq, run_id, rseq, kind, at, payload)
            if kind in _DECODED:
                batch.append(recorded)
            if replay is not None:
                replay.take(recorded)
        elif replay is not None and run_id in replay.states:
            replay.states[run_id].head = rseq
    return batch


def fill_runs(connection: sqlite3.Connection) -> None:
    """Make the empty table of runs from all events."""
    rows = connection.execute(f"{_EVENTS} ORDER BY seq")
    HOT.insert(connection, replayed_runs(rows, _hidden_erasures(connection)).values())


def _hidden_erasures(connection: sqlite3.Connection) -> list[Recorded]:
    # Where the past is looked at, later events are hidden; what they erased is gone from earlier ones all the same.
    rows = connection.execute(
        "SELECT seq, stream, rseq, type, ts, payload FROM main.events WHERE type = 'payload.erased'"
        " AND seq > (SELECT coalesce(max(seq), 0) FROM events)"
    )
    return [
        Recorded.stored(seq, id_text(stream), rseq, kind, at, payload) for seq, stream, rseq, kind, at, payload in rows
    ]


def make_current(connection: sqlite3.Connection) -> None:
    """Make the projections whose stored version is not this onrecord's, or that are not there, anew.

    They are empty afterwards and catch up when they are read, all but the hot one.
    """
    stored = dict(connection.execute("SELECT name, version FROM projections").fetchall())
    stale = [model for model in ALL if stored.get(model.NAME) != model.VERSION]
    indexes = _make_tables(connection, stale)
    if HOT in stale:
        fill_runs(connection)
    for index in indexes:
        connection.execute(index)
    values = [(model.NAME, model.VERSION) for model in stale]
    connection.executemany("INSERT OR REPLACE INTO projections VALUES (?, ?, 0)", values)


def _make_tables(connection: sqlite3.Connection, models: Iterable[Tables]) -> list[str]:
    # New, empty tables; the statements that make their indexes are left to the caller.
    indexes = []
    for model in models:
        for table in model.TABLES:
            connection.execute(f"DROP TABLE IF EXISTS {table}")
        for statement in statements(model.SCHEMA):
            if statement.startswith(INDEX):
                indexes.append(statement)
            else:
                connection.execute(statement)
    return indexes


def run_script(connection: sqlite3.Connection, script: str) -> None:
    """Run statements inside the caller's transaction, which executescript() would commit half-way."""
    for statement in statements(script):
        connection.execute(statement)


def statements(script: str) -> Iterator[str]:
    """The statements of a script, of which none ends in the middle of a line."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement.strip()
            statement = ""


def replayed_runs(rows: Iterable[Row], later: Iterable[Recorded] = ()) -> dict[str, RunState]:
    """Every run as all its events make it, by id; `later` ones have erased some of them."""
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
    for recorded in later:
        replay.note(recorded)
    return replay.finish()
