"""Registered environments in the ledger: numbered, never changed, proven like everything else."""

from __future__ import annotations

import multiprocessing
from itertools import pairwise
from pathlib import Path

import pytest
from make_ledger import finished_run, raw, tables

from onrecord.ledger import ids, merkle
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


@pytest.mark.parametrize(
    ("kind", "in_their_stream", "runs"),
    [
        ("run.tagged", True, 1),
        ("run.submitted", True, 2),
        ("run.of_a_later_version", True, 1),
        ("environment.registered", False, 1),
    ],
)
def test_a_forged_event_where_it_cannot_be_is_found(
    tmp_path: Path, kind: str, in_their_stream: bool, runs: int
) -> None:
    path = tmp_path / "ledger.db"
    with Journal(path) as book:
        register(book, "a", {})
        run_id = finished_run(book)
        seq, stream = book.size() + 1, ids.decode(STREAM if in_their_stream else run_id)
        version = 1 + book.fetch("SELECT max(rseq) FROM events WHERE stream = ?", (stream,))[0][0]
        assert (audit(book).findings, audit(book).runs) == ([], 1)
    # Nothing is wrong with its leaf.
    salt, payload = b"s" * 16, b'{"config":{},"experiment":"e","v":1}'
    commitment = merkle.payload_commitment(salt, payload)
    leaf = merkle.leaf_hash(seq, stream, version, 0, kind, commitment)
    with raw(path) as connection:
        connection.execute(
            "INSERT INTO events VALUES (?, ?, ?, ?, 0, ?, ?, ?, ?)",
            (seq, stream, version, kind, salt, payload, commitment, leaf),
        )
    connection.close()
    with Journal(path) as book:
        found = audit(book)
    assert f"{kind} cannot follow" in next(one.problem for one in found.findings if one.where == f"event {seq}")
    assert found.runs == runs


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
