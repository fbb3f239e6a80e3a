"""The ledger as it was: every answer is that of a copy which was really made at that moment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from make_ledger import ended_well, in_fork, journal, metrics, run_id, series, submitted, tables
from test_filter_answers import fill

from onrecord.ledger import replay
from onrecord.ledger.errors import BadFilter, LedgerReadOnly
from onrecord.ledger.events import RunTagged
from onrecord.ledger.journal import Journal
from onrecord.ledger.past import PastJournal, seq_of
from onrecord.ledger.query import Query

QUESTIONS = (
    "", "order by metrics.a, tags.b desc", "status = failed or not tags.a exists", "text 'out of memory'",
    "params.a exists order by params.a desc", "created > 2001-01-01 order by name", "descendant of {first}",
)  # fmt: skip


def answers(query: Query, first: str) -> list[object]:
    found: list[object] = [query.search(text.format(first=first), limit=1000) for text in QUESTIONS]
    rows = query.runs()
    runs = [row.run_id for row in rows]
    files = [query.files(run) for run in runs]
    points = [repr(query.metrics(run)) for run in runs]
    return [*found, rows, query.experiments(), query.tags(), query.properties(), query.facts(runs), files, points]


@pytest.mark.parametrize("batch", [11, 10_000])
def test_a_past_ledger_answers_as_a_copy_made_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    monkeypatch.setattr(replay, "_BATCH", batch)
    with journal(tmp_path) as book:
        fill(book)
        first, size = Query(book).runs()[-1].run_id, book.size()
        (tmp_path / "copy").mkdir()
        book.copy_to(tmp_path / "copy" / "ledger.db")
        # What comes later changes runs that were there and adds others.
        late = run_id()
        book.append(late, [submitted(parent=first, tags={"a": "late"}), metrics(series("a", (-5.0,)))])
        for run in (first, late):
            book.append(run, [RunTagged(tags={"a": "changed"}, removed=["b"]), metrics(series("a", (-9.0,)))])
        with journal(tmp_path / "copy") as copy:
            then = answers(Query(copy), first)
            assert answers(Query(book).at(size), first) == then
            assert answers(Query(book), first) != then
            with PastJournal(book.database.path, size) as past:
                made, stored = tables(past), tables(copy)
                # The views for other programs are in the file alone, and so are the nodes for proofs.
                stored["projections"] = [row for row in stored["projections"] if row[0] not in ("views", "tree")]
                assert made == stored
        assert Query(book).search("tags.a = late", as_of=size).rows == []
        assert len(Query(book).search("tags.a = late or tags.a = changed").rows) == 2
        # And nothing of it has got into the ledger.
        assert len(Query(book).runs()) == len(Query(book).at(size).runs()) + 1
        assert book.rebuild() == book.size()


def test_the_past_is_named_by_an_event_or_by_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = [1_000_000_000_000_000, 1_000_000_100_000_000, 1_000_000_050_000_000, 1_000_086_400_000_000]
    clock = iter(moments)
    with Journal(tmp_path / "ledger.db", clock=lambda: next(clock)) as book:
        for _ in moments:
            book.append(run_id(), [submitted()])
        query = Query(book)
        found = {as_of: len(query.at(as_of).runs()) for as_of in (0, 1, 3, 4, 99, -5, "2")}
        assert found == {0: 0, 1: 1, 3: 3, 4: 4, 99: 4, -5: 0, "2": 2}
        # 2001-09-09T01:46:40Z; the third event was recorded by a clock that went back.
        assert seq_of(book, "2001-09-09T01:46:39Z") == 0
        assert seq_of(book, "2001-09-09T01:46:40Z") == 1
        assert seq_of(book, "2001-09-09T01:47:30Z") == 3
        assert seq_of(book, "2001-09-09T02:00:00Z") == 3
        assert seq_of(book, "2020-01-01") == 4
        monkeypatch.setattr("onrecord.ledger.past.microseconds_now", lambda: 1_000_000_060_000_000)
        assert (seq_of(book, "1m ago"), seq_of(book, "2m ago"), seq_of(book, "1s ago")) == (1, 0, 3)
        for text in ("", "yesterday", "7d", "1.5"):
            with pytest.raises(BadFilter, match="neither the number of an event nor a time"):
                query.at(text)


def test_the_past_is_kept_for_the_next_question_and_cannot_be_written(tmp_path: Path) -> None:
    with journal(tmp_path) as book:
        run = run_id()
        book.append(run, [submitted()])
        query = Query(book)
        assert query.at(1) is query.at(1)
        assert query.at(0) is not query.at(1)
        with PastJournal(book.database.path, 1) as past:
            for write in (lambda: past.append(run, [RunTagged(tags={"a": "1"})]), past.rebuild):
                with pytest.raises(LedgerReadOnly, match="as it was after event 1"):
                    write()
        assert book.size() == 1


def test_the_past_survives_a_fork_and_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with journal(tmp_path) as book:
        fill(book)
        old = Query(book).at(30)
        before = old.search("order by metrics.a", limit=100)

        def look() -> None:
            assert old.search("order by metrics.a", limit=100) == before

        assert ended_well(in_fork(look))
        assert old.search("order by metrics.a", limit=100) == before
    if os.geteuid() != 0:
        tmp_path.chmod(0o500)
        with journal(tmp_path) as book:
            assert Query(book).at(30).search("order by metrics.a", limit=100) == before
        tmp_path.chmod(0o700)
