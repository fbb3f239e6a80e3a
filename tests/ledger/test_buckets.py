"""Few buckets for many points, against a plain look at every point; and the tables that hold them."""

from __future__ import annotations

import math
import sqlite3
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_ledger import journal, metrics, run_id, series, submitted, tables

from onrecord.ledger import vectors
from onrecord.ledger.buckets import RATIO, SIZE, Bucket, Points, at_most, joined, merged, points_of, summed_up
from onrecord.ledger.errors import BadBuckets
from onrecord.ledger.events import Series
from onrecord.ledger.journal import Journal
from onrecord.ledger.query import Query

NAN, INF = math.nan, math.inf
# Few different values, so that least and greatest ones come more than once.
number = st.sampled_from([0.0, 1.0, -1.0, 2.5, INF, -INF, NAN]) | st.floats()
step = st.none() | st.integers(-5, 5)


@pytest.fixture(params=["with numpy", "without numpy"], scope="module", autouse=True)
def either_way(request: pytest.FixtureRequest) -> Iterator[None]:
    """Everything with numpy, also a few numbers; then everything without."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vectors, "_WORTH_USING", 1 if request.param == "with numpy" else 10**18)
        yield


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Journal]:
    with journal(tmp_path) as book:
        yield book


def looked_at(points: Points, start: int) -> Bucket:
    """One bucket of points, by looking at every one."""
    rows = list(zip(range(start, start + len(points.times)), *points, strict=True))
    real = [row for row in rows if not math.isnan(row[1])]
    known = [row[2] for row in rows if row[2] is not None]
    low = min(real, key=lambda row: row[1], default=(None, None, None))
    high = max(real, key=lambda row: row[1], default=(None, None, None))
    return Bucket(
        start=start,
        points=len(rows),
        nans=len(rows) - len(real),
        stepless=len(rows) - len(known),
        step=rows[0][2],
        at=rows[0][3],
        least_step=min(known, default=None),
        greatest_step=max(known, default=None),
        first=None if math.isnan(rows[0][1]) else rows[0][1],
        last=None if math.isnan(rows[-1][1]) else rows[-1][1],
        minimum=low[1],
        minimum_index=low[0],
        minimum_step=low[2],
        maximum=high[1],
        maximum_index=high[0],
        maximum_step=high[2],
    )


@st.composite
def some_points(draw: st.DrawFn) -> Points:
    count = draw(st.integers(1, 40))
    numbers = array("d", draw(st.lists(number, min_size=count, max_size=count)))
    times = array("q", draw(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=count, max_size=count)))
    steps: Any = draw(st.lists(step, min_size=count, max_size=count))
    if draw(st.booleans()):
        steps = draw(st.sampled_from([range(3, 3 + count), range(0, -2 * count, -2), array("q", [7] * count)]))
    return Points(numbers, steps, times)


@given(some_points(), st.integers(0, 1000), st.integers(1, 9))
def test_every_bucket_says_what_its_points_say(points: Points, start: int, size: int) -> None:
    buckets = summed_up(points, start, size)
    assert buckets == [
        looked_at(points.part(bucket.start - start, bucket.start - start + bucket.points), bucket.start)
        for bucket in buckets
    ]
    assert sum(bucket.points for bucket in buckets) == len(points.times)
    assert all(bucket.start % size == 0 for bucket in buckets[1:])


@given(some_points(), st.integers(1, 9), st.integers(1, 45))
def test_merged_buckets_are_the_buckets_of_all_their_points(points: Points, size: int, most: int) -> None:
    buckets = summed_up(points, 0, size)
    assert merged(buckets) == looked_at(points, 0)
    fewer = at_most(buckets, most)
    assert len(fewer) == min(most, len(buckets))
    assert fewer == [looked_at(points.part(one.start, one.start + one.points), one.start) for one in fewer]


@given(st.lists(some_points(), min_size=1, max_size=4))
def test_joined_points_are_the_points_one_after_another(parts: list[Points]) -> None:
    whole = joined(parts)
    for column in range(3):
        assert repr(list(whole[column])) == repr([value for part in parts for value in part[column]])


def test_what_is_no_number_is_counted_and_shown_nowhere() -> None:
    odd = Series(
        "a", "json", [True, "text", None, 10**400, 10**40, [1]], [2**80, 1, 2, 3, 4, 5], [2**70, 1, 2, 3, 4, 5]
    )
    (bucket,) = summed_up(points_of(odd), 0, SIZE)
    assert (bucket.points, bucket.nans, bucket.stepless) == (6, 5, 1)
    assert (bucket.minimum, bucket.minimum_index, bucket.maximum_step) == (1e40, 4, 4)
    assert (bucket.first, bucket.at) == (None, 2**63 - 1)


# ---- in the ledger -------------------------------------------------------------------------------------


def wave(count: int, begin: int = 0, name: str = "loss") -> Series:
    """Points with a spike up, a spike down, an infinity and NaNs now and then."""
    values = array("d", [math.sin(at / 100) for at in range(begin, begin + count)])
    for at in range(begin, begin + count):
        odd = {123: 50.0, 456: -50.0, 789: INF, 790: NAN, 791: NAN}.get(at % 1000)
        if odd is not None:
            values[at - begin] = odd
    return Series(name, "float64", values, range(begin, begin + count), range(begin * 10, (begin + count) * 10, 10))


def logged(book: Journal, sizes: list[int], name: str = "loss") -> tuple[str, Points]:
    """A run whose metric came in chunks of these sizes, and all its points."""
    run, begin, parts = run_id(), 0, []
    book.append(run, [submitted()])
    for size in sizes:
        piece = wave(size, begin, name)
        # Something else beside it: places in the chunk differ.
        book.append(run, [metrics(series("other", (1.0,)), piece, end=begin)])
        parts.append(points_of(piece))
        begin += size
    return run, joined(parts)


def bruteforce(points: Points, buckets: list[Bucket]) -> list[Bucket]:
    return [looked_at(points.part(one.start, one.start + one.points), one.start) for one in buckets]


SIZES = [[1], [255, 1, 1], [3] * 400, [5000], [100, 5000, 1, 3000], [256, 768, 3072, 1]]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("most", [1, 2, 7, 30, 1000, 100_000])
def test_an_overview_has_every_point_in_one_bucket_and_keeps_every_spike(
    book: Journal, sizes: list[int], most: int
) -> None:
    run, points = logged(book, sizes)
    buckets = Query(book).downsampled(run, "loss", most)
    assert len(buckets) <= most
    assert len(buckets) >= min(most, len(points.times)) / 2
    assert buckets == bruteforce(points, buckets)
    assert sum(bucket.points for bucket in buckets) == len(points.times)
    assert buckets[0].start == 0


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_points_that_come_one_by_one_into_the_tables_make_the_same_rows_as_all_at_once(
    book: Journal, tmp_path: Path, sizes: list[int]
) -> None:
    run, begin = run_id(), 0
    book.append(run, [submitted()])
    for size in sizes:
        book.append(run, [metrics(wave(size, begin), end=begin)])
        book.catch_up()
        begin += size
    live = tables(book)
    book.rebuild()
    assert tables(book) == live
    levels = dict(book.fetch("SELECT level, count(*) FROM metric_buckets GROUP BY level"))
    # The row of the metric says as much of a single point.
    assert levels.get(0, 0) == (0 if begin == 1 else -(-begin // SIZE))
    assert all(found == begin // (SIZE * RATIO**level) for level, found in levels.items() if level)


@pytest.mark.parametrize(
    ("least", "greatest"), [(None, 3), (0, None), (250, 4700), (1000, 1000), (999, 1030), (9999, None)]
)
@pytest.mark.parametrize("most", [1, 10, 100, 1000])
def test_a_range_of_steps_has_its_points_and_no_others(
    book: Journal, least: int | None, greatest: int | None, most: int
) -> None:
    run, points = logged(book, [100, 4000, 1000])
    wanted = range(max(0, least or 0), min(5100, 5100 if greatest is None else greatest + 1))
    query = Query(book)
    buckets = query.downsampled(run, "loss", most, from_step=least, to_step=greatest)
    assert [at for one in buckets for at in range(one.start, one.start + one.points)] == list(wanted)
    assert len(buckets) <= most
    if least != 0:  # elsewhere a bucket at an end may be merged with what lies beside it
        assert buckets == bruteforce(points, buckets)
    pieces = query.points(run, "loss", from_step=least, to_step=greatest)
    assert [known for piece in pieces for known in piece.steps] == list(wanted)
    assert repr([value for piece in pieces for value in piece.values]) == repr(
        list(points.numbers[wanted.start : wanted.stop])
    )


@given(known=st.lists(step, min_size=1, max_size=1200), least=step, greatest=step, most=st.sampled_from([1, 3, 50]))
def test_steps_in_any_order_and_missing_ones_are_found_in_their_range(
    tmp_path_factory: pytest.TempPathFactory,
    known: list[int | None],
    least: int | None,
    greatest: int | None,
    most: int,
) -> None:
    everything = least is None and greatest is None
    inside = [
        at
        for at, one in enumerate(known)
        if everything or (one is not None and (least is None or one >= least) and (greatest is None or one <= greatest))
    ]
    values = [float(at % 17) for at in range(len(known))]
    piece = Series("a", "float64", values, known, list(range(len(known))))
    with journal(tmp_path_factory.mktemp("steps")) as book:
        run = run_id()
        book.append(run, [submitted(), metrics(piece)])
        query = Query(book)
        buckets = query.downsampled(run, "a", most, from_step=least, to_step=greatest)
        pieces = query.points(run, "a", from_step=least, to_step=greatest)
    assert sum(bucket.points for bucket in buckets) == len(inside)
    assert [at for one in pieces for at in one.times] == inside
    if inside:
        assert min(bucket.minimum for bucket in buckets if bucket.minimum is not None) == min(
            values[at] for at in inside
        )
        assert (buckets[0].first, buckets[-1].last) == (values[inside[0]], values[inside[-1]])


def test_an_erased_chunk_leaves_the_others(book: Journal) -> None:
    run, _ = logged(book, [10, 10, 10])
    query = Query(book)
    assert len(query.points(run, "loss")) == 3
    erased = book.fetch("SELECT max(seq) - 1 FROM events")[0][0]
    with sqlite3.connect(book.database.path) as connection:
        connection.execute("UPDATE events SET payload = NULL, salt = NULL WHERE seq = ?", (erased,))
    connection.close()
    assert [piece.times[0] for piece in query.points(run, "loss")] == [0, 200]
    starts = [(bucket.start, bucket.points) for bucket in query.downsampled(run, "loss", 100)]
    assert starts == [(at, 1) for at in (*range(10), *range(20, 30))]
    book.rebuild()
    assert [bucket.points for bucket in query.downsampled(run, "loss", 1)] == [20]


def test_buckets_of_no_metric_are_none_and_less_than_one_are_refused(book: Journal) -> None:
    run, _ = logged(book, [5])
    assert Query(book).downsampled(run, "nothing") == [] == Query(book).points(run, "nothing")
    with pytest.raises(BadBuckets, match="next: ") as caught:
        Query(book).downsampled(run, "loss", 0)
    assert caught.value.buckets == 0


def test_a_metric_is_one_row_that_any_sqlite_program_can_read(book: Journal) -> None:
    run = run_id()
    book.append(run, [submitted(), metrics(Series("a", "float64", [1.0, INF, NAN], [5, 6, 7], [50, 60, 70]))])
    book.append(run, [metrics(Series("b", "json", ["x", 2, True], [None] * 3, [1, 2, 3]))])
    book.append(run, [metrics(Series("c", "int64", [2**62], [None], [9]), Series("d", "float64", [NAN], [1], [2]))])
    book.catch_up()
    before = book.fetch("SELECT * FROM metrics WHERE name = 'a'")
    assert before == [(run, "a", "float64", 3, None, 1.0, INF, 5, 50, 7, 70)]
    book.append(run, [metrics(Series("a", "int64", [-3], [None], [40]))])
    book.catch_up()
    with sqlite3.connect(book.database.path) as connection:
        columns = [column[1] for column in connection.execute("PRAGMA table_info(metrics)")]
        rows = connection.execute("SELECT * FROM metrics ORDER BY name").fetchall()
        plan = connection.execute("EXPLAIN QUERY PLAN SELECT run_id FROM metrics WHERE name = 'a' ORDER BY last")
        assert "metrics_by_value" in str(plan.fetchall())
    connection.close()
    assert columns == [
        "run_id", "name", "kind", "count", "last", "minimum", "maximum",
        "first_step", "first_at", "last_step", "last_at",
    ]  # fmt: skip
    assert rows == [
        (run, "a", "int64", 4, -3.0, -3.0, INF, 5, 50, None, 40),
        (run, "b", "json", 3, None, 2.0, 2.0, None, 1, None, 3),
        (run, "c", "int64", 1, 2.0**62, 2.0**62, 2.0**62, None, 9, None, 9),
        (run, "d", "float64", 1, None, None, None, 1, 2, 1, 2),
    ]


@pytest.mark.long
def test_a_million_points_are_shown_with_every_spike(book: Journal) -> None:
    run, points = logged(book, [95_000] * 10 + [50_000])
    for most in (10, 1000, 5000):
        buckets = Query(book).downsampled(run, "loss", most)
        assert len(buckets) == most
        assert buckets == bruteforce(points, buckets)
