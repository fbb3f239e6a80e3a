"""Read models for a ledger that this user cannot write: temporary tables that hide the stored ones.

The stored tables are as far as the last writer brought them, which may be short of the last event, and
then a reader would see too few tags or points and never know. The same code that fills them for a
writer fills these, in memory, for as long as the connection lives.
"""

from __future__ import annotations

import sqlite3

from onrecord.ledger.projections import LAZY


def hide_stored(connection: sqlite3.Connection) -> None:
    """Make the temporary tables, each a copy of the stored one; an unqualified name then means them."""
    if connection.execute("SELECT 1 FROM temp.sqlite_master WHERE name = 'projections'").fetchone():
        return
    connection.execute("PRAGMA temp_store = MEMORY")
    script = ["CREATE TEMP TABLE projections AS SELECT * FROM main.projections;"]
    for projection in LAZY:
        script.append(projection.SCHEMA.replace("CREATE TABLE", "CREATE TEMP TABLE"))
        script += [f"INSERT INTO temp.{table} SELECT * FROM main.{table};" for table in projection.TABLES]  # noqa: S608
    # One transaction, so that the rows and the position beside them are of one moment.
    connection.executescript("BEGIN;" + "".join(script) + "COMMIT;")
