"""Read models for a ledger that this user cannot write: temporary tables that hide the stored ones.

The stored tables are as far as the last writer brought them, which may be short of the last event, and
then a reader would see too few tags or points and never know. The same code that fills them for a
writer fills these, in memory, for as long as the connection lives.
"""

from __future__ import annotations

import sqlite3

from onrecord.ledger.projections import ALL, HOT, LAZY, Tables, tree
from onrecord.ledger.replay import INDEX, fill, fill_runs, statements


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
    hidden: list[Tables] = [*LAZY, *(model for model in (HOT, tree) if model in anew)]
    for model in hidden:
        script.append(temporary(model.SCHEMA))
        if model in anew:
            values = f"('{model.NAME}', {model.VERSION}, 0)"
            script.append(f"INSERT OR REPLACE INTO temp.projections VALUES {values};")  # noqa: S608
        else:
            script += [_copy(connection, table) for table in model.TABLES]
    # One transaction, so that the rows and the position beside them are of one moment.
    connection.executescript("BEGIN;" + "".join(script) + "COMMIT;")
    if HOT in anew:
        fill_runs(connection)


def hide_all(connection: sqlite3.Connection, seq: int) -> None:
    """Make every read model anew in memory, and hide the events after `seq`: the ledger as it was after it."""
    for kind, name in connection.execute(
        "SELECT type, name FROM temp.sqlite_master WHERE type IN ('table', 'view')"
        " AND name NOT LIKE 'search~_%' ESCAPE '~'"
    ).fetchall():
        connection.execute(f"DROP {kind} temp.{name}")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("BEGIN")
    connection.execute("CREATE TABLE temp.projections(name TEXT PRIMARY KEY, version INTEGER, seq INTEGER)")
    connection.execute(f"CREATE TEMP VIEW events AS SELECT * FROM main.events WHERE seq <= {int(seq)}")  # noqa: S608
    script = [statement for model in (HOT, *LAZY) for statement in statements(temporary(model.SCHEMA))]
    # The indexes last: sorted rows go into them in a fraction of the time.
    for statement in script:
        if not statement.startswith(INDEX):
            connection.execute(statement)
    events = fill(connection)
    for statement in script:
        if statement.startswith(INDEX):
            connection.execute(statement)
    values = [(model.NAME, model.VERSION, 0 if model is HOT else events) for model in (HOT, *LAZY)]
    connection.executemany("INSERT INTO temp.projections VALUES (?, ?, ?)", values)
    connection.execute("COMMIT")


def temporary(schema: str) -> str:
    """The statements of a read model's schema for tables that live as long as the connection."""
    return (
        schema.replace("CREATE TABLE ", "CREATE TABLE temp.")
        .replace("CREATE VIEW ", "CREATE VIEW temp.")
        .replace("CREATE VIRTUAL TABLE ", "CREATE VIRTUAL TABLE temp.")
        .replace("INDEX ", "INDEX temp.")
    )


def _copy(connection: sqlite3.Connection, table: str) -> str:
    names = [name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?, 'main')", (table,))]
    if table == "search":
        # Its rows are found by their number, which `*` does not give.
        names.insert(0, "rowid")
    columns = ", ".join(names)
    return f"INSERT INTO temp.{table}({columns}) SELECT {columns} FROM main.{table};"  # noqa: S608
