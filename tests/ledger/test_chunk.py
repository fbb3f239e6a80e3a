"""Packed points, bit for bit."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_ledger import metrics, series

from onrecord.ledger import chunk
from onrecord.ledger.codec import as_document, decode, encode
from onrecord.ledger.errors import BadEvent
from onrecord.ledger.events import RunMetrics, Series, Unknown

LOW, HIGH = -(2**63), 2**63 - 1
int64 = st.sampled_from([LOW, LOW + 1, -1, 0, 1, HIGH - 1, HIGH]) | st.integers(LOW, HIGH)
# Steps are what a script says: not given, back and forth, from one end of 64 bits to the other, or beyond.
step = st.none() | int64 | st.just(2**80)
special = st.sampled_from([0.0, -0.0, float("inf"), -float("inf"), float("nan"), 5e-324, 1.7976931348623157e308])
VALUES = {
    "float64": special | st.floats(),
    "int64": int64,
    "json": st.none() | st.text(max_size=5) | st.integers() | st.lists(st.floats(), max_size=3),
}


@st.composite
def any_series(draw: st.DrawFn) -> Series:
    kind = draw(st.sampled_from(sorted(VALUES)))
    count = draw(st.integers(0, 12))
    columns = [draw(st.lists(of, min_size=count, max_size=count)) for of in (VALUES[kind], step, int64)]
    return Series(draw(st.text(max_size=8) | st.just("\udcff")), kind, *columns)


chunks = st.builds(RunMetrics, series=st.lists(any_series(), max_size=4), spool_start=int64, spool_end=int64)


def bits(event: Any) -> Any:
    """Every value in a form in which NaN equals itself and -0.0 is not 0.0."""

    def exact(value: Any) -> Any:
        return struct.pack("<d", value) if isinstance(value, float) else json.dumps(value)

    return event.spool_start, event.spool_end, [
        (piece.name, piece.kind, [exact(value) for value in piece.values], list(piece.steps), list(piece.times))
        for piece in event.series
    ]  # fmt: skip


@given(chunks)
def test_every_point_comes_back_bit_for_bit(event: RunMetrics) -> None:
    kind, payload = encode(event)
    assert bits(decode(kind, payload)) == bits(event)
    assert encode(event)[1] == payload


def test_the_smallest_step_is_not_taken_for_no_step() -> None:
    for steps in ([LOW], [LOW, None], [None, LOW, HIGH]):
        event = metrics(Series("a", "int64", [1] * len(steps), steps, [0] * len(steps)))
        assert list(decode(*encode(event)).series[0].steps) == steps  # type: ignore[union-attr]


def test_a_long_regular_series_packs_to_less_than_a_byte_a_point_for_its_times_and_steps() -> None:
    count = 10_000
    event = metrics(Series("a", "int64", [7] * count, list(range(count)), list(range(0, count * 1000, 1000))))
    assert len(encode(event)[1]) < count


@pytest.mark.parametrize(
    "piece",
    [
        Series("a", "float64", ["x"], [None], [0]),
        Series("a", "int64", [2**63], [None], [0]),
        Series("a", "int64", [0.5], [None], [0]),
        Series("a", "decimal", [1], [None], [0]),
        Series(1, "int64", [1], [None], [0]),  # type: ignore[arg-type]
        Series("a", "int64", [1, 2], [None], [0]),
        Series("a", "int64", [1], [], [0]),
        Series("a", "int64", [1], [None], []),
        Series("a", "int64", [1], [0.5], [0]),  # type: ignore[list-item]
        Series("a", "int64", [1], [None], [None]),  # type: ignore[list-item]
        Series("a", "json", [b"bytes"], [None], [0]),
        Series("a", "float64", [10**400], [None], [0]),
    ],
)
def test_points_that_do_not_fit_their_kind_are_refused(piece: Series) -> None:
    with pytest.raises(BadEvent):
        encode(metrics(piece))


@given(chunks, st.data())
def test_a_truncated_chunk_reads_as_unknown(event: RunMetrics, data: st.DataObject) -> None:
    _, payload = encode(event)
    cut = payload[: data.draw(st.integers(0, len(payload) - 1))]
    assert decode("run.metrics", cut) == Unknown("run.metrics", cut)


@given(chunks, st.integers(0), st.binary(min_size=1, max_size=4))
def test_a_garbled_chunk_never_raises(event: RunMetrics, place: int, garbage: bytes) -> None:
    _, payload = encode(event)
    place %= len(payload)
    assert isinstance(
        decode("run.metrics", payload[:place] + garbage + payload[place + len(garbage) :]), RunMetrics | Unknown
    )


headers = st.recursive(
    st.none() | st.integers() | st.text(max_size=3) | st.just(10**12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["series", "spool", "name", "kind", "count", "sizes"]), inner)
    ),
)


@given(st.sampled_from([1, 2]), headers, headers, st.binary(max_size=20))
def test_a_chunk_with_a_strange_header_reads_as_unknown(version: int, pieces: Any, spool: Any, rest: bytes) -> None:
    text = json.dumps({"v": version, "series": pieces, "spool": spool}).encode()
    payload = chunk.MAGIC + struct.pack(">I", len(text)) + text + rest
    event = decode("run.metrics", payload)
    assert isinstance(event, Unknown) or event.series == []  # type: ignore[union-attr]


def test_a_chunk_of_a_later_version_is_kept() -> None:
    payload = encode(metrics())[1].replace(b'"v":2', b'"v":3')
    assert decode("run.metrics", payload) == Unknown("run.metrics", payload)


def test_a_document_of_a_chunk_counts_its_points() -> None:
    event = metrics(series("b", (1.0, 2.0)), series("a"))
    assert as_document(event) == {"points": 3, "names": ["a", "b"]}
