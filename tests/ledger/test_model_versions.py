"""Read models of another version are made again from the events."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from make_ledger import finished_run, journal

from onrecord.ledger.projections import ALL
from onrecord.ledger.query import Query
from onrecord.ledger.schema import PROJECTION_VERSIONS


def pretend_older(folder: Path, name: str) -> None:
    """Leave the read model as a version 0 of it could have: marked so, and with other columns."""
    tables = next(model for model in ALL if name == model.NAME).TABLES
    with sqlite3.connect(folder / "ledger.db") as connection:
        if not tables:
            connection.executescript("DROP VIEW runs_readable; CREATE VIEW runs_readable AS SELECT 'odd'")
        for table in tables[:1]:
            connection.execute(f"DROP TABLE {table}")
            connection.execute(f"CREATE TABLE {table}(odd TEXT)")
        connection.execute("UPDATE projections SET version = 0 WHERE name = ?", (name,))
    connection.close()


def answers(folder: Path) -> object:
    with journal(folder) as book:
        query = Query(book)
        (run,) = query.runs()
        book.catch_up()
        readable = (
            book.fetch("SELECT run_id FROM main.runs_readable") if not book.database.read_only else [(run.run_id,)]
        )
        others = [book.fetch(f"SELECT * FROM {table}") for table in ("params", "families", "search", "metrics")]  # noqa: S608
        return (
            *(run, query.tags(), query.properties(), query.files(run.run_id), query.metrics(run.run_id)),
            *(readable, others),
        )


def test_the_versions_that_are_looked_at_are_those_of_the_modules() -> None:
    assert {model.NAME: model.VERSION for model in ALL} == PROJECTION_VERSIONS


@pytest.mark.parametrize("name", PROJECTION_VERSIONS)
def test_a_read_model_of_another_version_is_dropped_and_made_again(tmp_path: Path, name: str) -> None:
    with journal(tmp_path) as book:
        finished_run(book)
    before = answers(tmp_path)
    pretend_older(tmp_path, name)
    assert answers(tmp_path) == before
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        assert dict(connection.execute("SELECT name, version FROM projections")) == PROJECTION_VERSIONS
    connection.close()


def test_a_read_model_that_the_file_does_not_have_is_added(tmp_path: Path) -> None:
    with journal(tmp_path) as book:
        finished_run(book)
    before = answers(tmp_path)
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        connection.executescript("DROP TABLE files; DELETE FROM projections WHERE name = 'files';")
    connection.close()
    assert answers(tmp_path) == before
