"""Registered environments in the ledger: numbered, never changed, proven like everything else."""

from __future__ import annotations

import multiprocessing
from itertools import pairwise
from pathlib import Path

import pytest
from make_ledger import finished_run, tables

from onrecord.ledger.audit import audit
from onrecord.ledger.environments import STREAM, register, registered
from onrecord.ledger.errors import IllegalTransition, LedgerReadOnly, UnknownRun
from onrecord.ledger.events import EnvironmentRegistered, RunTagged
from onrecord.ledger.journal import Journal


def test_the_same_definition_is_the_same_version_and_another_is_the_next(tmp_path: Path) -> None:
    with Journal(tmp_path / "ledger.db") as book:
        first = register(book, "a", {"x": 1})
        assert (first.name, first.number, first.definition) == ("a", 1, {"x": 1})
        assert register(book, "a", {"x": 1}) == first
        assert register(book, "a", {"x": 2}).number == 2
        assert register(book, "b", {"x": 2}).number == 1
        # Back to what it was is a change too: the newest one counts.
        assert register(book, "a", {"x": 1}).number == 3
        assert [(one.name, one.number) for one in registered(book)] == [("a", 1), ("a", 2), ("b", 1), ("a", 3)]
        assert book.size() == 4


def test_a_ledger_with_environments_proves_itself_and_replays(tmp_path: Path) -> None:
    with Journal(tmp_path / "ledger.db") as book:
        register(book, "a", {"x": 1})
        run_id = finished_run(book)
        register(book, "a", {"x": 2})
        found = audit(book)
        assert found.findings == []
        assert found.runs == 1
        live = tables(book)
        book.rebuild()
        assert tables(book) == live
        assert [one.number for one in registered(book)] == [1, 2]
        with pytest.raises(IllegalTransition):
            book.append(run_id, [EnvironmentRegistered(name="a", number=3, definition={})])


def test_nothing_else_goes_into_their_stream(tmp_path: Path) -> None:
    with Journal(tmp_path / "ledger.db") as book:
        register(book, "a", {})
        with pytest.raises(UnknownRun):
            book.append(STREAM, [RunTagged(tags={"a": "b"})])


def test_a_ledger_that_cannot_be_written_takes_none(tmp_path: Path) -> None:
    with Journal(tmp_path / "ledger.db") as book:
        register(book, "a", {"x": 1})
    with Journal(tmp_path / "ledger.db", read_only=True) as book:
        assert [one.definition for one in registered(book)] == [{"x": 1}]
        with pytest.raises(LedgerReadOnly):
            register(book, "a", {"x": 2})


def _register_some(path: Path) -> None:
    with Journal(path) as book:
        for number in range(10):
            register(book, "a", {"x": number})


def test_processes_that_register_at_once_leave_no_gap_and_no_twin(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    Journal(path).size()
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_register_some, args=(path,)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    with Journal(path) as book:
        versions = registered(book)
        assert [one.number for one in versions] == list(range(1, len(versions) + 1))
        assert all(one.definition != other.definition for one, other in pairwise(versions))
        assert audit(book).findings == []
