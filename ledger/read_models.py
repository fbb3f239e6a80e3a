"""The read models that catch up, compared with what the events make of them.

Each is made again in temporary tables by the code that fills it, up to its stored position, and SQLite
compares the tables. A connection of its own does it, in one transaction: all of one moment.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from onrecord.ledger.ids import encode as id_text
from onrecord.ledger.journal import Journal
from onrecord.ledger.projections import LAZY, Projection
from onrecord.ledger.replay import Sorter, run_script
from onrecord.ledger.shadow import temporary

# Of one table: a read model that went wrong as a whole need not be listed row by row.
_MOST = 20


def differences(journal: Journal) -> Iterator[tuple[str, str]]:
    """(where, problem) for every row that is missing, made up or changed, at most 20 of each table."""
    with journal.reader() as connection:
        found = list(_differences(connection))
    yield from found


def _differences(connection: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    stored = {name: (version, seq) for name, version, seq in connection.execute("SELECT * FROM projections")}
    # One that another version made is made anew when the ledger is next opened for writing.
    current = [projection for projection in LAZY if stored.get(projection.NAME, (None, 0))[0] == projection.VERSION]
    for projection in current:
        run_script(connection, temporary(projection.SCHEMA))
        _replay(connection, projection, stored[projection.NAME][1])
    for projection in current:
        for table in projection.TABLES:
            yield from _compare(connection, table)


def _replay(connection: sqlite3.Connection, projection: Projection, last: int) -> None:
    marks = ", ".join("?" * len(projection.TYPES))
    rows = connection.execute(
        f"SELECT seq, stream, rseq, type, ts, payload FROM events WHERE seq <= ? AND type IN ({marks})"  # noqa: S608
        " ORDER BY seq",
        (last, *projection.TYPES),
    )
    sorter = Sorter(connection, [projection])
    while sorter.sort(rows) is not None:
        sorter.give()


def _compare(connection: sqlite3.Connection, table: str) -> Iterator[tuple[str, str]]:
    info = connection.execute(f"PRAGMA main.table_info({table})").fetchall()
    # The words of a run are in a table without a key; their run comes first.
    keys = {row[1] for row in info if row[5]} or {info[0][1]}
    names = [row[1] for row in info]
    for one, other, says in (
        ("main", "temp", "the events say otherwise"),
        ("temp", "main", "the events say so, and it is missing"),
    ):
        rows = connection.execute(
            f"SELECT * FROM {one}.{table} EXCEPT SELECT * FROM {other}.{table} LIMIT {_MOST}"  # noqa: S608
        )
        for row in rows.fetchall():
            words = [
                (name, _run_id(connection, value) if name == "run" else value)
                for name, value in zip(names, row, strict=True)
            ]
            key = ", ".join(str(value) for name, value in words if name in keys)
            rest = ", ".join(f"{name} {value!r}" for name, value in zip(names, row, strict=True) if name not in keys)
            yield f"table {table}, {key}", f"it says {rest}; {says} (onrecord rebuild makes it again)"


def _run_id(connection: sqlite3.Connection, seq: int) -> str:
    """The id of the run whose first event has this number, or the number where there is none."""
    row = connection.execute("SELECT stream FROM events WHERE seq = ?", (seq,)).fetchone()
    return id_text(row[0]) if row else str(seq)
