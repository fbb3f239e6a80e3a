"""Proofs from the stored tree: at every size, however the nodes came to be there, and whoever may write."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from make_ledger import ended_well, finished_run, in_fork, journal, raw, run_id, submitted

from onrecord.ledger import merkle
from onrecord.ledger.audit import audit
from onrecord.ledger.checkpoint import Checkpoint
from onrecord.ledger.errors import ProofFailed
from onrecord.ledger.events import RunTagged
from onrecord.ledger.history import History
from onrecord.ledger.journal import Journal


@pytest.fixture
def long_book(book: Journal) -> Iterator[Journal]:
    """A ledger of 605 events whose tree was brought up to date now and then."""
    run = run_id()
    book.append(run, [submitted()])
    for count in (1, 8, 7, 1, 100, 31, 200, 256):
        book.append(run, [RunTagged()] * count)
        History(book).catch_up()
    yield book


def leaves(book: Journal) -> list[bytes]:
    return [leaf for (leaf,) in book.fetch("SELECT leaf FROM events ORDER BY seq")]


def stored_nodes(book: Journal) -> dict[int, bytes]:
    return dict(book.fetch("SELECT id, hash FROM tree"))


def test_nodes_that_were_stored_in_pieces_are_those_of_a_tree_made_at_once(long_book: Journal) -> None:
    in_pieces = stored_nodes(long_book)
    assert len(in_pieces) == sum(605 >> height for height in range(4, 10))
    long_book.rebuild()
    assert stored_nodes(long_book) == {}
    History(long_book).catch_up()
    assert stored_nodes(long_book) == in_pieces
    assert audit(long_book).findings == []


def test_the_root_at_every_size_is_the_root_of_so_many_events(long_book: Journal) -> None:
    history, all_leaves = History(long_book), leaves(long_book)
    for size in (1, 2, 15, 16, 17, 31, 32, 255, 256, 257, 511, 604, 605):
        assert history.root_at(size) == merkle.root_of(all_leaves[:size])
        assert history.checkpoint(size).size == size


def test_any_event_is_proved_to_be_in_any_checkpoint_that_has_it(long_book: Journal) -> None:
    history, all_leaves, chance = History(long_book), leaves(long_book), random.Random(6962)
    for _ in range(200):
        size = chance.randint(1, 605)
        seq = chance.randint(1, size)
        leaf, proof = history.inclusion(seq, history.checkpoint(size))
        assert leaf == all_leaves[seq - 1]
        proof.check(leaf)
        with pytest.raises(ProofFailed, match=f"event {seq} is not in the history"):
            proof.check(bytes(32))


def test_any_checkpoint_is_proved_to_extend_any_earlier_one_and_no_other(long_book: Journal) -> None:
    history, chance = History(long_book), random.Random(9162)
    for _ in range(100):
        new = history.checkpoint(chance.randint(1, 605))
        old = history.checkpoint(chance.randint(1, new.size))
        history.consistency(old, new).check()
        if old.size < new.size:
            with pytest.raises(ProofFailed, match="truncated"):
                history.consistency(new, old)
            with pytest.raises(ProofFailed, match="does not extend"):
                history.consistency(Checkpoint(old.origin, old.size, bytes(32)), new)


def test_proofs_are_the_same_where_no_node_is_stored_and_none_can_be(tmp_path: Path) -> None:
    with journal(tmp_path) as book:
        for _ in range(12):
            finished_run(book)
    (tmp_path / "ledger.db").chmod(0o444)
    with journal(tmp_path) as reader:
        # Root may write all the same, so it is said outright.
        reader.database.connection.execute("PRAGMA query_only = 1")
        reader.database.read_only = True
        history = History(reader)
        checkpoint = history.checkpoint()
        assert checkpoint.root == merkle.root_of(leaves(reader))
        for seq in (1, 50, 96):
            leaf, proof = history.inclusion(seq, checkpoint)
            proof.check(leaf)
        assert stored_nodes(reader) == {}


def test_two_processes_that_store_nodes_at_once_and_append_meanwhile_store_the_same(tmp_path: Path) -> None:
    def work() -> None:
        with journal(tmp_path) as mine:
            for _ in range(20):
                finished_run(mine)
                History(mine).catch_up()

    with journal(tmp_path) as book:
        book.size()
    children = [in_fork(work) for _ in range(3)]
    assert [ended_well(child) for child in children] == [True] * 3
    with journal(tmp_path) as book:
        assert book.size() == 480
        assert History(book).root_at(480) == merkle.root_of(leaves(book))
        assert audit(book).findings == []


def test_a_ledger_from_before_there_were_stored_nodes_gets_them(tmp_path: Path) -> None:
    with journal(tmp_path) as book:
        finished_run(book)
    connection = raw(tmp_path / "ledger.db")
    connection.executescript("DROP TABLE tree; DELETE FROM projections WHERE name = 'tree';")
    connection.close()
    with journal(tmp_path) as book:
        assert History(book).checkpoint().root == merkle.root_of(leaves(book))
        assert audit(book).findings == []


def test_a_receipt_is_refused_where_the_stored_nodes_do_not_fit_the_events(long_book: Journal) -> None:
    run = finished_run(long_book)
    checkpoint = History(long_book).checkpoint()
    connection = sqlite3.connect(long_book.database.path)
    connection.execute("UPDATE tree SET hash = zeroblob(32) WHERE id = ?", (512 * 64 + 9,))
    connection.commit()
    connection.close()
    with pytest.raises(ProofFailed):
        History(long_book).receipt(run, checkpoint)
    assert [finding.where for finding in audit(long_book).findings] == ["table tree, height 9 up to event 512"]
    long_book.rebuild()
    assert audit(long_book).findings == []
