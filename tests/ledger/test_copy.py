"""Copies of a ledger that is in use."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from make_ledger import finished_run, journal, metrics, raw, run_id, series, submitted, tables

from onrecord.ledger.audit import audit
from onrecord.ledger.errors import CopyExists, CopyFailed, LedgerDamaged, LedgerReadOnly, NotALedger
from onrecord.ledger.events import RunTagged
from onrecord.ledger.journal import Journal


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_copy_is_a_ledger_with_the_same_history_that_can_be_gone_on_with(book: Journal, tmp_path: Path) -> None:
    run = finished_run(book)
    rows = tables(book)
    (tmp_path / "copy").mkdir()
    book.copy_to(tmp_path / "copy" / "ledger.db")
    assert _names(tmp_path / "copy") == ["ledger.db"]
    with journal(tmp_path / "copy") as copied:
        assert (audit(copied), tables(copied)) == (audit(book), rows)
        copied.append(run, [RunTagged()])
        copied.append(run_id(), [submitted(), metrics()])
        assert audit(copied).findings == []
    assert book.size() == 8


def test_a_copy_opened_only_to_be_read_gets_no_file_beside_it(book: Journal, tmp_path: Path) -> None:
    run = finished_run(book)
    (tmp_path / "copy").mkdir()
    target = tmp_path / "copy" / "kept"
    book.copy_to(target)
    content = target.read_bytes()
    with Journal(target, read_only=True) as copied:
        assert audit(copied) == audit(book)
        assert tables(copied) == tables(book)
        for write in (lambda: copied.append(run, [RunTagged()]), copied.rebuild):
            with pytest.raises(LedgerReadOnly):
                write()
        copied.copy_to(tmp_path / "again")
    assert _names(target.parent) == ["kept"]
    assert target.read_bytes() == content
    with Journal(tmp_path / "again", read_only=True) as again:
        assert audit(again) == audit(book)


def test_each_copy_is_of_one_moment_while_threads_go_on_appending(tmp_path: Path) -> None:
    stop, problems = threading.Event(), list[BaseException]()

    def work() -> None:
        try:
            run = run_id()
            book.append(run, [submitted()])
            while not stop.is_set():
                book.append(run, [RunTagged(tags={"a": "1"}), RunTagged(tags={"a": "2"})])
        except BaseException as problem:
            problems.append(problem)

    with journal(tmp_path) as book:
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        sizes = []
        for number in range(5):
            book.copy_to(tmp_path / f"copy{number}")
            with Journal(tmp_path / f"copy{number}", read_only=True) as copied:
                checked = audit(copied)
                assert checked.findings == []
                # A batch is in it whole or not at all.
                assert all(head % 2 for (head,) in copied.fetch("SELECT head FROM runs"))
                sizes.append(checked.events)
        stop.set()
        for thread in threads:
            thread.join()
        assert problems == [] == audit(book).findings
        assert sizes == sorted(sizes) and sizes[-1] <= book.size()


def test_a_copy_replaces_no_file_and_no_link(book: Journal, tmp_path: Path) -> None:
    finished_run(book)
    (tmp_path / "kept").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("kept", "link", "ledger.db"):
        with pytest.raises(CopyExists) as refusal:
            book.copy_to(tmp_path / name)
        assert refusal.value.path == tmp_path / name
    assert (tmp_path / "kept").read_text() == "precious"
    assert book.size() == 8


def test_a_copy_that_cannot_be_written_leaves_nothing(book: Journal, tmp_path: Path) -> None:
    finished_run(book)
    before = _names(tmp_path)
    for target in (tmp_path / "nowhere" / "copy", tmp_path / "ledger.db" / "copy"):
        with pytest.raises(CopyFailed) as failure:
            book.copy_to(target)
        assert failure.value.path == target and failure.value.next_step
    assert _names(tmp_path) == before


def test_a_damaged_ledger_is_not_copied(tmp_path: Path) -> None:
    with journal(tmp_path) as book:
        for number in range(30):
            book.append(run_id(), [submitted(), metrics(series("noise", tuple(range(500)), "int64"), end=number)])
    path = tmp_path / "ledger.db"
    content = bytearray(path.read_bytes())
    content[40_000:-8192] = b"\xa5" * (len(content) - 48_192)
    path.write_bytes(content)
    with journal(tmp_path) as book, pytest.raises(LedgerDamaged):
        book.copy_to(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_another_programs_file_is_not_copied(tmp_path: Path) -> None:
    raw(tmp_path / "ledger.db").execute("CREATE TABLE t(x)").connection.close()
    with journal(tmp_path) as book, pytest.raises(NotALedger):
        book.copy_to(tmp_path / "copy")
