"""Whatever is changed behind the library's back is found, and the finding says where."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from make_ledger import DIGEST, ended_well, file, finished_run, in_fork, journal, raw, run_id, submitted

from onrecord.ledger import merkle
from onrecord.ledger.audit import Audit, audit
from onrecord.ledger.audit_processes import Checks
from onrecord.ledger.events import RunCompleted, RunRunning, RunTagged
from onrecord.ledger.history import History
from onrecord.ledger.journal import Journal


def tamper(book: Journal, *statements: str) -> Audit:
    """What an audit says after someone has taken the triggers away, changed the file and put them back."""
    connection = raw(book.database.path)
    triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    connection.execute("PRAGMA ignore_check_constraints = 1")
    for statement in statements:
        connection.execute(statement)
    for _, sql in triggers:
        connection.execute(sql)
    connection.close()
    return audit(book)


def places(result: Audit) -> set[str]:
    return {finding.where for finding in result.findings}


@pytest.fixture
def runs(book: Journal) -> list[str]:
    """Two finished runs: events 1 to 8 and 9 to 16."""
    made = [finished_run(book, 1), finished_run(book, 2)]
    assert audit(book).findings == []
    return made


def test_an_untouched_ledger_has_no_findings_and_names_what_it_refers_to(book: Journal) -> None:
    run = run_id()
    book.append(run, [submitted(snapshot_id="5a" * 32), file()])
    finished_run(book)
    result = audit(book)
    assert (result.events, result.runs, result.findings) == (10, 2, [])
    assert (result.named.snapshots, result.named.contents) == ({"5a" * 32}, {DIGEST})
    leaves = book.fetch("SELECT leaf FROM events ORDER BY seq")
    assert result.root == merkle.root_of(leaf for (leaf,) in leaves).hex()


def test_an_empty_ledger_has_the_empty_root(book: Journal) -> None:
    assert audit(book) == Audit(root=merkle.EMPTY.hex())


@pytest.mark.parametrize(
    "change",
    [
        "stream = randomblob(16)",
        "stream = x'00'",
        "rseq = 40",
        "rseq = -1",
        "type = 'run.file_recorded'",
        "type = CAST(x'ff' AS TEXT)",
        "type = 'run.metrics '",
        "ts = ts + 1",
        "ts = -9223372036854775808",
        "salt = zeroblob(16)",
        "salt = NULL",
        "payload = x'00'",
        "payload = CAST(payload || x'20' AS BLOB)",
        "payload = NULL",
        "pcommit = zeroblob(32)",
        "pcommit = x''",
        "leaf = zeroblob(32)",
        "leaf = (SELECT leaf FROM events WHERE seq = 3)",
    ],
)
@pytest.mark.parametrize("seq", [1, 4, 16])
def test_a_change_of_any_column_of_any_event_is_found_at_that_event(
    book: Journal, runs: list[str], change: str, seq: int
) -> None:
    result = tamper(book, f"UPDATE events SET {change} WHERE seq = {seq}")  # noqa: S608
    assert f"event {seq}" in places(result)


@pytest.mark.parametrize(("seq", "to"), [(4, 400), (4, -4), (1, 0), (16, 17)])
def test_an_event_with_another_number_is_found(book: Journal, runs: list[str], seq: int, to: int) -> None:
    result = tamper(book, f"UPDATE events SET seq = {to} WHERE seq = {seq}")  # noqa: S608
    assert f"event {to}" in places(result)


def test_a_missing_event_is_reported_once_with_its_neighbours_and_not_for_all_that_follow(
    book: Journal, runs: list[str]
) -> None:
    result = tamper(book, "DELETE FROM events WHERE seq = 5")
    assert places(result) == {"event 6", "event 8"}
    assert [finding.problem for finding in result.findings if "missing" in finding.problem] == [
        "events are missing: the one before it has seq 4"
    ]
    assert [finding.problem for finding in result.findings if "seal" in finding.problem]


def test_a_missing_tail_and_a_missing_head_are_found(book: Journal, runs: list[str]) -> None:
    result = tamper(book, "DELETE FROM events WHERE seq = 16")
    assert places(result) == {f"table runs, run {runs[1]}"}
    result = tamper(book, "DELETE FROM events WHERE seq = 1")
    assert {"event 2", f"table runs, run {runs[0]}"} <= places(result)


@pytest.mark.parametrize("columns", ["payload, salt", "payload, salt, pcommit", "payload, salt, pcommit, leaf"])
def test_two_events_that_look_alike_and_changed_places_are_found(book: Journal, runs: list[str], columns: str) -> None:
    # The same event of each run: only its place can betray it.
    swap = f"UPDATE events SET ({columns}) = (SELECT {columns} FROM temp.other WHERE other.seq = 20 - events.seq)"  # noqa: S608
    result = tamper(book, "CREATE TEMP TABLE other AS SELECT * FROM events", swap + " WHERE seq IN (6, 14)")
    assert {"event 6", "event 14"} <= places(result)


def test_two_events_of_different_types_and_times_that_changed_places_are_found(tmp_path: Path) -> None:
    ticks = iter(range(100))
    with Journal(tmp_path / "ledger.db", clock=lambda: next(ticks)) as book:
        run = run_id()
        for event in (submitted(), RunTagged(tags={"a": "1"}), RunTagged(tags={"a": "2"}), RunRunning()):
            book.append(run, [event])
        assert audit(book).findings == []
        result = tamper(book, "UPDATE events SET ts = 3 - ts WHERE seq IN (2, 3)")
        assert {"event 2", "event 3"} <= places(result)


def test_a_whole_event_put_in_by_hand_is_found(book: Journal, runs: list[str]) -> None:
    result = tamper(
        book,
        "INSERT INTO events SELECT 17, stream, 9, type, ts, salt, payload, pcommit, leaf FROM events WHERE seq = 6",
    )
    assert {"event 17", f"table runs, run {runs[0]}"} <= places(result)


def test_a_forged_state_with_all_its_hashes_right_is_found(book: Journal, runs: list[str]) -> None:
    # Nothing is wrong with its leaf; no run can go on after its end.
    (stream,) = book.fetch("SELECT stream FROM events WHERE seq = 1")[0]
    commitment = merkle.payload_commitment(b"s" * 16, b"{}")
    leaf = merkle.leaf_hash(17, stream, 9, 0, "run.running", commitment)
    values = ", ".join(f"x'{part.hex()}'" for part in (b"s" * 16, b"{}", commitment, leaf))
    result = tamper(book, f"INSERT INTO events VALUES (17, x'{stream.hex()}', 9, 'run.running', 0, {values})")  # noqa: S608
    assert "event 17" in places(result)
    assert any("cannot follow the state Completed" in finding.problem for finding in result.findings)


COLUMNS = {
    "seq": "100", "head": "9", "experiment": "'other'", "number": "7", "name": "'x'", "run_type": "'x'",
    "parent": "'x'", "status": "'Failed'", "created_at": "1", "started_at": "NULL", "ended_at": "1", "exit_code": "1",
    "signal": "9", "error": "'{}'", "snapshot_id": "'x'", "sealed": "0",
    "archived_at": "1",
}  # fmt: skip


def test_the_table_of_changes_names_every_column(book: Journal) -> None:
    assert {row[1] for row in book.fetch("PRAGMA table_info(runs)")} == {*COLUMNS, "run_id"}


@pytest.mark.parametrize("column", COLUMNS)
def test_a_changed_column_of_a_run_is_found_and_a_rebuild_mends_it(book: Journal, runs: list[str], column: str) -> None:
    result = tamper(book, f"UPDATE runs SET {column} = {COLUMNS[column]} WHERE run_id = '{runs[0]}'")  # noqa: S608
    assert places(result) == {f"table runs, run {runs[0]}"}
    assert result.findings[0].problem.startswith(f"{column} is ")
    book.rebuild()
    assert audit(book).findings == []


def test_a_run_that_is_missing_or_made_up_is_found(book: Journal, runs: list[str]) -> None:
    other = run_id()
    result = tamper(
        book,
        f"DELETE FROM runs WHERE run_id = '{runs[0]}'",  # noqa: S608
        f"UPDATE runs SET run_id = '{other}'",  # noqa: S608
    )
    assert places(result) == {f"table runs, run {run}" for run in (*runs, other)}
    book.rebuild()
    assert audit(book).findings == []


def test_a_missing_trigger_is_found(book: Journal, runs: list[str]) -> None:
    connection = raw(book.database.path)
    connection.execute("DROP TRIGGER events_are_never_deleted")
    connection.close()
    assert places(audit(book)) == {"the database file"}


def test_an_audit_beside_a_live_writer_has_no_false_findings(tmp_path: Path) -> None:
    with journal(tmp_path) as book:
        run = run_id()
        book.append(run, [submitted()])

        def write() -> None:
            for number in range(300):
                book.append(run, [RunTagged(tags={"n": str(number)}), file()])
                book.append(run_id(), [submitted()])

        writer = in_fork(write)
        seen = [audit(book) for _ in range(30)]
        assert ended_well(writer)
        seen.append(audit(book))
    assert [result.findings for result in seen] == [[]] * 31
    assert seen[-1].events == 901


class Hurried(Journal):
    """A ledger in which another writer has appended to the one run after every answer."""

    run = ""

    def fetch(self, sql: str, parameters: Sequence[object] = ()) -> list[Any]:
        rows = super().fetch(sql, parameters)
        with Journal(self.database.path) as other:
            other.append(self.run, [RunTagged()])
        return rows


def test_an_audit_is_of_one_moment_whatever_is_appended_between_its_questions(book: Journal, runs: list[str]) -> None:
    with Hurried(book.database.path) as hurried:
        hurried.run = runs[0]
        result = audit(hurried)
        assert (result.events, result.findings) == (16, [])
    assert book.size() > 17


LAZY_CHANGES = [
    ("run_tags", "UPDATE run_tags SET value = 'x' WHERE name = 'b'"),
    ("run_tags", "DELETE FROM run_tags"),
    ("run_tags", "INSERT INTO run_tags SELECT seq, 'made up', 'x' FROM runs LIMIT 1"),
    ("run_properties", "UPDATE run_properties SET value = 'x'"),
    ("files", "UPDATE files SET digest = 'ff', size = 1"),
    ("run_metrics", "UPDATE run_metrics SET last = 7"),
    ("run_metrics", "DELETE FROM run_metrics"),
    ("spools", "UPDATE spools SET position = 0"),
]


@pytest.mark.parametrize(("table", "change"), LAZY_CHANGES)
def test_a_change_of_any_read_model_is_found_in_its_row_and_a_rebuild_mends_it(
    book: Journal, runs: list[str], table: str, change: str
) -> None:
    book.catch_up()
    result = tamper(book, change)
    assert result.findings
    where = tuple(f"table {table}, {run}" for run in runs)
    assert all(finding.where.startswith(where) for finding in result.findings)
    assert audit(book, read_models=False).findings == []
    book.rebuild()
    assert audit(book).findings == []


def test_read_models_that_have_not_caught_up_are_compared_as_far_as_they_are(book: Journal, runs: list[str]) -> None:
    assert book.fetch("SELECT count(*) FROM tags") == [(0,)]
    assert audit(book).findings == []
    book.catch_up()
    book.append(run_id(), [submitted(tags={"later": "1"})])
    assert audit(book).findings == []


def test_a_read_model_that_went_wrong_as_a_whole_is_not_listed_row_by_row(book: Journal) -> None:
    book.append(run_id(), [submitted(tags={str(number): "1" for number in range(100)})])
    book.catch_up()
    assert len(tamper(book, "UPDATE run_tags SET value = '2'").findings) == 40


def test_the_roots_at_the_sizes_that_are_asked_for_are_those_of_so_many_events(book: Journal, runs: list[str]) -> None:
    leaves = [leaf for (leaf,) in book.fetch("SELECT leaf FROM events ORDER BY seq")]
    result = audit(book, sizes=[1, 7, 7, 16, 17])
    assert result.roots == {size: merkle.root_of(leaves[:size]) for size in (1, 7, 16)}
    assert result.own_leaf == leaves[0]


def test_the_hashes_are_checked_alike_with_and_without_other_processes(book: Journal, runs: list[str]) -> None:
    tamper(
        book,
        "UPDATE events SET payload = CAST(payload || x'20' AS BLOB) WHERE seq = 4",
        "UPDATE events SET type = CAST(x'ff' AS TEXT) WHERE seq = 6",
        "UPDATE events SET ts = ts + 1 WHERE seq = 16",
        "UPDATE events SET payload = NULL, salt = NULL WHERE seq = 3",
    )
    for beside in (0, 1, 3):
        for whole in (True, False):
            with Checks(book, book.database.path, 16, beside=beside) as checks:
                checks.begin(whole)
                answer = checks.answer()
            assert (answer.suspects, answer.orderly, answer.faults) == ([3, 4, 6, 16], whole, [])


def test_processes_that_cannot_do_it_leave_it_to_this_one(
    book: Journal, runs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tamper(book, "UPDATE events SET ts = ts + 1 WHERE seq = 16")

    def found(path: Path) -> list[int]:
        with Checks(book, path, 16, beside=2) as checks:
            checks.begin(True)
            return checks.answer().suspects

    assert found(tmp_path / "elsewhere" / "ledger.db") == [16]
    monkeypatch.setattr("sys.executable", str(tmp_path / "no python"))
    assert found(book.database.path) == [16]


def test_a_process_that_was_killed_after_it_took_a_piece_leaves_it_to_this_one(
    book: Journal, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    takes_and_dies = "import os, sys; os.read(int(sys.argv[4]), 4); os.kill(os.getpid(), 9)"
    monkeypatch.setattr("onrecord.ledger.audit_processes._START", takes_and_dies)
    tamper(book, "UPDATE events SET ts = ts + 1 WHERE seq = 16")
    with Checks(book, book.database.path, 16, beside=1) as checks:
        (process,) = checks.processes
        assert process is not None
        checks.begin(True)
        process.wait()
        assert process.returncode == -9
        assert checks.answer().suspects == [16]


def test_a_process_that_is_not_asked_any_more_is_ended(book: Journal, runs: list[str]) -> None:
    with Checks(book, book.database.path, 16, beside=1) as checks:
        (process,) = checks.processes
        assert process is not None
    assert process.returncode is not None


def test_a_leaf_over_a_type_that_is_not_text_is_no_leaf(book: Journal, runs: list[str]) -> None:
    (stream, rseq, at, commitment) = book.fetch("SELECT stream, rseq, ts, pcommit FROM events WHERE seq = 16")[0]
    entry = b"RLE\x01" + (16).to_bytes(8, "big") + stream + rseq.to_bytes(8, "big") + at.to_bytes(8, "big")
    leaf = hashlib.sha256(b"\x00" + entry + b"\x00\x01\xff" + commitment).hexdigest()
    result = tamper(book, f"UPDATE events SET type = CAST(x'ff' AS TEXT), leaf = x'{leaf}' WHERE seq = 16")  # noqa: S608
    assert "event 16" in places(result)


def test_a_second_seal_counts_the_events_under_the_first_too(book: Journal) -> None:
    run = finished_run(book)
    book.append(run, [RunTagged(tags={"late": "1"})], seal=True)
    assert audit(book).findings == []
    (stream, rseq, kind, at, commitment) = book.fetch(
        "SELECT stream, rseq, type, ts, pcommit FROM events WHERE seq = 2"
    )[0]
    # Somebody who changes an event and makes its leaf anew: each seal over it gives them away.
    leaf = merkle.leaf_hash(2, stream, rseq, at + 1, kind, commitment).hex()
    result = tamper(book, f"UPDATE events SET ts = ts + 1, leaf = x'{leaf}' WHERE seq = 2")  # noqa: S608
    assert [finding.where for finding in result.findings] == ["event 8", "event 10"]


def test_findings_come_in_the_order_of_the_events(book: Journal, runs: list[str]) -> None:
    result = tamper(book, "DELETE FROM events WHERE seq = 5", "UPDATE events SET ts = ts + 1 WHERE seq IN (2, 12)")
    numbers = [int(each.where.split()[1]) for each in result.findings if each.where.startswith("event ")]
    assert numbers == sorted(numbers)
    assert {2, 6, 12} <= set(numbers)


def test_a_rebuild_in_many_batches_makes_the_same_read_models_as_one(
    book: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A run's words, tags and points come long after it was submitted.
    run = finished_run(book)
    other = run_id()
    book.append(other, [submitted(), *[RunTagged(tags={str(number): "x"}) for number in range(7)]])
    book.append(run, [RunTagged(tags={"late": "1"}, removed=["b"]), file("late")])
    monkeypatch.setattr("onrecord.ledger.replay._BATCH", 3)
    book.rebuild()
    assert audit(book).findings == []
    assert book.fetch("SELECT count(*) FROM search WHERE tags LIKE '%late%'") == [(1,)]


def test_a_trigger_of_somebody_else_is_told(book: Journal, runs: list[str]) -> None:
    result = tamper(book, "CREATE TRIGGER odd AFTER INSERT ON events BEGIN UPDATE runs SET name = 'x'; END")
    assert [each.problem for each in result.findings] == [
        "the trigger odd is not onrecord's: it may change what is recorded"
    ]


def test_a_payload_that_is_gone_without_a_word_is_found_also_after_a_rebuild(book: Journal, runs: list[str]) -> None:
    tamper(book, "UPDATE events SET payload = NULL, salt = NULL WHERE seq = 7")
    book.rebuild()
    assert places(audit(book)) == {"event 7"}


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of 16 events, here and in the processes that help (which are not asked for so few events)."""
    monkeypatch.setattr("onrecord.ledger.audit_pieces.HEIGHT", 4)
    monkeypatch.setattr("onrecord.ledger.audit_pieces.PIECE", 16)
    monkeypatch.setattr("onrecord.ledger.audit_processes.PIECE", 16)


@pytest.fixture
def interleaved_runs(book: Journal, small_pieces: None) -> list[str]:
    """Seven runs whose 10 events each come in turn, and go over many pieces: a ledger of 70 events."""
    made = [run_id(number) for number in range(7)]
    for run in made:
        book.append(run, [submitted()])
    for number in range(6):
        for run in made:
            book.append(run, [RunTagged(tags={"n": str(number)})])
    for run in made:
        book.append(run, [RunRunning(pid=1, started_at=1)])
    for run in made:
        book.append(run, [RunCompleted()], seal=True)
    return made


def test_runs_that_go_over_many_pieces_are_checked_as_one_piece_would_be(
    book: Journal, interleaved_runs: list[str]
) -> None:
    History(book).catch_up()
    leaves = [leaf for (leaf,) in book.fetch("SELECT leaf FROM events ORDER BY seq")]
    sizes = [1, 15, 16, 17, 32, 63, 64, 69, 70]
    result = audit(book, sizes=sizes)
    assert (result.events, result.runs, result.findings) == (70, 7, [])
    assert result.roots == {size: merkle.root_of(leaves[:size]) for size in sizes}
    assert result.root == merkle.root_of(leaves).hex()
    with Checks(book, book.database.path, 70, beside=0) as checks:
        checks.begin(True)
        answer = checks.answer()
    assert (answer.suspects, answer.orderly, answer.wrong_nodes, answer.faults) == ([], True, [], [])


@pytest.mark.parametrize("key", [16 * 64 + 4, 32 * 64 + 5, 64 * 64 + 6, 48 * 64 + 4])
def test_a_stored_node_that_is_wrong_is_found_below_and_above_the_pieces(
    book: Journal, interleaved_runs: list[str], key: int
) -> None:
    History(book).catch_up()
    result = tamper(book, f"UPDATE tree SET hash = zeroblob(32) WHERE id = {key}")  # noqa: S608
    assert places(result) == {f"table tree, height {key % 64} up to event {key // 64}"}


@pytest.mark.parametrize("run", range(7))
def test_an_event_moved_within_its_run_from_one_piece_to_another_is_found(
    book: Journal, interleaved_runs: list[str], run: int
) -> None:
    # Whatever somebody does who can make every hash anew: the order in the run is told by its neighbours.
    one, other = 8 + run, 36 + run
    result = tamper(
        book,
        f"UPDATE events SET rseq = 1000 WHERE seq = {one}",  # noqa: S608
        f"UPDATE events SET rseq = 2 WHERE seq = {other}",  # noqa: S608
        f"UPDATE events SET rseq = 6 WHERE seq = {one}",  # noqa: S608
        *_leaves_made_anew(book, {one: 6, other: 2}),
    )
    ordered = [finding.where for finding in result.findings if "in its run" in finding.problem]
    assert f"event {one}" in ordered
    assert f"event {other}" in ordered


def _leaves_made_anew(book: Journal, versions: dict[int, int]) -> list[str]:
    made = []
    for seq, version in versions.items():
        stream, kind, at, commitment = book.fetch("SELECT stream, type, ts, pcommit FROM events WHERE seq = ?", (seq,))[
            0
        ]
        leaf = merkle.leaf_hash(seq, stream, version, at, kind, commitment).hex()
        made.append(f"UPDATE events SET leaf = x'{leaf}' WHERE seq = {seq}")  # noqa: S608
    return made


def test_every_flipped_field_in_every_piece_is_found_at_its_event(book: Journal, interleaved_runs: list[str]) -> None:
    for seq in (1, 16, 17, 40, 64, 65, 70):
        for column in ("stream", "salt", "payload", "pcommit", "leaf"):
            ((before,),) = book.fetch(f"SELECT hex({column}) FROM events WHERE seq = {seq}")  # noqa: S608
            after = f"{int(before[:2], 16) ^ 1:02x}{before[2:]}"
            result = tamper(book, f"UPDATE events SET {column} = x'{after}' WHERE seq = {seq}")  # noqa: S608
            assert f"event {seq}" in places(result), column
            tamper(book, f"UPDATE events SET {column} = x'{before}' WHERE seq = {seq}")  # noqa: S608
    assert audit(book).findings == []
