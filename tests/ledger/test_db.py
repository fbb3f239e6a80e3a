"""Files that are not ours, not ours alone, or no longer there."""

from __future__ import annotations

import os
import pickle
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from make_ledger import finished_run, journal, raw, run_id, submitted

from onrecord.ledger import problems
from onrecord.ledger.audit import audit
from onrecord.ledger.errors import (
    LedgerBusy,
    LedgerDamaged,
    LedgerError,
    LedgerFull,
    LedgerLost,
    LedgerReadOnly,
    NewerLedger,
    NotALedger,
)
from onrecord.ledger.events import RunTagged
from onrecord.ledger.journal import Journal
from onrecord.ledger.query import Query


def test_a_ledger_of_a_later_version_is_read_and_not_written(tmp_path: Path) -> None:
    with journal(tmp_path) as book:
        run = finished_run(book)
    connection = raw(tmp_path / "ledger.db")
    connection.execute("PRAGMA user_version = 7")
    connection.close()
    content = (tmp_path / "ledger.db").read_bytes()
    with journal(tmp_path) as book:
        assert len(list(book.read())) == 8
        assert Query(book).run(run).status == "Completed"
        assert audit(book).findings == []
        book.catch_up()
        for write in (lambda: book.append(run, [RunTagged()]), book.rebuild):
            with pytest.raises(NewerLedger) as refusal:
                write()
            assert (refusal.value.found, refusal.value.known) == (7, 1)
        assert book.size() == 8
    assert (tmp_path / "ledger.db").read_bytes() == content


def test_a_later_schema_without_our_tables_is_explained_as_such(tmp_path: Path) -> None:
    with journal(tmp_path) as book:
        finished_run(book)
    connection = raw(tmp_path / "ledger.db")
    connection.executescript("PRAGMA user_version = 2; DROP TABLE runs; DROP TABLE projections;")
    connection.close()
    with journal(tmp_path) as book:
        assert len(list(book.read())) == 8
        with pytest.raises(NewerLedger):
            Query(book).runs()


def _text(path: Path) -> None:
    path.write_text("SELECT a line, of no database at all;\n" * 50)


def _foreign(path: Path) -> None:
    connection = raw(path)
    connection.executescript("CREATE TABLE t(x); INSERT INTO t VALUES (1)")
    connection.close()


def _foreign_with_an_application(path: Path) -> None:
    connection = raw(path)
    connection.executescript("PRAGMA application_id = 7; CREATE TABLE t(x)")
    connection.close()


def _foreign_without_a_table(path: Path) -> None:
    connection = raw(path)
    connection.execute("PRAGMA user_version = 3")
    connection.close()


@pytest.mark.parametrize("make", [_text, _foreign, _foreign_with_an_application, _foreign_without_a_table])
def test_a_file_of_another_program_is_left_alone(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "ledger.db"
    make(path)
    content = path.read_bytes()
    for use in (Journal.size, lambda book: book.append(run_id(), [submitted()]), Journal.catch_up, Journal.rebuild):
        with journal(tmp_path) as book, pytest.raises(NotALedger) as refusal:
            use(book)
        assert refusal.value.path == path
    assert path.read_bytes() == content
    assert sorted(tmp_path.iterdir()) == [path]


def test_a_folder_and_a_path_that_leads_nowhere_are_no_ledgers(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").mkdir()
    for folder in (tmp_path, tmp_path / "nowhere"):
        with journal(folder) as book, pytest.raises(NotALedger):
            book.size()
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_that_appears_after_a_first_try_is_used(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    with journal(folder) as book:
        with pytest.raises(NotALedger):
            book.size()
        folder.mkdir()
        finished_run(book)
        assert audit(book).findings == []


def test_an_empty_file_becomes_a_ledger(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").touch()
    with journal(tmp_path) as book:
        finished_run(book)
        assert audit(book).findings == []


def test_a_relative_path_means_the_same_file_after_a_change_of_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with Journal(Path("ledger.db")) as book:
        run = finished_run(book)
        monkeypatch.chdir("elsewhere")
        book.append(run, [RunTagged()])
        book.close()
        assert book.size() == 9


def _unlink(*endings: str) -> Callable[[Path], None]:
    def remove(path: Path) -> None:
        for ending in endings:
            Path(f"{path}{ending}").unlink()

    return remove


def _replace(path: Path) -> None:
    _unlink("", "-wal", "-shm")(path)
    with Journal(path) as other:
        finished_run(other)
        keep.append(other)
        path.stat()


keep: list[Journal] = []


def _move(path: Path) -> None:
    path.parent.rename(path.parent.with_name("moved"))


@pytest.mark.parametrize("synced", [True, False], ids=["after a durable append", "before the first"])
@pytest.mark.parametrize(
    "take_away",
    [_unlink("-wal"), _unlink(""), _unlink("", "-wal", "-shm"), _replace, _move],
    ids=["log removed", "database removed", "all removed", "replaced", "moved"],
)
def test_a_ledger_that_is_taken_away_while_open_is_noticed_by_the_next_durable_append(
    tmp_path: Path, take_away: Callable[[Path], None], synced: bool
) -> None:
    folder = tmp_path / "workspace"
    folder.mkdir()
    with journal(folder) as book:
        run = finished_run(book)
        if not synced:
            book.close()
            assert book.size() == 8
    with journal(folder) as book:
        book.size()
        if synced:
            book.append(run, [RunTagged()])
        take_away(book.database.path)
        for _ in range(2):
            with pytest.raises(LedgerLost) as loss:
                book.append(run, [RunTagged()])
            assert loss.value.path == book.database.path


def test_closing_a_ledger_that_was_replaced_does_not_harm_the_new_one(tmp_path: Path) -> None:
    with journal(tmp_path) as old:
        finished_run(old)
        _unlink("", "-wal", "-shm")(old.database.path)
        with journal(tmp_path) as new:
            run = finished_run(new)
            old.close()
            new.append(run, [RunTagged()])
            assert audit(new).findings == []
    with journal(tmp_path) as again:
        assert again.size() == 9


def test_a_folder_that_comes_back_can_be_written_again(tmp_path: Path) -> None:
    folder = tmp_path / "workspace"
    folder.mkdir()
    with journal(folder) as book:
        run = finished_run(book)
        _move(book.database.path)
        with pytest.raises(LedgerLost):
            book.append(run, [RunTagged()])
        (tmp_path / "moved").rename(folder)
        book.append(run, [RunTagged()])
        assert audit(book).findings == []


def test_a_program_that_holds_the_file_is_named_as_the_reason(book: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    run = finished_run(book)
    monkeypatch.setattr(problems, "BUSY_SECONDS", 0.01)
    book.close()
    other = raw(book.database.path)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerBusy):
        book.append(run, [RunTagged()])
    assert book.size() == 8
    other.close()
    assert book.append(run, [RunTagged()]).head == 9


def test_a_damaged_page_is_reported_as_damage(tmp_path: Path) -> None:
    with journal(tmp_path) as book:
        finished_run(book)
        book.append(run_id(), [submitted(config={"long": "x" * 50_000})])
    path = tmp_path / "ledger.db"
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)
    with journal(tmp_path) as book, pytest.raises(LedgerDamaged):
        audit(book)


def test_a_mistake_in_a_query_is_not_taken_for_damage(book: Journal) -> None:
    finished_run(book)
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        book.fetch("SELECT * FROM the_disk_is_full_and_locked")
    with pytest.raises(sqlite3.OperationalError, match=r"syntax|incomplete"):
        book.fetch("SELECT readonly FROM")
    with pytest.raises(sqlite3.ProgrammingError):
        book.fetch("SELECT ?", ())
    assert book.size() == 8


@pytest.mark.parametrize(
    ("number", "error"),
    [(28, LedgerFull), (122, LedgerFull), (13, LedgerReadOnly), (30, LedgerReadOnly), (5, LedgerDamaged)],
)
def test_what_the_operating_system_says_is_explained(number: int, error: type[LedgerError]) -> None:
    assert type(problems.explained(Path("x"), OSError(number, "why"))) is error


def test_every_error_says_what_to_do_next_and_survives_pickling(book: Journal, tmp_path: Path) -> None:
    found = [
        problems.explained(Path("x"), OSError(28, "why")),
        problems.newer(Path("x"), 9),
        problems.lost(Path("x")),
        problems.unconfirmed(Path("x"), "why"),
    ]
    for error in found:
        assert isinstance(error, LedgerError) and error.next_step
        again = pickle.loads(pickle.dumps(error))  # noqa: S301
        assert (str(again), again.values) == (str(error), error.values)


def test_a_path_with_characters_that_mean_something_in_a_url_is_only_a_path(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"100%? #a&mode=ro \xff")
    folder.mkdir()
    with journal(folder) as book:
        finished_run(book)
    assert (folder / "ledger.db").exists()
    shutil.rmtree(folder)
