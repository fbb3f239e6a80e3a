"""The filter language: what texts mean, and where a wrong one is wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onrecord.ledger.errors import BadFilter
from onrecord.ledger.filter_lexer import LONGEST, quoted
from onrecord.ledger.filter_parser import DEEPEST, MOST_CONDITIONS, MOST_KEYS, MOST_VALUES, parse, parse_fields
from onrecord.ledger.filter_tree import (
    And,
    Compare,
    Exists,
    Field,
    Filter,
    Kin,
    Matches,
    Node,
    Not,
    OneOf,
    Or,
    Order,
    Words,
)
from onrecord.ledger.filter_values import moment, span
from onrecord.ledger.text import storable

NOW = 1_790_000_000_000_000
NAME, STATUS = Field("runs", "name"), Field("runs", "status")


def where(text: str) -> Node | None:
    return parse(text, NOW).where


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ('name = "x"', Compare(NAME, "=", "x")),
        ("NAME = 'x'", Compare(NAME, "=", "x")),
        ("name == x", Compare(NAME, "=", "x")),
        ("name <> x", Not(Compare(NAME, "=", "x"))),
        (r'name = "a\"b\\c\n\t\é"', Compare(NAME, "=", 'a"b\\c\n\té')),
        ("status = completed", Compare(STATUS, "=", "Completed")),
        ("status=cancel-requested", Compare(STATUS, "=", "CancelRequested")),
        ("status not in (failed, Canceled)", Not(OneOf(STATUS, ("Failed", "Canceled")))),
        ("metrics.mse < 0.5", Compare(Field("metrics", "mse", "last"), "<", 0.5)),
        ("metrics.val.loss>=-1e-3", Compare(Field("metrics", "val.loss", "last"), ">=", -0.001)),
        ("metrics.val/loss = inf", Compare(Field("metrics", "val/loss", "last"), "=", float("inf"))),
        ('metrics."val loss" > 1', Compare(Field("metrics", "val loss", "last"), ">", 1.0)),
        ('Metrics."a\\"b" > 1', Compare(Field("metrics", 'a"b', "last"), ">", 1.0)),
        ("min(metrics.loss.max) < 1", Compare(Field("metrics", "loss.max", "minimum"), "<", 1.0)),
        ("count( metrics.loss ) > 10", Compare(Field("metrics", "loss", "count"), ">", 10.0)),
        ("params.alpha = 0.1", Compare(Field("params", "alpha"), "=", 0.1)),
        ('params.alpha = "0.1"', Compare(Field("params", "alpha"), "=", "0.1")),
        ("params.alpha in (0.1, adam)", OneOf(Field("params", "alpha"), (0.1, "adam"))),
        ("tags.team = a", Compare(Field("tags", "team"), "=", "a")),
        ("tags.count = 10", Compare(Field("tags", "count"), "=", "10")),
        ("tags.team exists", Exists(Field("tags", "team"))),
        ("tags.team not exists", Not(Exists(Field("tags", "team")))),
        ("exit_code is null", Not(Exists(Field("runs", "exit_code")))),
        ("properties.git is not null", Exists(Field("properties", "git"))),
        ("name contains x", Matches(NAME, "contains", "x")),
        ("name not like 'x%'", Not(Matches(NAME, "like", "x%"))),
        ("name starts with x", Matches(NAME, "starts", "x")),
        ("text 'out of memory'", Words("out of memory")),
        ("~cuda", Words("cuda")),
        ("descendant of 01JD3", Kin("descendant", "01jd3")),
        ("ancestor of @last", Kin("ancestor", "@last")),
        ("parent = 01jd3", Matches(Field("runs", "parent"), "starts", "01jd3")),
        ("run_id = @best:mse", Compare(Field("runs", "run_id"), "=", "@best:mse")),
        ("duration > 1h30m", Compare(Field("runs", "duration"), ">", 5_400_000_000)),
        ("duration > 1.5", Compare(Field("runs", "duration"), ">", 1_500_000)),
        ("created > 7d ago", Compare(Field("runs", "created"), ">=", NOW - 7 * 86_400_000_000 + 1)),
        ("created <= now", Compare(Field("runs", "created"), "<", NOW + 1)),
        ("not not name = x", Not(Not(Compare(NAME, "=", "x")))),
        ("name=a or name=b and name=c",
         Or((Compare(NAME, "=", "a"), And((Compare(NAME, "=", "b"), Compare(NAME, "=", "c")))))),
        ("(name=a OR name=b) And name=c",
         And((Or((Compare(NAME, "=", "a"), Compare(NAME, "=", "b"))), Compare(NAME, "=", "c")))),
    ],
)  # fmt: skip
def test_a_condition_means(text: str, meaning: Node) -> None:
    assert where(text) == meaning


def test_an_order_and_a_limit_come_last_and_can_stand_alone() -> None:
    assert parse("", NOW) == Filter()
    assert parse(" \n ", NOW) == Filter()
    loss = Field("metrics", "loss", "last")
    assert parse("order by metrics.loss limit 20", NOW) == Filter(None, (Order(loss),), 20)
    assert parse("ORDER BY max(metrics.loss) DESC, name asc, created", NOW).order == (
        Order(loss._replace(measure="maximum"), True), Order(NAME), Order(Field("runs", "created")),
    )  # fmt: skip
    assert parse("name = x limit 1", NOW).limit == 1


def test_a_day_is_all_its_moments() -> None:
    created = Field("runs", "created")
    first, after = moment("2026-01-31") or (0, 0)
    assert after - first == 86_400_000_000
    assert where("created = 2026-01-31") == And((Compare(created, ">=", first), Compare(created, "<", after)))
    assert where("created > 2026-01-31") == Compare(created, ">=", after)
    assert where("created >= 2026-01-31") == Compare(created, ">=", first)
    assert where("created < 2026-01-31") == Compare(created, "<", first)
    assert where("created <= 2026-01-31") == Compare(created, "<", after)
    assert where("created in (2026-01-31, now)") == Or(
        (
            And((Compare(created, ">=", first), Compare(created, "<", after))),
            And((Compare(created, ">=", NOW), Compare(created, "<", NOW + 1))),
        )
    )


def test_times_have_a_zone_or_are_local() -> None:
    assert moment("1970-01-01T00:00:01Z") == (1_000_000, 1_000_001)
    assert moment("1970-01-01 02:00:00.5+02:00") == (500_000, 500_001)
    local = datetime(2026, 1, 31, 12).astimezone()
    assert moment("2026-01-31T12:00") == moment(local.astimezone(UTC).isoformat())
    for text in ("2026-02-30", "2026", "20260131", "9999-12-31", "0001-01-01", "tomorrow", "2026-01-31T25:00", ""):
        found = moment(text)
        assert found is None or (text[:4] in ("9999", "0001") and abs(found[0]) < 2**63), text


def test_spans_are_read_to_the_microsecond() -> None:
    units = {"ms": 1000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000, "w": 604_800_000_000}
    for unit, length in units.items():
        assert span(f"2{unit}") == 2 * length
    assert span("1H30M") == timedelta(minutes=90) // timedelta(microseconds=1)
    for text in ("", "h", "1x", "1h 30m", "-1h", "1h30", "1e3s", "9" * 400 + "d", "ago"):
        assert span(text) is None, text


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ('experimnt = "x"', 0, "did you mean 'experiment'"),
        ("name = x and metric.loss < 1", 13, "did you mean 'metrics.loss'"),
        ("qqq = 1", 0, "fields are run_id, name"),
        ("status = complete", 9, "did you mean 'Completed'"),
        ("status = xyz", 9, "a run is NotStarted"),
        ("status = NotResponding", 9, "is not stored"),
        ("status < Failed", 7, "does not apply"),
        ("metrics.loss < 'abc'", 15, "is not a number"),
        ("metrics.loss < nan", 15, "is not a number"),
        ("metrics.loss contains 1", 13, "this field is a number"),
        ("metrics. < 1", 0, "here must be a name"),
        ("exit_code = one", 12, "is not a number"),
        ("duration > soon", 11, "is not a duration"),
        ("created > 7d", 10, "7d ago"),
        ("created > yesterday", 10, "is not a time"),
        ("run_id = train.py", 9, "is not a run id"),
        ("descendant of !", 14, "means nothing here"),
        ("name", 4, "must follow"),
        ("name x", 5, "must follow"),
        ("name =", 6, "here must be a value"),
        ("name = and", 7, "here must be a value"),
        ("name = x y", 9, "is not expected here"),
        ("name = x order metrics.loss", 9, "is not expected here"),
        ("(name = x", 9, "closes the ( at character 1"),
        ("name in x", 8, "here must be '('"),
        ("name in (x y)", 11, "here must be ')'"),
        ("name in ()", 9, "here must be a value"),
        ("name is x", 8, "here must be 'null'"),
        ("name = 'x", 7, "has no end"),
        ("min(tags.x) < 1", 4, "needs a metric"),
        ("min(metrics.x < 1", 14, "here must be ')'"),
        ("limit 0", 6, "whole number from 1"),
        ("limit ٣", 6, "whole number from 1"),
        ("order by", 8, "here must be a field"),
        ("order by name,", 14, "here must be a field"),
        ("= x", 0, "here must be a field"),
        ("name = x\nand nme = y", 13, "did you mean 'name'"),
        ("name = 'a\0b'", 9, "NUL"),
    ],
)  # fmt: skip
def test_an_error_points_at_the_character(text: str, place: int, problem: str) -> None:
    with pytest.raises(BadFilter) as bad:
        parse(text, NOW)
    assert problem in str(bad.value)
    assert (bad.value.position, bad.value.filter) == (place, text)
    _, shown, caret = bad.value.what.split("\n")
    line = text[text.rfind("\n", 0, place) + 1 :].split("\n")[0].replace("\0", " ")
    assert shown == f"    {line}"
    assert caret.index("^") == 4 + place - (text.rfind("\n", 0, place) + 1)


def test_the_place_in_a_long_filter_is_shown_with_its_surroundings() -> None:
    with pytest.raises(BadFilter) as bad:
        parse("name = x and " * 30 + "nam = y", NOW)
    _, shown, caret = bad.value.what.split("\n")
    assert len(shown) <= 104
    assert shown[caret.index("^") :].startswith("nam = y")


def test_what_would_be_too_much_for_the_database_is_refused() -> None:
    deep = "not (name = x and " * (DEEPEST // 2 + 1) + "name = x" + ")" * (DEEPEST // 2 + 1)
    many = " or ".join(["name = x"] * (MOST_CONDITIONS + 1))
    values = f"tags.x in ({', '.join(['1'] * (MOST_VALUES + 1))})"
    keys = "order by " + ", ".join(["name"] * (MOST_KEYS + 1))
    runs = f"run_id in ({', '.join(['0'] * (MOST_CONDITIONS + 1))})"
    for text in (deep, many, values, keys, runs, "x" * (LONGEST + 1), "(" * 5000, "not " * 5000):
        with pytest.raises(BadFilter, match=r"too (many|deeply|long)"):
            parse(text, NOW)


def test_fields_are_listed_with_their_spelling() -> None:
    assert parse_fields('metrics.loss, max(metrics.loss),params."a b",name') == [
        ("metrics.loss", Field("metrics", "loss", "last")),
        ("max(metrics.loss)", Field("metrics", "loss", "maximum")),
        ('params."a b"', Field("params", "a b")),
        ("name", NAME),
    ]
    for text in ("", "name,", "name status", "nme"):
        with pytest.raises(BadFilter):
            parse_fields(text)


@given(name=st.text(min_size=1), value=st.text())
def test_quoted_text_is_read_back_whatever_it_is(name: str, value: str) -> None:
    if "\0" in name + value:
        return
    found = where(f"tags.{quoted(name)} = {quoted(value)}")
    assert found == Compare(Field("tags", storable(name)), "=", storable(value))


_pieces = st.sampled_from(
    ["name", "metrics.", "params.a", "tags.x", "=", "!=", "<", "~", "(", ")", ",", "and", "or", "not", "in", "is",
     "null", "exists", "contains", "starts", "with", "text", "order", "by", "limit", "5", "-1e3", "'x'", '"', "'", "\\",
     "min", "created", "7d", "ago", "2026-01-31", "status", "failed", "run_id", "@last", "descendant", "of", "é", "\n"]
)  # fmt: skip


@given(
    text=st.one_of(st.text(max_size=40), st.lists(_pieces, max_size=14).map(" ".join), st.lists(_pieces).map("".join))
)
def test_any_text_is_a_filter_or_an_error_with_a_place_in_it(text: str) -> None:
    try:
        found = parse(text, NOW)
    except BadFilter as bad:
        assert 0 <= bad.position <= len(text)
        assert str(bad).count("^") >= 1
    else:
        assert isinstance(found, Filter)
