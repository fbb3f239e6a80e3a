"""What the file itself refuses, whoever writes to it: plain SQLite, without this library."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest
from make_ledger import finished_run, raw

from onrecord.ledger.audit import audit
from onrecord.ledger.errors import LedgerDamaged
from onrecord.ledger.events import Erased, RunTagged
from onrecord.ledger.journal import Journal

_COPY = "SELECT {seq}, stream, {rseq}, type, ts, salt, payload, pcommit, leaf FROM events WHERE seq = 2"


@pytest.fixture
def file(book: Journal) -> Iterator[sqlite3.Connection]:
    """A ledger with one finished run, opened by another program."""
    finished_run(book)
    connection = raw(book.database.path)
    yield connection
    connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM events",
        "DELETE FROM events WHERE seq = 8",
        "UPDATE events SET type = 'run.failed' WHERE seq = 7",
        "UPDATE events SET ts = ts + 1",
        "UPDATE events SET payload = x'00' WHERE seq = 2",
        "UPDATE events SET payload = NULL WHERE seq = 2",
        "UPDATE events SET salt = NULL WHERE seq = 2",
        "UPDATE events SET salt = NULL, payload = NULL, ts = 0 WHERE seq = 2",
        "UPDATE events SET salt = NULL, payload = NULL, leaf = pcommit WHERE seq = 2",
        "UPDATE events SET seq = 100 WHERE seq = 8",
        "INSERT OR REPLACE INTO events " + _COPY.format(seq="seq", rseq="rseq"),
        "INSERT INTO events " + _COPY.format(seq=8, rseq=9),
        "INSERT INTO events " + _COPY.format(seq=10, rseq=9),
        "INSERT INTO events " + _COPY.format(seq=9, rseq=10),
        "INSERT INTO events " + _COPY.format(seq=9, rseq=8),
        "INSERT INTO events " + _COPY.format(seq=9, rseq=0),
        "INSERT OR REPLACE INTO events " + _COPY.format(seq=9, rseq=2),
        "INSERT INTO events " + _COPY.format(seq="NULL", rseq=9),
        "REPLACE INTO events " + _COPY.format(seq=-1, rseq=9),
    ],
)
def test_history_cannot_be_changed(book: Journal, file: sqlite3.Connection, statement: str) -> None:
    before = audit(book)
    with pytest.raises(sqlite3.IntegrityError, match="events are append-only"):
        file.execute(statement)
    assert audit(book) == before and not before.findings


def test_the_next_event_of_a_stream_can_be_inserted(file: sqlite3.Connection) -> None:
    file.execute("INSERT INTO events " + _COPY.format(seq=9, rseq=9))


def test_a_stream_of_another_length_and_a_short_hash_are_refused(file: sqlite3.Connection) -> None:
    for columns in ("9, x'00', 1, 'x', 0, NULL, NULL, zeroblob(32), zeroblob(32)",
                    "9, zeroblob(16), 1, 'x', 0, NULL, NULL, zeroblob(31), zeroblob(32)",
                    "9, zeroblob(16), 1, 'x', 0, NULL, NULL, zeroblob(32), zeroblob(33)"):  # fmt: skip
        with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
            file.execute(f"INSERT INTO events VALUES ({columns})")  # noqa: S608


def test_a_payload_and_its_salt_can_be_erased_together_and_the_proof_stays(
    book: Journal, file: sqlite3.Connection
) -> None:
    root = audit(book).root
    file.execute("UPDATE events SET payload = NULL, salt = NULL WHERE seq = 6")
    assert [type(recorded.event) for recorded in book.read()][5] is Erased
    book.rebuild()
    after = audit(book)
    assert (after.root, after.erased) == (root, 1)
    # Whoever does so by hand leaves no word of it, and is found out.
    assert [(each.where, "says that it was erased" in each.problem) for each in after.findings] == [("event 6", True)]
    with pytest.raises(sqlite3.IntegrityError):
        file.execute("UPDATE events SET payload = x'00', salt = zeroblob(16) WHERE seq = 6")


def test_an_append_to_a_run_whose_row_was_falsified_is_refused_as_damage(
    book: Journal, file: sqlite3.Connection
) -> None:
    file.execute("UPDATE runs SET head = 3")
    (run,) = {recorded.run_id for recorded in book.read()}
    size = book.size()
    with pytest.raises(LedgerDamaged, match="does not agree with itself"):
        book.append(run, [RunTagged(tags={"late": "1"})])
    assert book.size() == size
    book.rebuild()
    assert book.append(run, [RunTagged(tags={"late": "1"})]).head == size + 1
