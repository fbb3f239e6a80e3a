"""Read models for a ledger that this user cannot write: temporary tables that hide the stored ones.

The stored tables are as far as the last writer brought them, which may be short of the last event, and
then a reader would see too few tags or points and never know. The same code that fills them for a
writer fills these, in memory, for as long as the connection lives.
"""

from __future__ import annotations

import sqlite3

from onrecord.ledger.projections import ALL, HOT, LAZY, Tables
from onrecord.ledger.replay import fill_runs


def hide_stored(connection: sqlite3.Connection) -> None:
    """Make the temporary tables, each a copy of the stored one; an unqualified name then means them.

    Those that another version made are not copied but start empty.
    """
    if connection.execute("SELECT 1 FROM temp.sqlite_master WHERE name = 'projections'").fetchone():
        return
    connection.execute("PRAGMA temp_store = MEMORY")
    stored = dict(connection.execute("SELECT name, version FROM main.projections").fetchall())
    script = ["CREATE TEMP TABLE projections(name TEXT PRIMARY KEY, version INTEGER, seq INTEGER);"]
    script.append("INSERT INTO temp.projections SELECT * FROM main.projections;")
    anew = [model for model in ALL if stored.get(model.NAME) != model.VERSION]
    hidden: list[Tables] = [*LAZY, *(model for model in anew if model not in LAZY)]
    for model in hidden:
        script.append(model.SCHEMA.replace("CREATE TABLE", "CREATE TEMP TABLE"))
        if model in anew:
            values = f"('{model.NAME}', {model.VERSION}, 0)"
            script.append(f"INSERT OR REPLACE INTO temp.projections VALUES {values};")  # noqa: S608
        else:
            script += [f"INSERT INTO temp.{table} SELECT * FROM main.{table};" for table in model.TABLES]  # noqa: S608
    # One transaction, so that the rows and the position beside them are of one moment.
    connection.executescript("BEGIN;" + "".join(script) + "COMMIT;")
    if HOT in anew:
        fill_runs(connection)
