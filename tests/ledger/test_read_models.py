"""Read models: parameters, families, words, the views beside them, and their rebuild."""

from __future__ import annotations

import itertools
import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import sqlite_utils
from make_ledger import file, finished_run, journal, metrics, python, raw, run_id, submitted, tables
from test_filter_answers import fill

from onrecord.ledger import replay
from onrecord.ledger.events import RunCanceled, RunFailed, RunRunning, RunTagged
from onrecord.ledger.journal import Journal
from onrecord.ledger.projections import ALL, families, search
from onrecord.ledger.query import Query


def found(book: Journal, text: str) -> list[str]:
    return [row.run_id for row in Query(book).search(text).rows]


def test_parameters_have_a_number_beside_the_text_where_they_are_one(book: Journal) -> None:
    run = run_id()
    arguments = ["--alpha", "0.10", "--opt=adam", "--fast", "depth=3", "data.csv", "--odd", "\udcff"]
    book.append(run, [submitted(config={"script": "train.py", "arguments": arguments})])
    book.catch_up()
    assert book.fetch("SELECT name, value, number FROM params ORDER BY name") == [
        ("alpha", "0.10", 0.1), ("depth", "3", 3.0), ("fast", "true", None), ("odd", "\\udcff", None),
        ("opt", "adam", None),
    ]  # fmt: skip
    assert found(book, "params.alpha = 0.1") == found(book, 'params.alpha = "0.10"') == [run]
    assert found(book, 'params.alpha = "0.1"') == found(book, "params.fast = 1") == []


@pytest.mark.parametrize(
    "config", [{}, {"arguments": None}, {"arguments": {"a": 1}}, {"arguments": "--a 1"}, {"script": 7}]
)
def test_a_submission_with_odd_arguments_has_no_parameters_and_is_a_run(book: Journal, config: dict[str, Any]) -> None:
    book.append(run_id(), [submitted(config=config)])
    book.catch_up()
    assert book.fetch("SELECT * FROM params") == []
    assert len(found(book, "text exp")) == 1


def test_a_family_is_closed_over_all_generations(book: Journal) -> None:
    root, child, other, grandchild, stranger = (run_id() for _ in range(5))
    for run, parent in ((root, None), (child, root), (other, root), (grandchild, child), (stranger, None)):
        book.append(run, [submitted(parent=parent)])
    book.catch_up()
    assert set(book.fetch("SELECT * FROM families")) == {
        (root, child, 1), (root, other, 1), (root, grandchild, 2), (child, grandchild, 1),
    }  # fmt: skip
    assert found(book, f"descendant of {root}") == [grandchild, other, child]
    assert found(book, f"ancestor of {grandchild}") == [child, root]
    assert found(book, f"parent = {root}") == [other, child]
    assert found(book, f"not descendant of {root} and parent is null") == [stranger, root]


def test_a_family_is_the_same_in_whichever_order_its_runs_came(tmp_path: Path) -> None:
    tree = {"b": "a", "c": "b", "d": "b", "e": "d", "a": None}
    ids = {name: run_id() for name in tree}
    answers = []
    for place, order in enumerate(itertools.islice(itertools.permutations(tree), 0, 120, 17)):
        (tmp_path / str(place)).mkdir()
        with journal(tmp_path / str(place)) as book:
            for name in order:
                parent = tree[name]
                book.append(ids[name], [submitted(parent=ids[parent] if parent else None)])
            book.catch_up()
            answers.append(sorted(book.fetch("SELECT * FROM families")))
    assert len(answers[0]) == 8
    assert all(answer == answers[0] for answer in answers)


def test_a_circle_of_parents_ends_and_a_long_chain_is_cut(book: Journal) -> None:
    one, two, alone = run_id(), run_id(), run_id()
    for run, parent in ((one, two), (two, one), (alone, alone)):
        book.append(run, [submitted(parent=parent)])
    book.catch_up()
    assert sorted(book.fetch("SELECT * FROM families")) == sorted([(two, one, 1), (one, two, 1)])
    chain = [run_id() for _ in range(families.DEEPEST + 5)]
    for run, parent in itertools.pairwise([None, *chain]):
        book.append(parent, [submitted(parent=run)])
    book.catch_up()
    assert book.fetch("SELECT count(*), max(depth) FROM families WHERE ancestor = ?", (chain[0],)) == [
        (families.DEEPEST, families.DEEPEST)
    ]


@pytest.fixture(params=["full text", "plain"])
def either(request: pytest.FixtureRequest, book: Journal, monkeypatch: pytest.MonkeyPatch) -> Journal:
    """A ledger with a full-text index, and one made where SQLite has none."""
    if request.param == "plain":
        monkeypatch.setattr(search, "SCHEMA", search.PLAIN)
    elif search.SCHEMA == search.PLAIN:
        pytest.skip("this SQLite has no FTS5")
    return book


def test_words_are_found_in_name_experiment_script_tags_and_error(either: Journal) -> None:
    run, other = run_id(), run_id()
    book = either
    begin = submitted(name="First Try", experiment="ridge-7", tags={"team": "alpha", "note": "look here"},
                      config={"script": "src/train.py"})  # fmt: skip
    book.append(run, [begin])
    book.append(other, [submitted(config={"script": "other.py"})])
    for text in ("first", "FIRST TRY", "first tr", "ridge", "train.py", "alpha", "look her", "team"):
        assert found(book, f'text "{text}"') == [run], text
    for text in ("try first", "elsewhere", "", "!!", '"', "%", "_", "*", "NEAR(a b)", "name:first", "a OR b"):
        assert found(book, f"text '{text}'") == [], text
    book.append(run, [RunTagged(tags={"team": "beta"}, removed=["note"])])
    assert found(book, "~alpha") == found(book, "~look") == []
    assert found(book, "~beta") == [run]
    book.append(run, [RunRunning(), RunTagged(removed=["team"]), RunTagged(tags={"later": "gamma"})])
    error = {"code": "UserError", "message": "CUDA out of memory", "details": "Traceback: torch.OutOfMemoryError"}
    book.append(run, [RunFailed(error=error)])
    book.append(other, [RunCanceled(message="too slow")])
    assert found(book, "~'out of mem'") == found(book, "~traceback") == found(book, "~gamma") == [run]
    assert found(book, "~'too slow' or ~beta") == [other]
    assert found(book, "not ~cuda") == [other]
    before = tables(book)["search"]
    book.rebuild()
    assert tables(book)["search"] == before


def test_the_end_of_a_long_error_is_what_is_found(book: Journal) -> None:
    run = run_id()
    book.append(run, [submitted(), RunFailed(error={"message": "begin " + "x " * 20_000 + "end"})])
    assert found(book, "~end") == [run]
    assert found(book, "~begin") == []


@pytest.mark.parametrize("batch", [7, 10_000])
def test_every_read_model_made_anew_is_what_it_was_however_it_caught_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(replay, "_BATCH", batch)
    chance = random.Random(3)
    with journal(tmp_path) as book:
        fill(book)
        runs = [row.run_id for row in Query(book).runs()]
        for _ in range(40):
            tags = {chance.choice("abc"): chance.choice("xyz")}
            book.append(chance.choice(runs), [RunTagged(tags=tags, removed=[chance.choice("abc")]), file(), metrics()])
            if chance.random() < 0.3:
                book.catch_up()
        live = tables(book)
        told: list[tuple[int, int]] = []
        assert book.rebuild(lambda done, total: told.append((done, total))) == book.size() == told[-1][0]
        assert tables(book) == live
        assert all(total == book.size() for _, total in told)


def test_an_interrupted_rebuild_leaves_the_former_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "_BATCH", 50)
    with journal(tmp_path) as book:
        fill(book)
        before = tables(book)

        def interrupt(done: int, total: int) -> None:
            if done > total / 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            book.rebuild(interrupt)
        assert tables(book) == before
        book.append(run_id(), [submitted()])
        assert book.rebuild() == book.size()


def test_a_killed_rebuild_leaves_the_former_tables(tmp_path: Path) -> None:
    with journal(tmp_path) as book:
        fill(book)
        before = tables(book)
    code = """
import os, signal, sys
from pathlib import Path
from make_ledger import journal
from onrecord.ledger import replay
replay._BATCH = 50
journal(Path(sys.argv[1])).rebuild(lambda done, total: done < total / 2 or os.kill(os.getpid(), signal.SIGKILL))
"""
    killed = python(code, tmp_path)
    assert killed.wait(100) == -9
    killed.communicate()
    with journal(tmp_path) as book:
        assert tables(book) == before


def test_whoever_reads_during_a_rebuild_sees_the_former_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "_BATCH", 50)
    with journal(tmp_path) as book:
        fill(book)
        before = tables(book)
        seen: list[bool] = []

        def look(done: int, total: int) -> None:
            with sqlite3.connect(tmp_path / "ledger.db") as reader:
                seen.append(len(reader.execute("SELECT * FROM run_tags").fetchall()) == len(before["run_tags"]))
            reader.close()

        book.rebuild(look)
        assert seen
        assert all(seen)


def test_the_views_are_readable_by_other_programs(tmp_path: Path) -> None:
    with journal(tmp_path) as book:
        run = finished_run(book)
        child = run_id()
        book.append(child, [submitted(name="named", parent=run)])
        book.catch_up()
    database = sqlite_utils.Database(tmp_path / "ledger.db")
    rows = {row["run_id"]: row for row in database["runs_readable"].rows}
    assert rows[run]["name"] == "exp_1"
    assert rows[child]["name"] == "named"
    assert rows[run]["started"] == "1970-01-01T00:00:00.000005Z"
    assert rows[child]["ended"] is None
    assert rows[run]["created"].endswith("Z")
    assert len(rows[run]["created"]) == 27
    assert rows[run]["duration_seconds"] > 0
    events = list(database["events_readable"].rows)
    assert [event["seq"] for event in events] == list(range(1, 10))
    assert {event["run_id"] for event in events} == {run, child}
    assert events[0]["payload"].startswith("{")
    assert {"runs", "files", "families", "search"} <= set(database.table_names())
    assert {"metrics", "params", "tags", "properties"} <= set(database.view_names())
    assert list(database["tags"].rows_where("run_id = ?", [run])) == [{"run_id": run, "name": "b", "value": "2"}]
    assert [row["value"] for row in database["params"].rows_where("run_id = ? and number > 0.4", [run])] == ["0.5"]
    assert [row["last"] for row in database["metrics"].rows_where(order_by="last")] == [0.5]
    database.close()


@pytest.mark.parametrize(
    "write",
    [
        lambda table: table.update(2, {"type": "run.failed"}),
        lambda table: table.delete(2),
        lambda table: table.delete_where("seq > ?", [1]),
        lambda table: table.upsert({"seq": 2, "type": "run.failed"}, pk="seq"),
        lambda table: table.insert({**next(iter(table.rows_where("seq = 2"))), "ts": 0}, replace=True),
        lambda table: table.insert_all([{**next(iter(table.rows_where("seq = 2"))), "seq": 99}]),
    ],
)  # fmt: skip
def test_history_cannot_be_changed_through_sqlite_utils(book: Journal, write: Any) -> None:
    finished_run(book)
    before = [event.seq for event in book.read()], book.fetch("SELECT * FROM events")
    connection = raw(book.database.path)
    database = sqlite_utils.Database(connection)
    with pytest.raises(sqlite3.IntegrityError, match=r"append-only|NOT NULL"):
        write(database["events"])
    connection.close()
    assert ([event.seq for event in book.read()], book.fetch("SELECT * FROM events")) == before


def test_every_table_belongs_to_one_read_model(book: Journal) -> None:
    names = [table for model in ALL for table in model.TABLES]
    assert len(names) == len(set(names))
    made = {name for (name,) in book.fetch("SELECT name FROM sqlite_master WHERE type = 'table'")}
    others = {name for name in made if name.startswith(("search_", "sqlite_", "_sqlite"))} | {"events", "projections"}
    assert made - others == set(names)
