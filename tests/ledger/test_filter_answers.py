"""Filters give what they mean: every answer is compared with one that plain Python works out."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from filter_oracle import Oracle, Said
from hypothesis import given, settings
from hypothesis import strategies as st
from make_ledger import journal, metrics, run_id, series, submitted

from onrecord.ledger import search
from onrecord.ledger.events import (
    ExperimentArchived,
    PropertiesAdded,
    RunArchived,
    RunCanceled,
    RunDescribed,
    RunFailed,
    RunNoted,
    RunRunning,
)
from onrecord.ledger.experiments import say
from onrecord.ledger.filter_fields import COLUMNS, MEASURES
from onrecord.ledger.filter_tree import (
    And,
    Compare,
    Exists,
    Field,
    Filter,
    Kin,
    Matches,
    Not,
    OneOf,
    Or,
    Order,
    Words,
)
from onrecord.ledger.journal import Journal
from onrecord.ledger.query import Query

RUNS = 60
KEYS = ("a", "b", "val loss", "x.y", "q\"u'o", "' OR 1 --")
TEXTS = ("", "a", "A", "0.5", "1e-1", "true", "x%y", "x_y", "x\\", "é", "'; DROP TABLE runs; --", "long word")
NUMBERS = (-1.0, 0.0, 0.1, 0.5, 1.0, 2.0, 1e300, float("inf"))


def fill(book: Journal) -> None:
    """Runs of every kind, the same ones each time."""
    chance, made = random.Random(7), list[str]()
    for place in range(RUNS):
        run = run_id(1000 + place * 37 % RUNS)
        arguments = [f"--{key}={chance.choice(TEXTS)}" for key in ("a", "b", "x.y") if chance.random() < 0.6]
        parent = chance.choice([None, *made[-9:]])
        begin = submitted(
            experiment=chance.choice(("e1", "e2", "Other")),
            name=chance.choice(("", "first", "Second try")),
            config={"script": "train.py", "arguments": arguments},
            tags={key: chance.choice(TEXTS) for key in KEYS if chance.random() < 0.5},
            parent=parent,
            snapshot_id=chance.choice((None, "ab" * 32)),
        )
        book.append(run, [begin, *_middle(chance), *_end(chance), *_words_of(place)])
        made.append(run)
    say(book, ExperimentArchived(name="Other"))


def _words_of(place: int) -> list[Any]:
    found: list[Any] = [RunDescribed(description=TEXTS[place % len(TEXTS)])] if place % 3 == 0 else []
    found += [RunNoted(text=f"note {number} of it", by="ada") for number in range(place % 4 - 1)]
    return [*found, RunArchived()] if place % 5 == 0 else found


def _middle(chance: random.Random) -> list[Any]:
    found: list[Any] = [
        PropertiesAdded(properties={key: chance.choice(TEXTS) for key in KEYS if chance.random() < 0.3})
    ]
    if chance.random() < 0.8:
        found.append(RunRunning(started_at=chance.randrange(1, 10) * 1_000_000))
    points = [
        series(key, tuple(chance.choice((*NUMBERS[:-1], float("nan"))) for _ in range(chance.randrange(1, 4))))
        for key in KEYS
        if chance.random() < 0.6
    ]
    return [*found, metrics(*points)] if points else found


def _end(chance: random.Random) -> list[Any]:
    error = {"code": chance.choice(("UserError", "Lost")), "message": chance.choice(("CUDA out of memory", "Killed"))}
    return chance.choice(
        ([], [RunFailed(error=error, exit_code=chance.choice((1, 2)), signal=9)], [RunCanceled(message="a b")], [])
    )


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journal]:
    with journal(tmp_path_factory.mktemp("filters")) as book:
        fill(book)
        yield book


@pytest.fixture(scope="module")
def oracle(full: Journal) -> Oracle:
    query = Query(full)
    rows = query.runs()[::-1]
    facts = query.facts([row.run_id for row in rows])
    measures = {}
    for run in facts:
        for name, pieces in query.metrics(run).items():
            values = [value for piece in pieces for value in piece.values]
            numbers = [value for value in values if value == value]
            last = values[-1] if values[-1] == values[-1] else None
            steps = [step for piece in pieces for step in piece.steps]
            found = {
                "last": last, "minimum": min(numbers, default=None), "maximum": max(numbers, default=None),
                "count": len(values), "last_step": steps[-1],
            }  # fmt: skip
            measures.update({(run, name, measure): value for measure, value in found.items()})
    said = {
        row.run_id: Said(
            query.descriptions([row.run_id]).get(row.run_id),
            "\n".join(note.text for note in query.notes([row.run_id])[row.run_id]) or None,
            int(row.archived_at is not None or row.experiment == "Other"),
        )
        for row in rows
    }
    return Oracle(rows, facts, measures, said)


_entries = st.builds(Field, st.sampled_from(("params", "tags", "properties")), st.sampled_from(KEYS))
_metrics = st.builds(
    Field, st.just("metrics"), st.sampled_from(KEYS), st.sampled_from([*["last"] * 5, *MEASURES.values()])
)
_numeric = st.builds(
    Field, st.just("runs"), st.sampled_from(("number", "exit_code", "signal", "created", "started", "duration"))
)
_texts = st.builds(
    Field,
    st.just("runs"),
    st.sampled_from(("name", "experiment", "type", "snapshot_id", "error", "error_code", "description", "notes")),
)
_params = st.builds(Field, st.just("params"), st.sampled_from(KEYS))
_columns = st.builds(Field, st.just("runs"), st.sampled_from(list(COLUMNS)))
_operators = st.sampled_from(("=", "<", "<=", ">", ">="))
_text = st.one_of(
    st.sampled_from((*TEXTS, "e1", "e2", "first", "second TRY", "CUDA out of memory", "Killed")), st.text(max_size=3)
)
_text = _text.filter(lambda text: "\0" not in text and not any("\ud800" <= one <= "\udfff" for one in text))
_number = st.one_of(
    st.sampled_from(NUMBERS), st.integers(-3, 60).map(float), st.integers(0, 10).map(lambda n: n * 1_000_000)
)
_runs = st.integers(0, RUNS - 1).map(lambda place: run_id(1000 + place))
_words = st.sampled_from(
    (
        "out of mem",
        "cuda",
        "of",
        "OUT",
        "a",
        "second try",
        "train py",
        "e1",
        "a 0 5",
        "lost",
        "nothing here",
        "note 1 of",
        "ada",
    )
)
_leaves = st.one_of(
    st.builds(Compare, st.one_of(_numeric, _metrics, _params), _operators, _number),
    st.builds(Compare, st.one_of(_texts, _entries), _operators, _text),
    st.builds(
        Compare, st.just(Field("runs", "status")), st.just("="), st.sampled_from(("Failed", "Running", "Canceled"))
    ),
    st.builds(Compare, st.just(Field("runs", "archived")), st.just("="), st.sampled_from((0, 1))),
    st.builds(Compare, st.sampled_from((Field("runs", "parent"), Field("runs", "run_id"))), st.just("="), _runs),
    st.just(Not(Exists(Field("runs", "parent")))),
    st.builds(OneOf, _metrics, st.lists(_number, min_size=1, max_size=4).map(tuple)),
    st.builds(OneOf, _params, st.lists(st.one_of(_number, _text), min_size=1, max_size=4).map(tuple)),
    st.builds(OneOf, st.one_of(_texts, _entries), st.lists(_text, min_size=1, max_size=4).map(tuple)),
    st.builds(Matches, st.one_of(_texts, _entries), st.sampled_from(("contains", "starts", "like")), _text),
    st.builds(
        Matches,
        st.sampled_from((Field("runs", "parent"), Field("runs", "run_id"))),
        st.just("starts"),
        _runs.map(lambda run: run[:9]),
    ),
    st.builds(Exists, st.one_of(_columns, _metrics, _entries)),
    st.builds(Kin, st.sampled_from(("descendant", "ancestor")), _runs),
    st.builds(Words, _words),
)
_nodes = st.recursive(
    _leaves,
    lambda parts: st.one_of(
        st.builds(Not, parts),
        st.builds(And, st.lists(parts, min_size=2, max_size=3).map(tuple)),
        st.builds(Or, st.lists(parts, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=5,
)
_orders = st.lists(st.builds(Order, st.one_of(_metrics, _entries, _columns), st.booleans()), max_size=3).map(tuple)
_filters = st.builds(Filter, st.one_of(st.none(), _leaves, _nodes), _orders)


def ids_of(query: Query, wanted: Filter, size: int) -> list[str]:
    """Every page after the other."""
    found, after = list[str](), None
    while True:
        page = query.search(wanted, after=after, limit=size)
        assert len(page.rows) == size or page.next is None
        found += [row.run_id for row in page.rows]
        if page.next is None:
            return found
        after = page.next


@settings(max_examples=250)
@given(wanted=_filters, size=st.sampled_from((1, 7, 100)), few=st.sampled_from((0, 3, 1000)))
def test_every_filter_gives_what_it_means_whichever_way_is_walked_and_however_it_is_paged(
    full: Journal, oracle: Oracle, wanted: Filter, size: int, few: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # With 0 it always walks in order where it can, with 1000 it begins with a condition.
        patch.setattr(search, "_FEW", few)
        patch.setattr(search, "_MANY", few)
        assert ids_of(Query(full), wanted, size) == oracle.answer(wanted)
