"""The write-ahead log: flushed for all who wait, moved when it is large, never taken for lost when it is not."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
from make_ledger import finished_run, journal, metrics, run_id, series, submitted

from onrecord.ledger import log
from onrecord.ledger.audit import audit
from onrecord.ledger.errors import LedgerDamaged
from onrecord.ledger.events import RunMetrics, RunTagged
from onrecord.ledger.journal import Journal


def _chunk(kilobytes: int) -> RunMetrics:
    noise = tuple(int.from_bytes(os.urandom(8), "big", signed=True) for _ in range(128 * kilobytes))
    return metrics(series("noise", noise, "int64"))


def test_a_log_of_large_chunks_is_moved_by_its_size(book: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log.Log, "limit", 500_000)
    run, chunk = run_id(), _chunk(100)
    book.append(run, [submitted()])
    sizes = []
    for _ in range(40):
        book.append(run, [chunk])
        sizes.append(book.database.log.path.stat().st_size)
    assert max(sizes) < 2 * 500_000
    assert (audit(book).events, audit(book).findings) == (41, [])


def test_a_log_that_one_append_made_too_large_is_cut_back(book: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log.Log, "limit", 500_000)
    run = run_id()
    book.append(run, [submitted()])
    book.append(run, [_chunk(300)] * 5)
    assert book.database.log.path.stat().st_size > 1_500_000
    book.append(run, [RunTagged()])
    assert book.database.log.path.stat().st_size < 500_000
    assert audit(book).findings == []


def test_writers_in_several_processes_see_the_size_of_the_one_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log.Log, "limit", 500_000)
    with journal(tmp_path) as one, journal(tmp_path) as two:
        run, chunk, sizes = run_id(), _chunk(100), list[int]()
        one.append(run, [submitted()])
        for number in range(30):
            (one, two)[number % 2].append(run, [chunk])
            sizes.append(one.database.log.path.stat().st_size)
        assert max(sizes) < 3 * 500_000
        assert audit(two).findings == []


def test_one_flush_serves_every_thread_that_has_committed(book: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [run_id() for _ in range(5)]
    for run in runs:
        book.append(run, [submitted()])
    began, all_committed, flushes = threading.Event(), threading.Event(), list[int]()
    real = log._fdatasync

    def slow(descriptor: int) -> None:
        flushes.append(descriptor)
        began.set()
        assert all_committed.wait(60)
        real(descriptor)

    monkeypatch.setattr(log, "_fdatasync", slow)
    threads = [threading.Thread(target=book.append, args=(run, [RunTagged()])) for run in runs]
    threads[0].start()
    assert began.wait(60)
    # No lock is held while the disk is waited for: the others commit meanwhile, and wait for one more flush.
    for thread in threads[1:]:
        thread.start()
    while book.size() < 10:
        pass
    assert len(flushes) == 1
    all_committed.set()
    for thread in threads:
        thread.join()
    assert len(flushes) == 2


def test_after_a_flush_that_failed_the_log_is_written_again(book: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    run = finished_run(book)
    real, again = log._fdatasync, list[int]()

    def failing(descriptor: int) -> None:
        raise OSError(errno.EIO, "the disk has other plans")

    def counted(descriptor: int, piece: bytes, at: int, real: object = os.pwrite) -> int:
        again.append(len(piece))
        return real(descriptor, piece, at)  # type: ignore[operator, no-any-return]

    monkeypatch.setattr(log, "_fdatasync", failing)
    with pytest.raises(LedgerDamaged, match="did not confirm"):
        book.append(run, [RunTagged()])
    assert book.size() == 9
    monkeypatch.setattr(log, "_fdatasync", real)
    monkeypatch.setattr(os, "pwrite", counted)
    size = book.database.log.path.stat().st_size
    book.append(run, [RunTagged()])
    # The kernel took the lost pages for clean; a second flush would have said yes and done nothing.
    assert sum(again) >= size
    again.clear()
    book.append(run, [RunTagged()])
    assert again == []
    assert audit(book).findings == []


def test_what_was_committed_before_a_close_is_confirmed_after_it(book: Journal, tmp_path: Path) -> None:
    run = finished_run(book)
    seq = book.append(run, [metrics()]).seq
    book.close()
    book.database.log.sync(seq)
    with journal(tmp_path) as other:
        seq = book.append(run, [metrics()]).seq
        assert other.size() == seq
        book.close()
        book.database.log.sync(seq)
        assert other.append(run, [RunTagged()]).seq == seq + 1
    assert book.append(run, [RunTagged()]).seq == seq + 2
    assert audit(book).findings == []
