"""Append and read."""

from __future__ import annotations

import gc
import sqlite3
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_ledger import file, finished_run, journal, metrics, run_id, series, submitted, tables, whole_life

from onrecord.ledger import db, ids, merkle
from onrecord.ledger import journal as journal_module
from onrecord.ledger.audit import audit
from onrecord.ledger.errors import BadEvent, BadRunId, IllegalTransition, LedgerError, StaleVersion, UnknownRun
from onrecord.ledger.events import (
    CancelRequested,
    Event,
    PropertiesAdded,
    RunCanceled,
    RunCompleted,
    RunFailed,
    RunFinalizing,
    RunPreparing,
    RunQueued,
    RunRunning,
    RunSealed,
    RunTagged,
    Unknown,
)
from onrecord.ledger.journal import Journal
from onrecord.ledger.query import Query
from onrecord.ledger.states import TERMINAL, state_after

PALETTE: list[Event | Unknown] = [
    submitted(name="n", tags={"t": "0"}, snapshot_id="00"),
    submitted(experiment="other", properties={"p": "0"}),
    RunQueued(),
    RunPreparing(),
    RunRunning(pid=1, started_at=77),
    RunRunning(),
    CancelRequested(by="me"),
    RunFinalizing(outcome="exited", exit_code=3, ended_at=99),
    RunFinalizing(outcome="killed", signal=9),
    RunCompleted(),
    RunFailed(error={"code": "X", "message": "é\udcff"}),
    RunFailed(error={}, exit_code=2, signal=0),
    RunCanceled(reason="time_limit"),
    RunTagged(tags={"t": "1", "u": "\udc80"}, removed=["t"]),
    RunTagged(removed=["u"]),
    PropertiesAdded(properties={"p": "1", "q": "2"}),
    file(),
    file(name="\udcff"),
    metrics(series("a", (1.0, float("nan"))), series("a", (2,), "int64"), series("b", ([1],), "json"), end=9),
    metrics(series("a", ())),
    Unknown("run.from_the_future", b"\x00\xff"),
    Unknown("run.tagged", b'{"v":2}'),
    Unknown("run.queued", b"a later version of a moving event"),
]
steps = st.lists(st.tuples(st.integers(0, 2), st.sampled_from(PALETTE), st.booleans()), max_size=60)


def _play(book: Journal, script: list[tuple[int, Event | Unknown, bool]]) -> int:
    runs = [run_id(number) for number in range(3)]
    status: list[str | None] = [None] * 3
    count = 0
    for which, event, sealing in script:
        after = state_after(status[which], event.type)
        if after is None:
            with pytest.raises((UnknownRun, IllegalTransition)):
                book.append(runs[which], [event])
            continue
        seal = sealing and after in TERMINAL
        done = book.append(runs[which], [event], seal=seal)
        count += 1 + seal
        assert (done.seq, done.status) == (count, after)
        status[which] = after
    return count


@settings(max_examples=40)
@given(steps)
def test_the_live_tables_are_those_of_a_replay(script: list[tuple[int, Event | Unknown, bool]]) -> None:
    with tempfile.TemporaryDirectory() as folder, journal(Path(folder)) as book:
        count = _play(book, script)
        checked = audit(book)
        assert (checked.findings, checked.events) == ([], count)
        live = tables(book)
        assert book.rebuild() == count
        assert tables(book) == live


@pytest.mark.parametrize(
    ("events", "error"),
    [
        ([RunRunning(), RunTagged(tags={"a": "b"}), RunQueued()], IllegalTransition),
        ([RunRunning(), submitted()], IllegalTransition),
        ([RunTagged(), RunSealed(count=2, root="")], BadEvent),
        ([RunTagged(), Unknown("run.sealed", b"")], IllegalTransition),
        ([RunTagged(), RunTagged(tags={"a": 1})], BadEvent),
        ([RunTagged(), metrics(series("a", (float("nan"), "x")))], BadEvent),
        ([RunTagged(), Unknown("run.submitted", b"")], IllegalTransition),
    ],
)
def test_a_batch_is_recorded_whole_or_not_at_all(book: Journal, events: list[Event], error: type[LedgerError]) -> None:
    run = run_id()
    book.append(run, [submitted()])
    before, rows = audit(book), tables(book)
    with pytest.raises(error):
        book.append(run, events)
    assert (audit(book), tables(book)) == (before, rows)
    assert book.append(run, [RunRunning()]).seq == 2


def test_a_stale_version_an_unknown_run_and_no_id_at_all_write_nothing(book: Journal) -> None:
    run = finished_run(book)
    before, rows = audit(book), tables(book)
    with pytest.raises(StaleVersion) as stale:
        book.append(run, [RunTagged(tags={"a": "2"})], expected=7)
    assert (stale.value.run_id, stale.value.expected, stale.value.found) == (run, 7, 8)
    other = run_id()
    for fact in ([RunTagged()], [RunCompleted()], [file()], [metrics()]):
        with pytest.raises(UnknownRun) as unknown:
            book.append(other, fact)
        assert unknown.value.run_id == other
    with pytest.raises(StaleVersion):
        book.append(other, [submitted()], expected=1)
    with pytest.raises(BadRunId):
        book.append("not an id", [submitted()])
    with pytest.raises(IllegalTransition) as illegal:
        book.append(run, [RunFailed(error={})])
    assert (illegal.value.status, illegal.value.event) == ("Completed", "run.failed")
    assert (audit(book), tables(book)) == (before, rows)


def test_a_second_submission_with_version_0_is_stale(book: Journal) -> None:
    run = run_id()
    assert book.append(run, [submitted()], expected=0).head == 1
    with pytest.raises(StaleVersion):
        book.append(run, [submitted()], expected=0)


def test_an_id_in_another_spelling_is_the_same_run(book: Journal) -> None:
    run = run_id()
    book.append(run.upper(), [submitted()])
    book.append(f"{run[:5]}-{run[5:].replace('0', 'O')}", [RunRunning()])
    assert Query(book).run(run).head == 2
    assert [recorded.version for recorded in book.read(run.upper())] == [1, 2]
    assert audit(book).findings == []


def test_a_seal_is_the_root_over_the_events_before_it(book: Journal) -> None:
    finished_run(book)
    run = run_id()
    book.append(run, whole_life())
    leaves = book.fetch("SELECT leaf FROM events WHERE stream = ? ORDER BY rseq", (ids.decode(run),))
    done = book.append(run, [], seal=True)
    *_, last = book.read(run)
    assert last.event == RunSealed(count=7, root=merkle.root_of(leaf for (leaf,) in leaves).hex())
    assert (done.head, Query(book).run(run).sealed) == (8, 7)
    # A late fact, and a seal that holds it too.
    book.append(run, [file("late")], seal=True)
    assert Query(book).run(run).sealed == 9
    assert audit(book).findings == []


def test_a_run_that_goes_on_cannot_be_sealed(book: Journal) -> None:
    run = run_id()
    with pytest.raises(IllegalTransition):
        book.append(run, [submitted(), RunRunning()], seal=True)
    assert book.size() == 0


def test_an_event_of_a_later_onrecord_is_kept_and_read_byte_for_byte(book: Journal) -> None:
    run = run_id()
    strange = [Unknown("run.from_the_future", bytes(range(256))), Unknown("run.tagged", b'{"v":7}'), Unknown("é", b"")]
    book.append(run, [submitted(), *strange])
    assert [recorded.event for recorded in book.read(run)][1:] == strange
    assert Query(book).tags(run) == {run: {}}


def test_what_only_the_end_of_the_script_knew_is_not_forgotten_when_the_run_ends(book: Journal) -> None:
    run = run_id()
    end = RunFinalizing(outcome="exited", exit_code=3, signal=None, ended_at=42)
    book.append(run, [submitted(), RunRunning(started_at=41), end, RunFailed(error={"code": "ScriptFailed"})])
    row = Query(book).run(run)
    assert (row.exit_code, row.started_at, row.ended_at, row.error) == (3, 41, 42, {"code": "ScriptFailed"})


def test_reading_goes_on_from_where_it_is_asked_to(book: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "_BATCH", 3)
    runs = [finished_run(book), finished_run(book)]
    assert [recorded.seq for recorded in book.read()] == list(range(1, 17))
    assert [recorded.seq for recorded in book.read(after=10, limit=4)] == [11, 12, 13, 14]
    assert [recorded.version for recorded in book.read(runs[1], after=2, limit=3)] == [3, 4, 5]
    assert list(book.read(limit=0)) == [] == list(book.read(after=16))
    book.rebuild()
    assert audit(book).findings == []


def test_a_reader_sees_what_is_appended_while_it_reads(book: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "_BATCH", 2)
    run = finished_run(book)
    reader = book.read(run)
    next(reader)
    book.append(run, [RunTagged(tags={"late": "1"})])
    assert [recorded.version for recorded in reader] == list(range(2, 10))


def test_the_clock_and_the_noise_are_those_that_were_given(tmp_path: Path) -> None:
    roots = []
    for name in ("one", "two"):
        with Journal(tmp_path / name, clock=lambda: 1_234, entropy=lambda count: b"\x07" * count) as book:
            finished_run(book, 5)
            assert {recorded.at for recorded in book.read()} == {1_234}
            roots.append(audit(book).root)
    assert roots[0] == roots[1]


def test_the_log_is_moved_into_the_file_every_so_many_events_and_nothing_is_lost(
    book: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "CHECKPOINT_EVERY", 10)
    run = run_id()
    book.append(run, [submitted()])
    sizes = []
    for number in range(200):
        book.append(run, [RunTagged(tags={"n": str(number)})] * 2)
        sizes.append(Path(f"{book.database.path}-wal").stat().st_size)
    # The log is used again from its start: it is no longer than after the first few rounds.
    assert max(sizes) < 2 * max(sizes[:20])
    assert (audit(book).events, audit(book).findings) == (401, [])


def test_an_append_is_not_refused_because_the_log_could_not_be_moved(
    book: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_id()
    book.append(run, [submitted()])
    monkeypatch.setattr(journal_module, "CHECKPOINT_EVERY", 1)
    real = db._connect

    def failing(*arguments: str) -> sqlite3.Connection:
        if arguments[1] == "rw":
            raise sqlite3.OperationalError("the disk has other plans")
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(db, "_connect", failing)
    assert book.append(run, [RunRunning()]).seq == 2


def test_an_interrupted_append_writes_nothing_and_holds_nothing(tmp_path: Path) -> None:
    def interrupted(_: int) -> bytes:
        raise KeyboardInterrupt

    with journal(tmp_path) as book, Journal(book.database.path, entropy=interrupted) as other:
        run = run_id()
        book.append(run, [submitted()])
        with pytest.raises(KeyboardInterrupt):
            other.append(run, [RunRunning()])
        assert other.size() == 1
        assert book.append(run, [RunRunning()]).seq == 2


def test_threads_share_a_journal(book: Journal) -> None:
    runs = [run_id() for _ in range(6)]
    shared = run_id()
    book.append(shared, [submitted()])
    problems: list[BaseException] = []

    def work(run: str) -> None:
        try:
            book.append(run, [submitted()])
            for number in range(30):
                book.append(run, [RunTagged(tags={"n": str(number)})])
                book.append(shared, [metrics(end=number)])
                Query(book).tags(run)
                if number == 10:
                    book.close()
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert [Query(book).run(run).head for run in [*runs, shared]] == [31] * 6 + [181]
    assert audit(book).findings == []


def test_a_writer_waits_in_the_queue_of_writers_before_it_touches_the_file(tmp_path: Path) -> None:
    with journal(tmp_path) as book, journal(tmp_path) as holder:
        run = run_id()
        book.append(run, [submitted()])
        writer = threading.Thread(target=book.append, args=(run, [RunRunning()]))
        with holder.database.lock:
            writer.start()
            writer.join(0.2)
            assert writer.is_alive() and holder.size() == 1
        writer.join()
        assert holder.size() == 2


def test_two_journals_of_one_process_see_one_another(tmp_path: Path) -> None:
    with journal(tmp_path) as one, journal(tmp_path) as two:
        run = run_id()
        one.append(run, [submitted()])
        two.append(run, [RunRunning()])
        one.close()
        assert (two.append(run, [RunTagged()]).head, one.append(run, [RunTagged()]).head) == (3, 4)


def test_a_journal_that_is_forgotten_lets_go_of_its_files(tmp_path: Path) -> None:
    descriptors = Path("/proc/self/fd")
    if not descriptors.exists():
        pytest.skip("this system does not list open files")
    gc.collect()
    before = len(list(descriptors.iterdir()))
    book = journal(tmp_path)
    finished_run(book)
    assert len(list(descriptors.iterdir())) > before
    del book
    gc.collect()
    assert len(list(descriptors.iterdir())) == before


def test_an_append_that_believes_itself_alone_is_not_misled_by_another_writer(tmp_path: Path) -> None:
    run, other_run = run_id(1), run_id(2)
    with journal(tmp_path) as book, journal(tmp_path) as other:
        book.append(run, [submitted()])
        for number in range(3):
            assert book.append(run, [RunTagged(tags={"n": str(number)})]).seq == number + 2
        # A state that only the other one knows of: what is refused by what was known before is asked anew.
        other.append(run, [RunRunning()])
        assert book.append(run, [RunCompleted()], expected=5) == (6, 6, "Completed")
        book.append(run, [RunTagged()])
        book.append(run, [RunTagged()])
        other.append(other_run, [submitted()])
        assert book.append(run, [RunTagged()], seal=True) == (11, 10, "Completed")
        book.append(run, [RunTagged()])
        book.append(run, [RunTagged()])
        with pytest.raises(StaleVersion) as stale:
            book.append(run, [RunTagged()], expected=3)
        assert stale.value.found == 12
        other.append(run, [RunTagged()])
        with pytest.raises(IllegalTransition):
            book.append(run, [RunRunning()])
        assert book.append(run, []).head == 13
        book.append(run, [RunTagged()])
        other.rebuild()
        book.append(run, [RunTagged()])
        assert audit(book).findings == []


def test_after_it_was_closed_a_ledger_is_asked_again_where_it_ends(tmp_path: Path) -> None:
    run = run_id(1)
    with journal(tmp_path) as book:
        book.append(run, [submitted()])
        book.append(run, [RunTagged()])
        book.append(run, [RunTagged()])
        book.close()
        with journal(tmp_path) as other:
            other.append(run, [RunTagged()])
        assert book.append(run, [RunTagged()]).head == 5
        assert audit(book).findings == []
