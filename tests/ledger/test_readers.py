"""Threads that read beside threads that append."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from make_ledger import ended_well, finished_run, in_fork, journal, metrics, run_id, submitted

from onrecord.ledger import readers
from onrecord.ledger.audit import audit
from onrecord.ledger.errors import LedgerReadOnly
from onrecord.ledger.events import RunRunning, RunTagged
from onrecord.ledger.journal import Journal, microseconds_now
from onrecord.ledger.query import Query

# Python 3.12 and later warn of every fork beside a thread.
forking = pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")


def _descriptors(book: Journal, suffix: str = "") -> int:
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("this system does not list open files")
    found = 0
    for descriptor in folder.iterdir():
        try:
            found += str(descriptor.readlink()) == f"{book.database.path}{suffix}"
        except FileNotFoundError:
            continue
    return found


def _in_threads(*work: Callable[[], object]) -> None:
    """Do all of it at once; the first problem is raised."""
    with ThreadPoolExecutor(len(work)) as pool:
        for future in [pool.submit(one) for one in work]:
            future.result()


def test_a_thread_reads_while_another_is_in_the_middle_of_an_append(tmp_path: Path) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def clock() -> int:
        if inside.is_set() or threading.current_thread() is threading.main_thread():
            return microseconds_now()
        inside.set()
        assert go_on.wait(60)
        return microseconds_now()

    with Journal(tmp_path / "ledger.db", clock=clock) as book:
        run = finished_run(book)
        Query(book).tags(run)
        writer = threading.Thread(target=book.append, args=(run, [RunTagged(tags={"late": "1"})]))
        writer.start()
        assert inside.wait(60)
        # The append has the mutex, the queue of writers and SQLite's write lock; these would wait for ever.
        assert book.size() == 8
        assert Query(book).tags(run) == {run: {"b": "2"}}
        assert len(list(book.read(run))) == 8
        go_on.set()
        writer.join()
        assert Query(book).tags(run) == {run: {"b": "2", "late": "1"}}


def test_an_append_and_its_checkpoint_do_not_wait_for_a_thread_in_the_middle_of_a_read(book: Journal) -> None:
    run = finished_run(book)
    assert book.size() == 8
    with book.database.reading() as connection:
        rows = connection.execute("SELECT seq FROM events")
        assert rows.fetchone() == (1,)
        assert book.append(run, [RunTagged()]).seq == 9
        book.database.checkpoint()
        # What it reads is of one moment all the same.
        assert rows.fetchall() == [(seq,) for seq in range(2, 9)]
    assert book.size() == 9


def test_every_thread_sees_what_it_has_appended(book: Journal) -> None:
    def work() -> None:
        run = run_id()
        book.append(run, [submitted()])
        for number in range(2, 40):
            seq = book.append(run, [metrics(end=number)]).seq
            assert book.size() >= seq
            assert [recorded.version for recorded in book.read(run)][-1] == number
            assert Query(book).spool_position(run) == number

    _in_threads(*[work] * 4)
    assert audit(book).findings == []


def test_readers_of_a_crowd_are_closed_when_it_has_gone(book: Journal) -> None:
    finished_run(book)
    together = threading.Barrier(20)

    def work() -> None:
        with book.database.reading() as connection:
            together.wait(60)
            assert connection.execute("SELECT count(*) FROM events").fetchone() == (8,)

    book.size()
    _in_threads(*[work] * 20)
    # Of the database itself SQLite keeps the descriptors, to use them again: closing one would drop locks.
    before = _descriptors(book)
    for _ in range(3):
        _in_threads(*[work] * 20)
        assert _descriptors(book, "-wal") <= 2 + readers.KEPT  # the writer, and the one that is flushed
    assert _descriptors(book) == before <= 21
    book.close()
    assert _descriptors(book) == 0 == _descriptors(book, "-wal")


def test_a_process_that_only_reads_opens_the_file_once(book: Journal) -> None:
    finished_run(book)
    book.close()
    Query(book).runs()
    book.catch_up()
    assert book.size() == 8
    before = _descriptors(book)
    book.close()
    assert (before, _descriptors(book)) == (2, 0)  # the catching up wrote
    Query(book).runs()
    book.catch_up()
    assert _descriptors(book) == 1


def test_what_reads_cannot_write(book: Journal) -> None:
    finished_run(book)
    for sql in ("DELETE FROM runs", "UPDATE runs SET head = 1", "CREATE TABLE t(x)"):
        with pytest.raises(LedgerReadOnly):
            book.fetch(sql)
    assert audit(book).findings == []


@forking
def test_forks_while_threads_read_disturb_neither_them_nor_the_children(tmp_path: Path, long_form: bool) -> None:
    stop = threading.Event()
    counts = [0, 0, 0]

    with journal(tmp_path) as book:
        run = finished_run(book)

        def reading(which: int) -> None:
            while not stop.is_set():
                assert book.size() >= 8
                assert Query(book).run(run).status == "Completed"
                counts[which] += 1

        def child() -> None:
            before = book.size()
            book.append(run, [RunTagged(tags={"n": "1"})])
            assert book.size() > before
            _in_threads(book.size, book.size)

        def forks() -> None:
            try:
                for _ in range(40 if long_form else 5):
                    assert ended_well(in_fork(child))
                    book.append(run, [RunTagged()])
            finally:
                stop.set()

        _in_threads(forks, *[lambda which=which: reading(which) for which in range(3)])  # type: ignore[misc]
        assert all(counts)
        assert book.size() == 8 + 2 * (40 if long_form else 5)
        assert audit(book).findings == []


@forking
def test_workers_of_a_data_loader_start_in_the_middle_of_appends(tmp_path: Path, long_form: bool) -> None:
    # As PyTorch does it: each epoch forks workers, which inherit the run and hand batches back through a queue.
    context = multiprocessing.get_context("fork")
    epochs, stop = (40 if long_form else 4), threading.Event()
    with journal(tmp_path) as book:
        run, beside = run_id(), run_id()
        book.append(run, [submitted(), RunRunning()])
        book.append(beside, [submitted()])

        def worker(number: int, batches: multiprocessing.Queue[tuple[int, int]]) -> None:
            for batch in range(5):
                done = book.append(run, [metrics(end=batch)])
                batches.put((number, done.seq))

        def logging() -> None:
            while not stop.is_set():
                book.append(beside, [metrics(), RunTagged()])

        def epoch() -> list[int]:
            batches = context.SimpleQueue()
            workers = [context.Process(target=worker, args=(number, batches)) for number in range(2)]
            for one in workers:
                one.start()
                book.append(run, [RunTagged(tags={"worker": str(one.pid)})])
            seen = [batches.get()[1] for _ in range(10)]
            for one in workers:
                one.join()
            assert [one.exitcode for one in workers] == [0, 0]
            return seen

        def training() -> list[int]:
            try:
                return [seq for _ in range(epochs) for seq in epoch()]
            finally:
                stop.set()

        with ThreadPoolExecutor(1) as pool:
            logger = pool.submit(logging)
            acknowledged = training()
            logger.result()
        assert len(set(acknowledged)) == 10 * epochs
        assert {recorded.seq for recorded in book.read(run)} >= set(acknowledged)
        assert Query(book).run(run).head == 2 + epochs * 12
        assert audit(book).findings == []


def test_coroutines_append_through_an_executor_of_one_thread(book: Journal) -> None:
    runs = [run_id() for _ in range(5)]

    async def one(run: str, executor: ThreadPoolExecutor) -> list[int]:
        loop = asyncio.get_running_loop()
        seqs = [(await loop.run_in_executor(executor, book.append, run, [submitted()])).seq]
        for number in range(20):
            done = await loop.run_in_executor(executor, book.append, run, [metrics(end=number), RunTagged()])
            seqs.append(done.seq)
            # Reading needs no executor to be safe, only to be polite to the loop.
            assert book.size() >= done.seq
        return seqs

    async def all_at_once() -> list[list[int]]:
        with ThreadPoolExecutor(1) as executor:
            return await asyncio.gather(*(one(run, executor) for run in runs))

    seqs = asyncio.run(all_at_once())
    assert sorted(seq for own in seqs for seq in own)[-1] == book.size() == 5 * 41
    assert [Query(book).run(run).head for run in runs] == [41] * 5
    assert audit(book).findings == []
