"""Questions about runs."""

from __future__ import annotations

import pytest
from make_ledger import file, finished_run, metrics, run_id, series, submitted

from onrecord.ledger import ids
from onrecord.ledger.errors import AmbiguousRun, BadRunId, UnknownRun
from onrecord.ledger.events import PropertiesAdded, RunFailed, RunRunning, RunSubmitted, RunTagged, Unknown
from onrecord.ledger.journal import Journal
from onrecord.ledger.query import SUBMITTED_VERSION, Query


def _id(text: str) -> str:
    return ids.encode(ids.decode(text.ljust(26, "0")))


@pytest.fixture
def ask(book: Journal) -> Query:
    return Query(book)


def test_a_run_is_found_by_any_unique_start_of_its_id_in_any_spelling(book: Journal, ask: Query) -> None:
    one, two, other = _id("01kaa"), _id("01kab"), _id("7zzzz")
    for run in (one, two, other):
        book.append(run, [submitted()])
    assert ask.find("01kaa") == ask.find("OLK-AA") == ask.find(one) == one
    assert ask.find("7") == other
    assert ask.find("01kab00") == two
    with pytest.raises(AmbiguousRun) as ambiguous:
        ask.find("01k")
    assert (ambiguous.value.prefix, ambiguous.value.candidates) == ("01k", [two, one])


def test_a_very_ambiguous_start_names_ten_runs(book: Journal, ask: Query) -> None:
    for number in range(12):
        book.append(_id("01k" + ids.ALPHABET[number]), [submitted()])
    with pytest.raises(AmbiguousRun, match="more than 10") as ambiguous:
        ask.find("0")
    assert len(ambiguous.value.candidates) == 10


def test_a_run_that_is_not_there_is_unknown_and_text_that_is_no_id_is_refused(book: Journal, ask: Query) -> None:
    for text in ("@last", "01k", _id("01k")):
        with pytest.raises(UnknownRun) as unknown:
            ask.find(text)
        assert unknown.value.run_id == text
    with pytest.raises(UnknownRun):
        ask.run(_id("01k"))
    for text in ("", "@best", "train.py", "%", "01k*"):
        with pytest.raises(BadRunId):
            ask.find(text)


def test_last_is_the_run_that_was_submitted_last_not_the_highest_id(book: Journal, ask: Query) -> None:
    book.append(_id("7"), [submitted()])
    book.append(_id("0"), [submitted()])
    book.append(_id("7"), [RunRunning()])
    assert ask.find("@last") == _id("0")


def test_runs_are_listed_newest_first_and_filtered_by_all_that_is_asked(book: Journal, ask: Query) -> None:
    one, two, three = (run_id() for _ in range(3))
    book.append(one, [submitted(experiment="a", tags={"k": "1"})])
    book.append(two, [submitted(experiment="b", tags={"k": "2", "only": ""}), RunRunning()])
    book.append(three, [submitted(experiment="a", tags={"k": "1", "x": "y"}), RunFailed(error={"code": "X"})])
    assert [row.run_id for row in ask.runs()] == [three, two, one]
    assert [row.run_id for row in ask.runs(limit=2)] == [three, two]
    assert [row.run_id for row in ask.runs(experiment="a")] == [three, one]
    assert [row.run_id for row in ask.runs(status="Running")] == [two]
    assert [row.run_id for row in ask.runs(tags={"k": "1"})] == [three, one]
    assert [row.run_id for row in ask.runs(tags={"k": "1", "x": None})] == [three]
    assert (
        [row.run_id for row in ask.runs(tags={"only": None})]
        == [two]
        == [row.run_id for row in ask.runs(tags={"only": ""})]
    )
    assert ask.runs(experiment="a", status="Running") == [] == ask.runs(tags={"none": None})
    assert [row.run_id for row in ask.unfinished()] == [two, one]
    assert [row.ended for row in ask.runs()] == [True, False, False]
    assert {row.run_id: row.number for row in ask.runs()} == {one: 1, two: 1, three: 2}


def test_what_a_filter_contains_is_never_sql(book: Journal, ask: Query) -> None:
    finished_run(book)
    assert ask.runs(experiment="' OR 1 --", tags={"' OR 1 --": "%"}) == []


def test_the_last_value_of_a_tag_counts_and_a_removed_one_is_gone(book: Journal, ask: Query) -> None:
    run, other = run_id(), run_id()
    book.append(run, [submitted(tags={"a": "1", "b": "1"})])
    assert ask.tags(run) == {run: {"a": "1", "b": "1"}}
    book.append(run, [RunTagged(tags={"a": "2", "c": "é\udcff"}, removed=["b", "never there"])])
    book.append(run, [RunTagged(tags={"d": "kept"}, removed=["d"])])
    book.append(other, [submitted()])
    assert ask.tags(run) == {run: {"a": "2", "c": "é\\udcff", "d": "kept"}} == ask.tags()
    assert ask.tags(other) == {other: {}}


def test_the_first_value_of_a_property_counts(book: Journal, ask: Query) -> None:
    run = run_id()
    book.append(run, [submitted(properties={"a": "1"})])
    book.append(run, [PropertiesAdded(properties={"a": "2", "b": "2"}), PropertiesAdded(properties={"b": "3"})])
    assert ask.properties(run) == {run: {"a": "1", "b": "2"}}


def test_every_content_of_a_file_is_a_version_and_the_newest_is_listed(book: Journal, ask: Query) -> None:
    run, other = run_id(), run_id()
    for one in (run, other):
        book.append(one, [submitted(), file("b", "0" * 64), file("a", "1" * 64), file("b", "2" * 64)])
    assert [(row.name, row.version, row.digest[0]) for row in ask.files(run)] == [("a", 1, "1"), ("b", 2, "2")]
    assert [(row.version, row.digest[0]) for row in ask.file_versions(run, "b")] == [(1, "0"), (2, "2")]
    assert ask.file_versions(run, "c") == [] == ask.files(run_id())


def test_points_come_in_the_order_in_which_they_were_logged_across_chunks_and_kinds(book: Journal, ask: Query) -> None:
    run, other = run_id(), run_id()
    book.append(run, [submitted(), metrics(series("b", (1.0,)), series("a", (1.0, 2.0)), end=10)])
    book.append(other, [submitted(), metrics(series("a", (9.0,)), end=99)])
    assert ask.spool_position(run) == 10
    # The same bytes again, an empty series, and one metric in two kinds within one chunk.
    book.append(run, [metrics(series("b", (1.0,)), series("a", (1.0, 2.0)), end=10), metrics(series("a", ()), end=15)])
    book.append(run, [metrics(series("a", (3.0,)), series("a", (4,), "int64"), series("a", ("x",), "json"), end=20)])
    found = {name: [value for piece in pieces for value in piece.values] for name, pieces in ask.metrics(run).items()}
    assert found == {"a": [1.0, 2.0, 1.0, 2.0, 3.0, 4, "x"], "b": [1.0, 1.0]}
    assert [piece.kind for piece in ask.metrics(run)["a"]] == ["float64", "float64", "float64", "int64", "json"]
    assert (ask.spool_position(run), ask.spool_position(other), ask.spool_position(run_id())) == (20, 99, 0)
    assert ask.metrics(run_id()) == {}
    # The index says at which point each piece starts.
    places = book.fetch(
        "SELECT first, count FROM metric_chunks AS c JOIN runs ON runs.seq = c.run"
        " WHERE run_id = ? AND c.name = 'a' ORDER BY first",
        (run,),
    )
    assert places == [(0, 2), (2, 2), (4, 1), (5, 1), (6, 1)]


def test_an_error_is_an_object_again(book: Journal, ask: Query) -> None:
    run = run_id()
    book.append(run, [submitted(), RunFailed(error={"code": "UserError", "message": "é\udcff"}, exit_code=1)])
    assert ask.run(run).error == {"code": "UserError", "message": "é\udcff"}


def test_the_configuration_is_read_as_it_was_submitted(book: Journal, ask: Query) -> None:
    run = run_id()
    config = {"script": "träin.py", "arguments": ["--x", 1.5], "environment": {"a": None}}
    book.append(run, [submitted(config=config), file()])
    [first] = book.read(run, limit=1)
    assert isinstance(first.event, RunSubmitted)
    assert ask.config(run) == first.event.config == config
    assert RunSubmitted.version == SUBMITTED_VERSION


@pytest.mark.parametrize(
    "payload", [b"", b"[]", b"\xff", b'{"config": {"a": 1}, "v": 2}', b'{"config": [1], "v": 1}', b'{"v": 1}']
)
def test_a_configuration_that_is_not_understood_is_empty(book: Journal, ask: Query, payload: bytes) -> None:
    run = run_id()
    book.append(run, [Unknown("run.submitted", payload)])
    assert ask.config(run) == {}
    assert ask.config(run_id()) == {}
