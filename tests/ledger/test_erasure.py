"""Erasing takes payloads, and every copy of them; what is left is in order and proves itself."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_ledger import (
    file,
    finished_run,
    journal,
    metrics,
    output,
    python,
    raw,
    run_id,
    series,
    submitted,
    tables,
    whole_life,
)

from onrecord.ledger import erasure, replay
from onrecord.ledger.audit import audit
from onrecord.ledger.db import Database
from onrecord.ledger.erasure import erase, scrub
from onrecord.ledger.errors import ErasureUnfinished, LedgerError, RunNotEnded, UnknownRun
from onrecord.ledger.events import (
    Event,
    PropertiesAdded,
    RunFailed,
    RunRunning,
    RunSealed,
    RunTagged,
    Unknown,
)
from onrecord.ledger.journal import Journal
from onrecord.ledger.query import Query
from onrecord.ledger.recorded import Recorded
from onrecord.ledger.schema import PROJECTION_VERSIONS

# One word, so that an index of words holds it whole.
SECRET = "s3cr3thorsebattery"  # noqa: S105


def secretive_life() -> list[Event | Unknown]:
    """A run with the secret wherever an event can hold text."""
    return [
        submitted(
            name=f"name {SECRET}",
            config={"arguments": ["--token", SECRET], "long": SECRET * 2000},
            tags={f"tag-{SECRET}": SECRET},
            properties={f"property-{SECRET}": SECRET},
        ),
        RunRunning(pid=7, host=SECRET),
        metrics(series(f"metric-{SECRET}"), series("json", (SECRET,), "json")),
        file(f"outputs/{SECRET}"),
        RunTagged(tags={"later": SECRET}, removed=[f"tag-{SECRET}"]),
        PropertiesAdded(properties={"later": SECRET * 1000}),
        Unknown("run.of_tomorrow", SECRET.encode()),
        RunFailed(error={"code": "x", "message": SECRET, "details": f"Traceback {SECRET}"}, warnings=[SECRET]),
    ]


def secretive_run(book: Journal) -> str:
    run = run_id()
    for event in secretive_life():
        book.append(run, [event])
    book.append(run, [], seal=True)
    return run


def files_with(folder: Path, secret: str = SECRET) -> list[str]:
    return [path.name for path in sorted(folder.rglob("*")) if path.is_file() and secret.encode() in path.read_bytes()]


def rebuilt(book: Journal) -> object:
    """The read models as they are, once they were found to be what the events make of them."""
    live = tables(book)
    book.rebuild()
    assert tables(book) == live
    assert audit(book).findings == []
    return live


@pytest.mark.parametrize("caught_up", [True, False], ids=["read models caught up", "read models behind"])
@pytest.mark.parametrize("moved", [True, False], ids=["log moved before", "log not moved"])
@pytest.mark.parametrize("careless", [True, False], ids=["without secure_delete before", "with it"])
def test_after_erasing_no_file_of_the_ledger_holds_the_secret(
    tmp_path: Path, caught_up: bool, moved: bool, careless: bool
) -> None:
    with journal(tmp_path) as book:
        if careless:
            book.database.connection.execute("PRAGMA secure_delete = OFF")
        neighbours = [finished_run(book)]
        run = secretive_run(book)
        neighbours.append(finished_run(book))
        if caught_up:
            book.catch_up()
            # Copies on pages that are free again.
            book.rebuild()
        if moved:
            with book.database.lock:
                book.database.checkpoint()
        assert files_with(tmp_path)
        before = audit(book)
        assert erase(book, run) == list(range(1, 9))
        scrub(book)
        assert files_with(tmp_path) == []
        after = audit(book)
        assert (after.findings, after.erased, after.events) == ([], 8, before.events + 1)
        rebuilt(book)
        assert files_with(tmp_path) == []
        assert [Query(book).run(one).status for one in (run, *neighbours)] == ["Failed", "Completed", "Completed"]


def test_copies_on_pages_that_were_freed_by_a_careless_sqlite_go_too(tmp_path: Path) -> None:
    with journal(tmp_path) as book:
        book.database.connection.execute("PRAGMA secure_delete = OFF")
        run = run_id()
        book.append(run, [submitted(), RunTagged(tags={"large": SECRET * 2000})])
        book.catch_up()
        book.append(run, [RunTagged(removed=["large"]), *whole_life()[2:]], seal=True)
        book.catch_up()
        erase(book, run)
        with book.database.lock:
            book.database.empty_log()
        assert files_with(tmp_path), "no copy on a free page: the test proves nothing"
        scrub(book)
        assert files_with(tmp_path) == []


class Words:
    """A read model of later: a full-text index, or a table that does not say whose its rows are."""

    NAME = "words"
    VERSION = 1
    TABLES = ("words",)
    TYPES = frozenset({"run.tagged"})

    def __init__(self, schema: str) -> None:
        self.SCHEMA = schema

    def apply(self, connection: sqlite3.Connection, batch: Sequence[Recorded]) -> None:
        for recorded in batch:
            text = repr(getattr(recorded.event, "tags", ""))
            connection.execute("INSERT INTO words VALUES (?, ?)", (recorded.run_id, text))


class ForgetfulWords(Words):
    """One that knows how to forget a run."""

    def forget(self, connection: sqlite3.Connection, run_id: str) -> None:
        connection.execute("DELETE FROM words WHERE whose = ?", (run_id,))


INDEX = "CREATE VIRTUAL TABLE words USING fts5(run_id UNINDEXED, text);\n"
TABLE = "CREATE TABLE words(whose TEXT, text TEXT);\n"


@pytest.mark.parametrize("model", [Words(INDEX), Words(TABLE), ForgetfulWords(TABLE)], ids=["index", "table", "own"])
def test_a_read_model_of_any_kind_forgets_the_run_and_keeps_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Words
) -> None:
    for module in (replay, erasure):
        monkeypatch.setattr(module, "LAZY", (*replay.LAZY, model))
    monkeypatch.setattr(replay, "ALL", (*replay.ALL, model))
    monkeypatch.setitem(PROJECTION_VERSIONS, model.NAME, model.VERSION)
    with journal(tmp_path) as book:
        run, other = secretive_run(book), finished_run(book)
        book.catch_up()
        assert book.fetch("SELECT count(*) FROM words WHERE text LIKE ?", (f"%{SECRET}%",)) == [(1,)]
        erase(book, run)
        scrub(book)
        assert files_with(tmp_path) == []
        book.catch_up()
        words = book.fetch("SELECT * FROM words WHERE text != \"''\"")
        assert words == [(other, "{'b': '2'}")]
        assert Query(book).tags(other)[other] == {"b": "2"}


@pytest.mark.parametrize("victim", range(6))
def test_an_erased_run_is_cut_off_from_those_it_came_from(book: Journal, victim: int) -> None:
    # A chain of four, with a branch at its second run, and a run of another family.
    names = [run_id() for _ in range(6)]
    parents = [None, names[0], names[1], names[2], names[1], None]
    for run, parent in zip(names, parents, strict=True):
        book.append(run, [submitted(parent=parent), *whole_life()[1:]], seal=True)
    book.catch_up()
    erase(book, names[victim])
    rebuilt(book)


def test_every_leaf_and_commitment_stays_as_it_was(book: Journal) -> None:
    run = secretive_run(book)
    columns = "SELECT seq, stream, rseq, type, ts, pcommit, leaf FROM events WHERE seq <= 9"
    before = book.fetch(columns)
    erase(book, run)
    scrub(book)
    assert book.fetch(columns) == before
    (seal,) = [one for one in book.read(run) if one.type == RunSealed.type]
    assert isinstance(seal.event, RunSealed)


def test_an_erased_run_keeps_its_place_its_status_and_its_times_in_the_ledger(book: Journal) -> None:
    run = secretive_run(book)
    row = Query(book).run(run)
    erase(book, run, reason="a token", by="ada")
    erased = Query(book).run(run)
    assert (erased.erased, row.erased) == (True, False)
    assert (erased.experiment, erased.number, erased.status, erased.created_at) == (
        row.experiment,
        row.number,
        row.status,
        row.created_at,
    )
    assert (erased.name, erased.error, erased.exit_code, erased.started_at) == ("", None, None, None)
    assert erased.display_name == "exp_1"
    *_, last = book.read(run)
    assert (last.event.reason, last.event.by, last.event.files) == ("a token", "ada", False)  # type: ignore[union-attr]


def test_erasing_twice_appends_nothing_and_what_came_since_can_be_erased(book: Journal) -> None:
    run = finished_run(book)
    assert erase(book, run) == [1, 2, 3, 4, 5, 6, 7]
    size = book.size()
    assert erase(book, run) == []
    assert book.size() == size
    book.append(run, [RunTagged(tags={"late": SECRET})])
    assert erase(book, run) == [10]
    rebuilt(book)
    assert Query(book).tags(run)[run] == {}


@pytest.mark.parametrize("events", [whole_life()[:1], whole_life()[:3]])
def test_a_run_that_has_not_ended_is_refused(book: Journal, events: list[Event]) -> None:
    run = run_id()
    book.append(run, events)
    with pytest.raises(RunNotEnded) as refusal:
        erase(book, run)
    assert refusal.value.run_id == run
    assert audit(book).erased == 0


def test_a_run_that_is_not_there_is_refused(book: Journal) -> None:
    book.size()
    with pytest.raises(UnknownRun):
        erase(book, run_id())


@pytest.mark.parametrize("too", [False, True], ids=["experiment kept", "experiment erased too"])
@pytest.mark.parametrize("victims", [[0], [1], [3], [0, 1], [1, 0], [1, 2], [2, 1], [3, 2], [0, 1, 2, 3]])
def test_no_other_run_gets_a_new_number(book: Journal, too: bool, victims: list[int]) -> None:
    names = [run_id(number) for number in range(4)]
    for run in names:
        book.append(run, [submitted(), *whole_life()[1:]], seal=True)
    numbers = {run: Query(book).run(run).number for run in names}
    for victim in victims:
        erase(book, names[victim], experiment_too=too)
        rebuilt(book)
    others = [run for place, run in enumerate(names) if place not in victims or not too]
    assert {run: Query(book).run(run).number for run in others} == {run: numbers[run] for run in others}
    finished_run(book)
    rebuilt(book)


@pytest.mark.parametrize("too", [False, True], ids=["experiment kept", "experiment erased too"])
def test_the_past_shows_no_more_of_an_erased_run_and_the_same_numbers_of_the_others(book: Journal, too: bool) -> None:
    first, second = finished_run(book), finished_run(book)
    then = book.size()
    erase(book, first, experiment_too=too)
    past = Query(book).at(then)
    assert [past.run(run).erased for run in (first, second)] == [True, False]
    assert past.run(second).number == 2
    assert past.tags(first)[first] == {}
    assert past.tags(second)[second] == {"b": "2"}


def test_the_experiment_can_go_too_also_later(tmp_path: Path) -> None:
    with journal(tmp_path) as book:
        run = run_id()
        book.append(run, [submitted(experiment=SECRET), *whole_life()[1:]], seal=True)
        erase(book, run)
        scrub(book)
        assert files_with(tmp_path)
        assert erase(book, run, experiment_too=True) == [9]
        scrub(book)
        assert files_with(tmp_path) == []
        row = Query(book).run(run)
        assert (row.experiment, row.display_name, row.number < 0) == ("", "(erased)", True)
        assert erase(book, run, experiment_too=True) == []
        rebuilt(book)


@settings(max_examples=40)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("submit"), st.sampled_from("ab")),
            st.tuples(st.just("stranger"), st.just("")),
            st.tuples(st.sampled_from(["erase", "erase too"]), st.integers(0, 7)),
        ),
        max_size=14,
    )
)
def test_in_any_order_of_runs_and_erasures_the_table_is_what_the_events_make_of_it(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str | int]]
) -> None:
    with journal(tmp_path_factory.mktemp("steps")) as book:
        runs: list[str] = []
        for step, what in steps:
            if isinstance(what, str):
                runs.append(run_id())
                first = submitted(experiment=what) if what else Unknown("run.submitted", b'{"v":9}')
                book.append(runs[-1], [first, *whole_life()[1:]], seal=True)
            elif what < len(runs):
                erase(book, runs[what], experiment_too=step == "erase too")
        rebuilt(book)


def test_a_reader_in_the_middle_of_a_query_is_waited_for_and_then_named(tmp_path: Path) -> None:
    with journal(tmp_path) as book:
        run = secretive_run(book)
        reader = raw(book.database.path)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchone()
        erase(book, run)
        with pytest.raises(ErasureUnfinished) as unfinished:
            scrub(book, wait_seconds=0.2)
        assert unfinished.value.path == book.database.path
        assert finished_run(book)
        reader.close()
        assert erase(book, run) == []
        scrub(book)
        assert files_with(tmp_path) == []


def _may_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    attempt = ["unshare", "-m", "mount", "-t", "tmpfs", "none", tempfile.gettempdir()]
    return subprocess.run(attempt, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not _may_mount(), reason="a small disk of its own takes the right to mount one")
def test_a_disk_without_room_to_write_the_file_anew_is_said_and_room_mends_it(tmp_path: Path) -> None:
    program = """
import pathlib, sys
from make_ledger import journal
from test_erasure import SECRET, files_with, secretive_run
from onrecord.ledger.erasure import erase, scrub
from onrecord.ledger.errors import ErasureUnfinished
folder = pathlib.Path(sys.argv[1])
with journal(folder) as book:
    runs = [secretive_run(book) for _ in range(20)]
    with book.database.lock:
        assert book.database.empty_log()
    erase(book, runs[0])
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)) == 4096: pass
        except OSError:
            pass
    try:
        scrub(book)
    except ErasureUnfinished as unfinished:
        assert "disk is full" in unfinished.why
    else:
        raise SystemExit("there was room")
    filler.unlink()
    for run in runs[1:]:
        erase(book, run)
    scrub(book)
    assert files_with(folder) == []
"""
    mounted = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=24m none "$0" && exec "$@"', str(tmp_path)]
    output(python(program, tmp_path, prefix=mounted))


def test_erasing_goes_on_beside_writers_and_readers(tmp_path: Path) -> None:
    writer = (
        "import sys, pathlib\n"
        "from make_ledger import journal, finished_run\n"
        "from onrecord.ledger.query import Query\n"
        "with journal(pathlib.Path(sys.argv[1])) as book:\n"
        "    for _ in range(40):\n"
        "        run = finished_run(book)\n"
        "        assert Query(book).tags(run)[run] == {'b': '2'}\n"
    )
    with journal(tmp_path) as book:
        runs = [secretive_run(book) for _ in range(6)]
        others = [python(writer, tmp_path) for _ in range(2)]
        for run in runs:
            erase(book, run)
            scrub(book)
        for other in others:
            output(other)
        scrub(book)
        assert files_with(tmp_path) == []
        assert book.size() == 6 * 10 + 80 * 8
        rebuilt(book)


def test_an_audit_beside_erasures_finds_nothing_wrong(tmp_path: Path) -> None:
    auditor = (
        "import sys, pathlib\n"
        "from make_ledger import journal\n"
        "from onrecord.ledger.audit import audit\n"
        "with journal(pathlib.Path(sys.argv[1])) as book:\n"
        "    print('ready', flush=True)\n"
        "    for _ in range(15):\n"
        "        assert audit(book).findings == [], audit(book).findings\n"
    )
    with journal(tmp_path) as book:
        runs = [finished_run(book) for _ in range(150)]
        other = python(auditor, tmp_path)
        assert other.stdout is not None
        other.stdout.readline()
        for run in runs[::2]:
            erase(book, run, experiment_too=run in runs[::4])
        output(other)


def test_a_ledger_that_cannot_be_written_is_not_erased(tmp_path: Path) -> None:
    with journal(tmp_path) as book:
        run = finished_run(book)
    connection = raw(tmp_path / "ledger.db")
    connection.execute("PRAGMA user_version = 7")
    connection.close()
    with journal(tmp_path) as book:
        for act in (lambda: erase(book, run), lambda: scrub(book)):
            with pytest.raises(LedgerError):
                act()
        assert audit(book).erased == 0


def test_a_log_that_a_reader_holds_is_not_emptied(tmp_path: Path) -> None:
    with journal(tmp_path) as book:
        finished_run(book)
        database: Database = book.database
        with database.lock:
            assert database.empty_log()
        assert (tmp_path / "ledger.db-wal").stat().st_size == 0
        finished_run(book)
        assert audit(book).findings == []
