"""Searches: nothing of a filter is SQL, pages stay in step, the right index is walked, errors name what is missing."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from make_ledger import journal, metrics, run_id, series, submitted
from test_filter_answers import RUNS, fill

from onrecord.ledger.errors import AmbiguousRun, BadCursor, BadFilter, UnknownRun
from onrecord.ledger.filter_lexer import quoted
from onrecord.ledger.filter_parser import DEEPEST, MOST_CONDITIONS, MOST_VALUES
from onrecord.ledger.filter_tree import And, Compare, Field, Filter, Matches, Node, OneOf
from onrecord.ledger.journal import Journal
from onrecord.ledger.query import Query


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journal]:
    with journal(tmp_path_factory.mktemp("search")) as book:
        fill(book)
        yield book


def rows_of(query: Query, text: str) -> list[str]:
    return [row.run_id for row in query.search(text, limit=1000).rows]


@pytest.mark.parametrize(
    "hostile",
    [
        "' OR 1 --",
        '" OR "1"="1',
        "x'); DROP TABLE runs; --",
        "%",
        "_",
        "\\",
        "?",
        ":name",
        "]",
        "[a",
        "\ud800",
        "\n",
        "*",
    ],
)
def test_what_a_filter_contains_is_never_sql(book: Journal, hostile: str) -> None:
    run, other = run_id(), run_id()
    begin = submitted(experiment=hostile, tags={hostile: hostile}, properties={hostile: hostile},
                      config={"script": hostile, "arguments": [f"--k={hostile}"]})  # fmt: skip
    book.append(run, [begin, metrics(series(hostile, (0.5,)))])
    book.append(other, [submitted()])
    query = Query(book)
    text_of_it = quoted(hostile)
    for text in (
        f"tags.{text_of_it} = {text_of_it}", f"properties.{text_of_it} = {text_of_it}", f"params.k = {text_of_it}",
        f"metrics.{text_of_it} = 0.5", f"experiment = {text_of_it}", f"experiment in ({text_of_it}, x)",
        f"experiment contains {text_of_it}", f"experiment starts with {text_of_it}", f"tags.{text_of_it} exists",
        f"tags.{text_of_it} = {text_of_it} order by tags.{text_of_it}, metrics.{text_of_it} desc",
        f"tags.{text_of_it} = {text_of_it} order by params.{text_of_it}, properties.{text_of_it} desc",
    ):  # fmt: skip
        assert rows_of(query, text) == [run], text
    for text in (f"text {text_of_it}", f"~{text_of_it}", f"name like {text_of_it}", f"error contains {text_of_it}"):
        rows_of(query, text)
    assert rows_of(query, f"not tags.{text_of_it} exists") == [other]
    assert len(query.runs()) == 2


def test_the_deepest_and_the_widest_filter_is_answered(book: Journal) -> None:
    run = run_id()
    book.append(run, [submitted(tags={"a": "1"})])
    query, deep = Query(book), DEEPEST // 2 - 1
    assert rows_of(query, "not (tags.a = 1 and " * deep + "tags.a = 1" + ")" * deep) == ([] if deep % 2 else [run])
    assert rows_of(query, "(tags.a = 2 or " * (DEEPEST - 1) + "tags.a = 1" + ")" * (DEEPEST - 1)) == [run]
    assert rows_of(query, " and ".join(["tags.a = 1"] * MOST_CONDITIONS)) == [run]
    assert rows_of(query, " or ".join(["not metrics.b < 1"] * MOST_CONDITIONS)) == [run]
    assert rows_of(query, f"tags.a in ({', '.join(map(str, range(MOST_VALUES)))})") == [run]
    many = And(tuple(OneOf(Field("tags", "a"), tuple(map(str, range(1000)))) for _ in range(40)))
    with pytest.raises(BadFilter, match="more than 30,000 values"):
        query.search(Filter(many))


@pytest.mark.parametrize(
    "wanted",
    [
        Compare(Field("events", "a"), "=", "x"),
        Compare(Field("tags", "a"), "= 1 OR", "x"),
        Compare(Field("metrics", "a", "salt"), "=", 1.0),
        Matches(Field("tags", "a"), "glob", "x"),
    ],
)
def test_a_filter_that_was_made_by_hand_cannot_name_what_is_not_there(book: Journal, wanted: Node) -> None:
    book.append(run_id(), [submitted()])
    with pytest.raises(BadFilter, match="there is no"):
        Query(book).search(Filter(wanted))


@pytest.mark.parametrize(
    "order", ["", "order by metrics.a", "order by params.a desc", "order by tags.a, metrics.a desc"]
)
def test_pages_stay_in_step_while_runs_arrive(tmp_path: Path, order: str) -> None:
    with journal(tmp_path) as book:
        fill(book)
        query = Query(book)
        before, seen, after = rows_of(query, order), list[str](), None
        while True:
            page = query.search(order, after=after, limit=7)
            seen += [row.run_id for row in page.rows]
            book.append(run_id(), [submitted(tags={"a": "a"}), metrics(series("a", (0.1,)))])
            if page.next is None:
                break
            after = page.next
        assert [run for run in seen if run in before] == before
        assert len(seen) == len(set(seen))


def test_a_cursor_of_another_order_or_of_nothing_is_refused(full: Journal) -> None:
    query = Query(full)
    cursor = query.search("order by metrics.a", limit=3).next
    assert cursor is not None
    assert cursor.replace("-", "").replace("_", "").isalnum()
    for text, after in (
        *((text, cursor) for text in ("", "order by metrics.a desc", "order by metrics.b", "order by metrics.a, name")),
        *(("order by metrics.a", text) for text in ("", "no!", "é", cursor[:-4], forged([1, 2]), forged({}))),
        ("order by metrics.a", forged([1, 0, 5, "x"])),
        *(("", forged(document)) for document in ([1, 223132457, [], True], [1, 223132457, [], 2**64], [2, 0, [], 5])),
    ):
        with pytest.raises(BadCursor) as bad:
            query.search(text, after=after)
        assert bad.value.cursor == after
    assert len(query.search("order by metrics.a", after=cursor, limit=100).rows) == RUNS - 3


def forged(document: object) -> str:
    """A cursor that somebody made by hand."""
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


def test_best_is_the_lowest_last_value_or_the_highest_of_equals_the_newest(book: Journal) -> None:
    runs = [run_id() for _ in range(4)]
    for run, values in zip(runs, [(0.1, 3.0), (9.0, 1.0), (1.0,), (float("nan"),)], strict=True):
        book.append(run, [submitted(), metrics(series("val loss", values), series("max:x", values))])
    query = Query(book)
    assert query.find("@best:val loss") == query.find("@best:min:val loss") == runs[2]
    assert query.find("@best:max:val loss") == query.find("@best:max:max:x") == runs[0]
    assert query.find("@best:min:max:x") == runs[2]
    assert rows_of(query, "run_id = '@best:val loss'") == [runs[2]]
    for text in ("@best:", "@best:nothing", "@best:x"):
        with pytest.raises(UnknownRun, match="no run has a number") as unknown:
            query.find(text)
        assert unknown.value.run_id == text


def test_a_page_without_room_is_refused(full: Journal) -> None:
    for limit in (0, -1):
        with pytest.raises(BadFilter, match="one run at least"):
            Query(full).search("", limit=limit)


def test_a_kin_that_is_not_there_is_named(full: Journal) -> None:
    query = Query(full)
    with pytest.raises(UnknownRun):
        query.search("descendant of 7zzzz")
    with pytest.raises(AmbiguousRun):
        query.search("ancestor of 0")
    assert rows_of(query, f"descendant of {run_id(1000)[:25]}") == rows_of(query, f"descendant of {run_id(1000)}")


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("metrics.a < 1 order by metrics.a limit 5", "metrics_by_value (name=? AND last<?)"),
        ("order by metrics.a desc", "metrics_by_value (name=? AND last>?)"),
        ("order by params.a", "params_by_number"),
        ("order by tags.a", "tags_by_name"),
        ("tags.a = x order by tags.a", "tags_by_name (name=? AND value=?)"),
        ("params.a = adam order by params.a", "params_by_text (name=? AND value=?)"),
        ("params.a > 1 order by params.a", "params_by_number (name=? AND number>?)"),
        ("metrics.a in (1, 2) order by metrics.a", "metrics_by_value (name=? AND last=?)"),
        ("order by created desc", "runs_created"),
        ("tags.a = x", "tags_by_name (name=? AND value=?)"),
        ("params.a = x", "params_by_text (name=? AND value=?)"),
        ("params.a in (1, 2) and params.b > 5", "params_by_number (name=? AND number>?)"),
        ("parent = 7zz", "runs_parent (parent>? AND parent<?)"),
        ("status in (failed, running)", "runs_status (status=?)"),
        ("created > 2026-01-31 order by name", "runs_created (created_at>?)"),
        ("descendant of @last", "SEARCH d USING PRIMARY KEY (ancestor=?)"),
        ("experiment = x", "runs_experiment (experiment=?)"),
        ("parent is null", "SCAN r USING INDEX runs_without_parent"),
        ("parent is null and experiment = e1", "runs_without_parent_by_experiment (experiment=?)"),
        (f"parent = {run_id(1000)}", "runs_parent (parent=?)"),
    ],
)
def test_the_index_that_leads_to_few_runs_is_used_and_nothing_is_sorted_that_it_has_in_order(
    full: Journal, monkeypatch: pytest.MonkeyPatch, text: str, index: str
) -> None:
    plans: list[str] = []

    def fetch(sql: str, values: Sequence[object] = ()) -> list[Any]:
        # Neither what counts, nor what finds @last.
        if " AS r" in sql and "count(*)" not in sql and not sql.startswith("SELECT run_id "):
            plans.append("\n".join(row[3] for row in Journal.fetch(full, f"EXPLAIN QUERY PLAN {sql}", values)))
        return Journal.fetch(full, sql, values)

    monkeypatch.setattr(full, "fetch", fetch)
    Query(full).search(text)
    assert index in plans[0], plans
    if text.startswith(("order by", "parent is", "parent = 0")) or "order by metrics" in text:
        assert "TEMP B-TREE" not in plans[0], plans


def test_facts_and_values_of_runs_come_in_few_statements(full: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    query, statements = Query(full), list[str]()
    runs = [row.run_id for row in query.runs()]

    def fetch(sql: str, values: Sequence[object] = ()) -> list[Any]:
        statements.append(sql)
        return Journal.fetch(full, sql, values)

    monkeypatch.setattr(full, "fetch", fetch)
    facts = query.facts(runs)
    assert len(statements) == 5
    assert {run: facts[run].tags for run in runs if facts[run].tags} == query.tags()
    values = query.values(runs, [Field("tags", "a"), Field("metrics", "a", "last"), Field("runs", "number")])
    assert {run: value[0] for run, value in values.items()} == {run: facts[run].tags.get("a") for run in runs}
    assert {run: value[1] for run, value in values.items()} == {run: facts[run].metrics.get("a") for run in runs}
    assert query.facts([]) == {} == query.values([], [Field("tags", "a")])
