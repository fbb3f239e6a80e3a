"""Fill the projections from the events. The caller holds a transaction."""

from __future__ import annotations

import sqlite3

from onrecord.ledger.codec import decode
from onrecord.ledger.ids import encode as id_text
from onrecord.ledger.projections import ALL, HOT, LAZY
from onrecord.ledger.recorded import Recorded

_BATCH = 2000


def project_batch(connection: sqlite3.Connection) -> bool:
    """Bring the lazy projections up to 2,000 events forward; whether there may be more."""
    positions = dict(connection.execute("SELECT name, seq FROM projections").fetchall())
    start = min(positions[projection.NAME] for projection in LAZY)
    rows = connection.execute(
        "SELECT seq, stream, rseq, type, ts, payload FROM events WHERE seq > ? ORDER BY seq LIMIT ?",
        (start, _BATCH),
    ).fetchall()
    for seq, stream, rseq, kind, at, payload in rows:
        recorded = Recorded(seq, id_text(stream), rseq, kind, at, decode(kind, payload))
        for projection in LAZY:
            if seq > positions[projection.NAME]:
                projection.apply(connection, recorded)
    if rows:
        connection.execute("UPDATE projections SET seq = max(seq, ?) WHERE name != ?", (rows[-1][0], HOT.NAME))
    return len(rows) == _BATCH


def drop_and_replay(connection: sqlite3.Connection) -> None:
    """Empty every projection and fill the hot one again; the others catch up when they are read."""
    for projection in ALL:
        for table in projection.TABLES:
            connection.execute(f"DELETE FROM {table}")  # noqa: S608 - our own table names
    connection.execute("UPDATE projections SET seq = 0")
    rows = connection.execute("SELECT seq, stream, rseq, type, ts, payload FROM events ORDER BY seq")
    for seq, stream, rseq, kind, at, payload in rows:
        HOT.apply(connection, Recorded(seq, id_text(stream), rseq, kind, at, decode(kind, payload)))
