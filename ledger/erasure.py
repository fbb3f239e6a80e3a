"""Erasing what a run's events say: the payloads go, their commitments and with them every proof stay.

What is erased: every payload of the run but those that hold no content and that its proofs need: seals, where it was
imported from, when it was archived, and earlier erasures. What the read models took from it goes in the same
transaction. `scrub` then sees to it that no copy is left in the files of the ledger.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from onrecord.ledger.errors import ErasureUnfinished, RunNotEnded, UnknownRun
from onrecord.ledger.events import PayloadErased, RunArchived, RunImported, RunReactivated, RunSealed
from onrecord.ledger.ids import decode as id_bytes
from onrecord.ledger.ids import encode as id_text
from onrecord.ledger.journal import Journal
from onrecord.ledger.projections import LAZY, Projection, runs
from onrecord.ledger.recorded import Recorded
from onrecord.ledger.replay import RunsReplay, make_current
from onrecord.ledger.run_state import RunState
from onrecord.ledger.states import TERMINAL

_KEPT = (RunArchived.type, RunReactivated.type, RunSealed.type, RunImported.type, PayloadErased.type)
_PAUSE_SECONDS = 0.05
# How the tables of a read model name a run, and what that is of a run's id.
_OF_RUN = {"run_id": "?", "run": "(SELECT seq FROM runs WHERE run_id = ?)"}


def erase(
    journal: Journal,
    run_id: str,
    *,
    reason: str = "",
    by: str = "",
    files: bool = False,
    experiment_too: bool = False,
) -> list[int]:
    """Erase the payloads of a run that has ended; returns the places of its events that had one, from 1.

    Empty where nothing was left to erase: then nothing is appended either. Old copies are in the ledger's files
    until `scrub`. Raises UnknownRun, RunNotEnded, and the errors of an append.
    """
    stream = id_bytes(run_id)
    run_id = id_text(stream)
    with journal.writing() as writing:
        connection = writing.connection
        row = _ended_row(connection, run_id)
        kept = _KEPT[:-1] if experiment_too and row.experiment else _KEPT
        versions = _erasable(connection, stream, kept)
        if not versions:
            return []
        connection.execute("PRAGMA secure_delete = ON")
        connection.executemany(
            "UPDATE events SET payload = NULL, salt = NULL WHERE stream = ? AND rseq = ?",
            [(stream, version) for version in versions],
        )
        place = _place(connection, row, experiment_too)
        # All that are gone by now: an earlier erasure may have lost its own list.
        gone = _erased(connection, stream)
        writing.append(run_id, [PayloadErased(versions=gone, reason=reason, by=by, files=files, **place)])
        runs.replace(connection, _replayed(connection, run_id))
        for projection in LAZY:
            _forget(connection, projection, run_id)
    return versions


def scrub(journal: Journal, wait_seconds: float = 10.0) -> None:
    """Write the ledger's file anew from what is left, and empty its log: nothing erased is in either afterwards.

    Costs as much as copying the file, and as much room on the disk for as long as it takes; writers wait meanwhile,
    readers do not. A reader that has the ledger open in the middle of a query keeps the log from being emptied:
    after `wait_seconds` of that, ErasureUnfinished. Raises LedgerFull.
    """
    with journal.alone() as database:
        connection = database.writable()
        with database.lock:
            _vacuum(connection, database.path)
        deadline = time.monotonic() + wait_seconds
        while True:
            # The lock is let go between the attempts: writers must not wait for somebody's reader.
            with database.lock:
                if database.empty_log():
                    return
            if time.monotonic() >= deadline:
                raise ErasureUnfinished(
                    f"old copies of what was erased are still in {database.path}-wal",
                    why="another process has been reading the ledger all the time, and what it reads cannot be removed",
                    next_step=f"end it (fuser {database.path} names it), then the same command again",
                    path=database.path,
                    waited=wait_seconds,
                )
            time.sleep(_PAUSE_SECONDS)


def refuse_living(journal: Journal, run_ids: Sequence[str]) -> None:
    """Refuse runs that have not ended, before anything of the others is erased. Raises UnknownRun, RunNotEnded."""
    with journal.alone() as database:
        for run_id in run_ids:
            _ended_row(database.connection, run_id)


def _vacuum(connection: sqlite3.Connection, path: Path) -> None:
    # Freed pages, and the free room inside of others, may hold copies from before `secure_delete` was on.
    try:
        connection.execute("VACUUM")
    except sqlite3.OperationalError as problem:
        if problem.sqlite_errorcode != sqlite3.SQLITE_FULL:
            raise
        raise ErasureUnfinished(
            f"old copies of what was erased may still be in {path}",
            why="writing it anew needs as much room as it takes itself, and the disk is full",
            next_step="free some space, then the same command again",
            path=path,
            waited=0.0,
        ) from problem


def _ended_row(connection: sqlite3.Connection, run_id: str) -> RunState:
    if runs.place(connection, run_id)[1] is None:
        raise UnknownRun(f"there is no run {run_id}", next_step="onrecord ls", run_id=run_id)
    row = runs.load(connection, run_id)
    if row.status not in TERMINAL:
        raise RunNotEnded(
            f"run {row.run_id} is {row.status}: only what has ended can be erased",
            why="its script may still be writing what would be erased",
            next_step=f"onrecord cancel --wait {row.run_id}",
            run_id=row.run_id,
            status=row.status,
        )
    return row


def _erased(connection: sqlite3.Connection, stream: bytes) -> list[int]:
    rows = connection.execute("SELECT rseq FROM events WHERE stream = ? AND payload IS NULL ORDER BY rseq", (stream,))
    return [version for (version,) in rows]


def _erasable(connection: sqlite3.Connection, stream: bytes, kept: Sequence[str]) -> list[int]:
    marks = ", ".join("?" * len(kept))
    rows = connection.execute(
        f"SELECT rseq FROM events WHERE stream = ? AND payload IS NOT NULL AND type NOT IN ({marks}) ORDER BY rseq",  # noqa: S608
        (stream, *kept),
    )
    return [version for (version,) in rows]


def _place(connection: sqlite3.Connection, row: RunState, experiment_too: bool) -> dict[str, Any]:
    if row.experiment and not experiment_too:
        return {"experiment": row.experiment, "number": row.number}
    if row.number < 0:
        return {}
    # The run leaves its experiment. Numbers are counted from the events: the next run is told its own, from which
    # those behind it follow.
    following = connection.execute(
        "SELECT run_id, number FROM runs WHERE experiment = ? AND number > ? ORDER BY number LIMIT 1",
        (row.experiment, row.number),
    )
    return {"numbers": dict(following.fetchall())}


def _replayed(connection: sqlite3.Connection, run_id: str) -> RunState:
    """The run's row from its own events alone, by the same fold that makes all rows again."""
    replay = RunsReplay()
    rows = connection.execute(
        "SELECT seq, rseq, type, ts, payload FROM events WHERE stream = ? ORDER BY rseq", (id_bytes(run_id),)
    )
    for seq, version, kind, at, payload in rows:
        replay.take(Recorded.stored(seq, run_id, version, kind, at, payload))
    return replay.finish()[run_id]


def _forget(connection: sqlite3.Connection, projection: Projection, run_id: str) -> None:
    """Take a run out of a read model: as the model does it, row by row, or by having it made again."""
    forget = getattr(projection, "forget", None)
    if forget is not None:
        forget(connection, run_id)
        return
    for table in projection.TABLES:
        columns = {name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))}
        if columns.isdisjoint(_OF_RUN) or _is_virtual(connection, table):
            connection.execute("UPDATE projections SET version = -1 WHERE name = ?", (projection.NAME,))
            make_current(connection)
            return
        for column in columns.intersection(_OF_RUN):
            connection.execute(f"DELETE FROM {table} WHERE {column} = {_OF_RUN[column]}", (run_id,))  # noqa: S608


def _is_virtual(connection: sqlite3.Connection, table: str) -> bool:
    sql = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0]
    return str(sql).upper().startswith("CREATE VIRTUAL")
