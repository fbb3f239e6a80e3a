"""Fill the projections from the events. The caller holds a transaction."""

from __future__ import annotations

import gc
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from onrecord.ledger.erasures import Erasures
from onrecord.ledger.ids import encode as id_text
from onrecord.ledger.projections import ALL, HOT, LAZY, Projection, Tables
from onrecord.ledger.recorded import Recorded
from onrecord.ledger.run_state import SAYING, RunState
from onrecord.ledger.schema import NOT_LAZY
from onrecord.ledger.states import TABLE

Progress = Callable[[int, int], None]
Row = tuple[int, bytes, int, str, int, bytes | None]

_VIEW = re.compile(r"CREATE VIEW (\w+)")
INDEX = ("CREATE INDEX", "CREATE UNIQUE INDEX")
_BATCH = 10_000
_PLACING = ("payload.erased", "run.imported")
# Chunks of points are large: no more of them at a time than memory has room for.
_BATCH_BYTES = 16 * 1024 * 1024
_EVENTS = "SELECT seq, stream, rseq, type, ts, payload FROM events"


class RunsReplay:
    """The table of runs as the events make it, in memory; whole once `finish` was called.

    >>> RunsReplay().finish()
    {}
    """

    def __init__(self) -> None:
        self.states: dict[str, RunState] = {}
        self._numbers: dict[str, int] = {}
        self._erasures = Erasures()

    def count(self, run_id: str, head: int, kind: str) -> None:
        """Go on to an event, the run's `head`th, of which nothing more is known than its type, or need be."""
        state = self.states.get(run_id)
        if state is not None:
            state.head = head
            state.status = TABLE.get((state.status, kind), state.status)

    def take(self, recorded: Recorded) -> None:
        """Go one event on. One of a run that was never submitted has no row; the audit names it."""
        if recorded.type == "run.submitted":
            self.states[recorded.run_id] = RunState.submitted(recorded, self._next_number)
            return
        state = self.states.get(recorded.run_id)
        if state is not None:
            state.take(recorded)
            if recorded.type in _PLACING:
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


class Sorter:
    """Sorts events into what each read model takes of them, and gives them to it."""

    def __init__(self, connection: sqlite3.Connection, models: Sequence[Projection] | None = None) -> None:
        self._connection = connection
        # Of each run the `seq` of its first event, and its id.
        self._runs: dict[bytes, tuple[int, str]] = {}
        models = LAZY if models is None else models
        self._batches: list[tuple[Projection, list[Recorded]]] = [(model, []) for model in models]
        self._takers = {
            kind: tuple(batch.append for model, batch in self._batches if kind in model.TYPES)
            for kind in {kind for model in models for kind in model.TYPES}
        }

    def sort(self, rows: Iterable[Row], replay: RunsReplay | None = None) -> int | None:
        """Take the next events, in the order of `seq`; the last one's, None after the end.

        `replay` gets those that the table of runs is made of.
        """
        runs, takers, kinds = self._runs, self._takers, SAYING if replay is not None else frozenset()
        reached, room, left = None, _BATCH_BYTES, _BATCH
        for seq, stream, rseq, kind, at, payload in rows:
            run, run_id = runs.get(stream) or self._first(stream, seq, rseq)
            appends = takers.get(kind, ())
            if appends or kind in kinds:
                recorded = Recorded(seq, run_id, rseq, kind, at, None, payload, run)
                for append in appends:
                    append(recorded)
                if replay is not None:
                    replay.take(recorded)
                room -= len(payload or b"")
            elif replay is not None:
                replay.count(run_id, rseq, kind)
            reached, left = seq, left - 1
            if left <= 0 or room <= 0:
                break
        return reached

    def give(self, positions: Mapping[str, int] | None = None) -> None:
        """Let each read model take what was sorted for it; of what is up to its position, it has all already."""
        for model, batch in self._batches:
            position = positions[model.NAME] if positions else 0
            model.apply(self._connection, [one for one in batch if one.seq > position] if position else batch)
            batch.clear()

    def _first(self, stream: bytes, seq: int, rseq: int) -> tuple[int, str]:
        if rseq != 1:
            sql = "SELECT seq FROM events WHERE stream = ? ORDER BY rseq LIMIT 1"
            seq = self._connection.execute(sql, (stream,)).fetchone()[0]
        found = self._runs[stream] = seq, id_text(stream)
        return found


def project_batch(connection: sqlite3.Connection) -> bool:
    """Bring the lazy projections up to 10,000 events forward; whether there may be more."""
    positions = dict(connection.execute("SELECT name, seq FROM projections").fetchall())
    start = min(positions[projection.NAME] for projection in LAZY)
    sorter, cursor = Sorter(connection), connection.execute(f"{_EVENTS} WHERE seq > ? ORDER BY seq", (start,))
    reached = sorter.sort(cursor)
    cursor.close()
    if reached is None:
        return False
    sorter.give({projection.NAME: positions[projection.NAME] for projection in LAZY})
    connection.execute("UPDATE projections SET seq = max(seq, ?) WHERE name NOT IN (?, ?)", (reached, *NOT_LAZY))
    return bool(connection.execute("SELECT max(seq) > ? FROM events", (reached,)).fetchone()[0])


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
    replay, sorter, done = RunsReplay(), Sorter(connection), 0
    cursor = connection.execute(f"{_EVENTS} ORDER BY seq")
    with without_collector():
        while (reached := sorter.sort(cursor, replay)) is not None:
            sorter.give()
            done = reached
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


def fill_runs(connection: sqlite3.Connection) -> None:
    """Make the empty table of runs from all events."""
    replay, sorter, cursor = RunsReplay(), Sorter(connection, ()), connection.execute(f"{_EVENTS} ORDER BY seq")
    while sorter.sort(cursor, replay) is not None:
        pass
    for recorded in _hidden_erasures(connection):
        replay.note(recorded)
    HOT.insert(connection, replay.finish().values())


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
        for name in (*model.TABLES, *_VIEW.findall(model.SCHEMA)):
            _drop(connection, name)
        for statement in statements(model.SCHEMA):
            if statement.startswith(INDEX):
                indexes.append(statement)
            else:
                connection.execute(statement)
    return indexes


def _drop(connection: sqlite3.Connection, name: str) -> None:
    # What is a view now may have been a table.
    for (kind,) in connection.execute("SELECT type FROM main.sqlite_master WHERE name = ?", (name,)).fetchall():
        connection.execute(f"DROP {kind} {name}")


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
