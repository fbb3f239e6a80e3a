"""os.fork in the middle of everything, as the workers of a data loader are made."""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path

import pytest
from make_ledger import ended_well, finished_run, in_fork, journal, metrics, run_id, submitted

from onrecord.ledger.audit import audit
from onrecord.ledger.events import RunRunning, RunTagged
from onrecord.ledger.journal import Journal
from onrecord.ledger.query import Query

# Python 3.12 and later warn of every fork beside a thread.
pytestmark = pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")


def test_parent_and_children_append_and_close_at_once_and_nothing_is_lost(book: Journal) -> None:
    mine, theirs = run_id(), [run_id() for _ in range(4)]
    book.append(mine, [submitted()])

    def worker(run: str) -> None:
        book.append(run, [submitted()])
        for number in range(20):
            book.append(run, [RunTagged(tags={"n": str(number)}), metrics(end=number)])
            if number % 7 == 0:
                book.close()
        book.append(mine, [RunTagged(tags={run: "was here"})])

    children = []
    for run in theirs:
        children.append(in_fork(lambda run=run: worker(run)))  # type: ignore[misc]
        for number in range(10):
            book.append(mine, [RunTagged(tags={"parent": str(number)})])
    book.close()
    book.append(mine, [RunRunning()])
    assert [ended_well(child) for child in children] == [True] * 4
    assert [Query(book).run(run).head for run in [mine, *theirs]] == [1 + 40 + 1 + 4, 41, 41, 41, 41]
    assert set(theirs) < set(Query(book).tags(mine)[mine])
    assert audit(book).findings == []


def test_a_child_that_reads_and_a_grandchild_that_writes_disturb_no_one(book: Journal) -> None:
    run = finished_run(book)

    def child() -> None:
        count = len(list(book.read(run)))
        grandchild = in_fork(lambda: book.append(run, [RunTagged(tags={"from": "grandchild"})]) and None)
        if count != 8 or not ended_well(grandchild):
            raise RuntimeError

    reader = book.read(run)
    next(reader)
    assert ended_well(in_fork(child))
    assert len(list(reader)) == 7
    assert Query(book).tags(run)[run]["from"] == "grandchild"


def test_threads_go_on_appending_while_the_process_forks_again_and_again(tmp_path: Path) -> None:
    books = [journal(tmp_path), journal(tmp_path), Journal(tmp_path / "other.db")]
    problems: list[BaseException] = []
    stop = threading.Event()
    counts = [0, 0, 0]

    def work(which: int) -> None:
        try:
            run = run_id()
            books[which].append(run, [submitted()])
            while not stop.is_set():
                books[which].append(run, [RunTagged(tags={"n": "1"})])
                counts[which] += 1
        except BaseException as problem:
            problems.append(problem)

    def fork() -> None:
        try:
            for _ in range(6):
                run = run_id()
                assert ended_well(in_fork(lambda run=run: books[0].append(run, [submitted()]) and None))  # type: ignore[misc]
                with journal(tmp_path) as another:
                    another.append(run_id(), [submitted()])
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work, args=(which,)) for which in range(3)]
    forkers = [threading.Thread(target=fork) for _ in range(2)]
    for thread in [*threads, *forkers]:
        thread.start()
    for thread in forkers:
        thread.join()
    stop.set()
    for thread in threads:
        thread.join()
    assert problems == []
    with books[0], books[1], books[2]:
        assert books[0].size() == 2 + counts[0] + counts[1] + 24
        assert books[2].size() == 1 + counts[2]
        assert audit(books[0]).findings == [] == audit(books[2]).findings


def test_a_fork_inside_an_append_fails_that_append_and_nothing_else(tmp_path: Path) -> None:
    children: list[int] = []

    def forking_clock() -> int:
        if not children:
            children.append(os.fork())
            if not children[0]:
                inside.append("child")
        return 5

    inside: list[str] = []
    run = run_id()
    with journal(tmp_path) as plain:
        plain.append(run, [submitted()])
    with Journal(tmp_path / "ledger.db", clock=forking_clock) as book:
        code = 1
        try:
            book.append(run, [RunRunning()])
        except sqlite3.ProgrammingError:
            code = 0
        finally:
            if inside:
                os._exit(code)
        assert code == 0
        assert ended_well(children[0])
        assert book.size() == 1
        assert book.append(run, [RunRunning()]).seq == 2


def test_no_file_of_the_ledger_is_open_in_a_child(book: Journal, tmp_path: Path) -> None:
    if not Path("/proc/self/fd").exists():
        pytest.skip("this system does not list open files")
    finished_run(book)

    def child() -> None:
        targets = []
        for descriptor in Path("/proc/self/fd").iterdir():
            try:
                targets.append(str(descriptor.readlink()))
            except FileNotFoundError:
                continue
        if any(target.startswith(str(tmp_path)) for target in targets):
            raise RuntimeError(targets)

    assert ended_well(in_fork(child))
