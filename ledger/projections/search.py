"""The words of every run: name, experiment, script, tags, how it went wrong, what people wrote about it.

A full-text index (FTS5) where this SQLite has one, else a plain table of the same columns that is searched
with LIKE; which of the two a ledger has is decided when the table is made.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from onrecord.ledger import events
from onrecord.ledger.recorded import Recorded
from onrecord.ledger.schema import PROJECTION_VERSIONS
from onrecord.ledger.text import storable

NAME = "search"
VERSION = PROJECTION_VERSIONS[NAME]
TABLES: tuple[str, ...] = ("search",)
TYPES = frozenset(
    {"run.submitted", "run.tagged", "run.failed", "run.canceled", "run.renamed", "run.described", "run.noted"}
)
COLUMNS = ("name", "experiment", "script", "tags", "error", "description", "notes")
FULL_TEXT = """
CREATE VIRTUAL TABLE search USING fts5(run_id UNINDEXED, name, experiment, script, tags, error, description, notes);
"""
PLAIN = """
CREATE TABLE search(
    run_id TEXT, name TEXT, experiment TEXT, script TEXT, tags TEXT, error TEXT, description TEXT, notes TEXT
) STRICT;
"""
# Of a traceback the end tells most, and a script can fail with megabytes of it.
LONGEST_ERROR = 20_000
_NAMES, _MARKS = ", ".join(COLUMNS), ", ".join("?" * len(COLUMNS))
_spelled = json.JSONEncoder(ensure_ascii=False).encode


def _has_full_text() -> bool:
    connection = sqlite3.connect(":memory:")
    try:
        return bool(connection.execute("SELECT sqlite_compileoption_used('ENABLE_FTS5')").fetchone()[0])
    finally:
        connection.close()


SCHEMA = FULL_TEXT if _has_full_text() else PLAIN


class _Words:
    """What one run says, and whether the table has it."""

    __slots__ = ("description", "error", "experiment", "name", "notes", "rowid", "script", "tags")

    def __init__(
        self,
        rowid: int,
        name: str,
        experiment: str,
        script: str,
        tags: dict[str, str],
        error: str = "",
        description: str = "",
        notes: str = "",
    ) -> None:
        self.rowid = rowid
        self.name = name
        self.experiment = experiment
        self.script = script
        self.tags = tags
        self.error = error
        self.description = description
        self.notes = notes

    def take(self, event: events.AnyEvent) -> None:
        """Go one event on."""
        if isinstance(event, events.RunTagged):
            self.tags.update(event.tags)
            for name in event.removed:
                # As in the table of tags: removed first, then set.
                if name not in event.tags:
                    self.tags.pop(name, None)
        elif isinstance(event, events.RunFailed):
            self.error = "\n".join(event.error.values())[-LONGEST_ERROR:]
        elif isinstance(event, events.RunCanceled):
            self.error = f"{event.reason}\n{event.message}"
        elif isinstance(event, events.RunRenamed):
            self.name = event.name
        elif isinstance(event, events.RunDescribed):
            self.description = event.description
        elif isinstance(event, events.RunNoted):
            self.notes = f"{self.notes}\n{event.text}" if self.notes else event.text

    def row(self, run_id: str) -> tuple[object, ...]:
        """The row, its number first."""
        tags = _spelled(self.tags) if self.tags else ""
        texts = (self.name, self.experiment, self.script, tags, self.error, self.description, self.notes)
        return (self.rowid, run_id, *map(storable, texts))


def apply(connection: sqlite3.Connection, batch: Sequence[Recorded]) -> None:
    """Take events into the words."""
    new: dict[str, _Words] = {}
    changed: dict[str, _Words] = {}
    for recorded in batch:
        event, run_id = recorded.event, recorded.run_id
        if isinstance(event, events.RunSubmitted):
            script = event.config.get("script")
            new[run_id] = _Words(
                recorded.run, event.name, event.experiment, script if isinstance(script, str) else "",
                dict(event.tags),
            )  # fmt: skip
            continue
        words = new.get(run_id) or changed.get(run_id) or _load(connection, recorded.run)
        if words is not None:
            words.take(event)
            if run_id not in new:
                changed[run_id] = words
    insert = f"INSERT INTO search(rowid, run_id, {_NAMES}) VALUES (?, ?, {_MARKS})"  # noqa: S608
    connection.executemany("DELETE FROM search WHERE rowid = ?", [(words.rowid,) for words in changed.values()])
    connection.executemany(insert, [words.row(run_id) for run_id, words in (*new.items(), *changed.items())])


def forget(connection: sqlite3.Connection, run_id: str) -> None:
    """Take a run out for good: a full-text index keeps the words of deleted rows until its parts are merged."""
    connection.execute("DELETE FROM search WHERE rowid = (SELECT seq FROM runs WHERE run_id = ?)", (run_id,))
    (made,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'search'").fetchone()
    if made.startswith("CREATE VIRTUAL"):
        connection.execute("INSERT INTO search(search) VALUES ('optimize')")


def _load(connection: sqlite3.Connection, run: int) -> _Words | None:
    row = connection.execute(f"SELECT {_NAMES} FROM search WHERE rowid = ?", (run,)).fetchone()  # noqa: S608
    if row is None:
        return None
    name, experiment, script, tags, *rest = row
    return _Words(run, name, experiment, script, json.loads(tags) if tags else {}, *rest)
