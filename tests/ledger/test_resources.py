"""What runs used, in sum and look by look."""

from __future__ import annotations

from typing import Any

from make_ledger import finished_run, run_id, submitted, tables

from onrecord.ledger.erasure import erase
from onrecord.ledger.events import RunResources
from onrecord.ledger.journal import Journal
from onrecord.ledger.query import Query
from onrecord.ledger.resources import ResourceRow


def looks(*times: int, **fields: Any) -> RunResources:
    """A batch in which every quantity is the time, unless said otherwise."""
    values = list(times)
    usual = dict.fromkeys(("times", "cpu_microseconds", "rss_bytes", "threads", "processes"), values)
    return RunResources(**{**usual, **fields})


def test_the_sums_are_the_peaks_of_all_looks_and_what_the_kernel_counted_in_the_end(book: Journal) -> None:
    run = run_id()
    book.append(run, [submitted(), looks(1, 2, read_bytes=[5, 7], written_bytes=[0, 1]), looks(3, rss_bytes=[1])])
    book.append(run, [looks(total_cpu_microseconds=2_500_000, largest_process_bytes=9)])
    found = ResourceRow(3, 2.5, 9, 3, 3, 7, 1, None, None)
    assert Query(book).resources(run) == found
    caught_up = tables(book)
    book.rebuild()
    assert tables(book) == caught_up
    assert Query(book).resources(run) == found


def test_gpus_count_in_the_looks_that_saw_them(book: Journal) -> None:
    run = run_id()
    book.append(run, [submitted(), looks(1), looks(2, 3, gpu_percent=[50, 100], gpu_memory_bytes=[10, 30])])
    found = Query(book).resources(run)
    assert found is not None
    assert (found.samples, found.mean_gpu_percent, found.peak_gpu_memory_bytes) == (3, 75.0, 30)


def test_every_look_is_a_row_of_the_columns_and_what_was_not_said_is_none(book: Journal) -> None:
    run, other = run_id(), run_id()
    book.append(run, [submitted(), looks(1, 2), looks(3, read_bytes=[8])])
    book.append(other, [submitted()])
    samples = Query(book).resource_samples(run)
    assert samples["times"] == [1, 2, 3]
    assert samples["read_bytes"] == [None, None, 8]
    assert {len(column) for column in samples.values()} == {3}
    assert Query(book).resources(other) is None
    assert set(map(len, Query(book).resource_samples(other).values())) == {0}


def test_numbers_of_strangers_stop_no_read_model(book: Journal) -> None:
    run = run_id()
    most = 2**63 - 1
    book.append(run, [submitted(), *[looks(1, 2, gpu_percent=[most] * 5, rss_bytes=[most]) for _ in range(3)]])
    found = Query(book).resources(run)
    assert found is not None
    assert found.peak_rss_bytes == most
    assert {len(column) for column in Query(book).resource_samples(run).values()} == {6}


def test_what_an_erased_run_used_is_forgotten(book: Journal) -> None:
    run = finished_run(book)
    book.append(run, [looks(1)])
    assert Query(book).resources(run) is not None
    erase(book, run)
    assert Query(book).resources(run) is None
    assert Query(book).resource_samples(run)["times"] == []
