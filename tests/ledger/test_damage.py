"""A file whose bytes are not what SQLite wrote: every answer is a finding or LedgerDamaged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from make_ledger import finished_run, journal, raw, run_id, submitted

from onrecord.ledger.audit import audit
from onrecord.ledger.errors import LedgerDamaged
from onrecord.ledger.ids import decode


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """A ledger at rest with two runs, events 1 to 8 and 9 to 16."""
    with journal(tmp_path) as book:
        finished_run(book, 1)
        finished_run(book, 2)
        book.catch_up()
    return tmp_path / "ledger.db"


def change_schema(path: Path, name: str, before: str, after: str) -> None:
    """Another text for a table or trigger, without SQLite looking at it."""
    connection = raw(path)
    connection.execute("PRAGMA writable_schema = 1")
    connection.execute("UPDATE sqlite_master SET sql = replace(sql, ?, ?) WHERE name = ?", (before, after, name))
    assert connection.execute("SELECT changes()").fetchone() == (1,)
    connection.close()


def problems_of(path: Path) -> dict[str, str]:
    with journal(path.parent) as book:
        return {finding.where: finding.problem for finding in audit(book).findings}


def test_a_trigger_with_another_text_is_found(path: Path) -> None:
    change_schema(path, "events_are_never_deleted", "cannot be deleted", "may be deleted")
    assert problems_of(path) == {"the database file": "events_are_never_deleted is not as onrecord made it"}


def test_an_index_that_has_lost_an_event_is_found(path: Path) -> None:
    content = bytearray(path.read_bytes())
    stream = decode(run_id(1))
    leaves = [page for page in range(0, len(content), 4096) if content[page] == 0x0A]
    found = [page for page in leaves if stream in content[page : page + 4096]]
    at = content.index(stream, found[0])
    content[at + 15] ^= 1
    path.write_bytes(content)
    with journal(path.parent) as book:
        assert len(list(book.read(run_id(1)))) < 8, "nobody would miss it"
    assert "events_stream" in problems_of(path)["the database file"]


OTHER_KINDS = [
    ("payload", "'text'"),
    ("payload", "7"),
    ("stream", "7"),
    ("stream", "'text'"),
    ("rseq", "'text'"),
    ("rseq", "2.5"),
    ("ts", "'text'"),
    ("pcommit", "1"),
    ("leaf", "1.5"),
    ("leaf", "'text'"),
    ("salt", "''"),
]


@pytest.mark.parametrize(("column", "value"), OTHER_KINDS)
def test_a_field_of_another_kind_is_found(path: Path, column: str, value: str) -> None:
    connection = raw(path)
    triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    connection.close()
    change_schema(path, "events", ") STRICT", ")")
    connection = raw(path)
    connection.execute("PRAGMA ignore_check_constraints = 1")
    connection.execute(f"UPDATE events SET {column} = {value} WHERE seq = 3")  # noqa: S608
    for _, sql in triggers:
        connection.execute(sql)
    connection.close()
    change_schema(path, "events", ")\n)", ")\n) STRICT")
    assert problems_of(path) == {"event 3": "its fields are not of the kind that was written"}


def test_a_column_with_another_name_is_damage(path: Path) -> None:
    change_schema(path, "runs", "run_type", "run_tipe")
    with journal(path.parent) as book, pytest.raises(LedgerDamaged, match="not those of a ledger"):
        audit(book)


def test_a_table_that_is_needed_to_open_and_has_another_name_is_damage(path: Path) -> None:
    connection = raw(path)
    connection.execute("ALTER TABLE projections RENAME TO projektions")
    connection.close()
    with journal(path.parent) as book, pytest.raises(LedgerDamaged, match="not those of a ledger"):
        book.size()


def test_text_that_is_not_utf_8_is_damage(path: Path) -> None:
    connection = raw(path)
    connection.execute("UPDATE runs SET name = CAST(x'61ff' AS TEXT)")
    connection.close()
    with journal(path.parent) as book:
        with pytest.raises(LedgerDamaged, match="not UTF-8"):
            audit(book)
        assert book.append(run_id(), [submitted()]).seq == 17


def test_a_schema_that_is_not_utf_8_is_damage(path: Path) -> None:
    connection = raw(path)
    connection.execute("PRAGMA writable_schema = 1")
    connection.execute("UPDATE sqlite_master SET sql = CAST(x'43524541544520ff' AS TEXT) WHERE name = 'tags'")
    connection.close()
    with journal(path.parent) as book, pytest.raises(LedgerDamaged, match=r"UTF-8|malformed"):
        audit(book)
