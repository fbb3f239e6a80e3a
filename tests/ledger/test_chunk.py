"""Packed points, bit for bit."""

from __future__ import annotations

import json
import math
import struct
from array import array
from collections.abc import Iterator
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_ledger import metrics, output, python, series

from onrecord.ledger import chunk, columns, vectors
from onrecord.ledger.buckets import points_of
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
    "list": st.lists(st.floats() | st.text(max_size=3), max_size=3),
    "table": st.dictionaries(st.text(max_size=3), st.lists(st.floats(), max_size=2), max_size=2),
}
ranks = st.integers(0, 2**31)


@st.composite
def any_series(draw: st.DrawFn) -> Series:
    kind = draw(st.sampled_from(sorted(VALUES)))
    count = draw(st.integers(0, 12))
    columns = [draw(st.lists(of, min_size=count, max_size=count)) for of in (VALUES[kind], step, int64)]
    of_ranks = draw(st.none() | st.lists(ranks, min_size=count, max_size=count))
    return Series(draw(st.text(max_size=8) | st.just("\udcff")), kind, *columns, of_ranks)


@pytest.fixture(params=["with numpy", "without numpy"], scope="module")
def either_way(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Everything with numpy, also a few numbers; then everything without."""
    with_numpy = request.param == "with numpy"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vectors, "_WORTH_USING", 1 if with_numpy else 10**18)
        yield with_numpy


chunks = st.builds(RunMetrics, series=st.lists(any_series(), max_size=4), spool_start=int64, spool_end=int64)


def bits(event: Any) -> Any:
    """Every value in a form in which NaN equals itself and -0.0 is not 0.0."""

    def exact(value: Any) -> Any:
        return struct.pack("<d", value) if isinstance(value, float) else json.dumps(value)

    return event.spool_start, event.spool_end, [
        (
            *(piece.name, piece.kind, [exact(value) for value in piece.values], list(piece.steps), list(piece.times)),
            None if piece.ranks is None else list(piece.ranks),
        )
        for piece in event.series
    ]  # fmt: skip


@given(event=chunks)
def test_every_point_comes_back_bit_for_bit(either_way: bool, event: RunMetrics) -> None:
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
        Series("a", "table", [{"x": {1}}], [None], [0]),
        Series("a", "int64", [1, 2], [None, None], [0, 0], [3]),
        Series("a", "int64", [1], [None], [0], [0.5]),  # type: ignore[list-item]
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


@given(st.sampled_from([1, 2, 3]), headers, headers, st.binary(max_size=20))
def test_a_chunk_with_a_strange_header_reads_as_unknown(version: int, pieces: Any, spool: Any, rest: bytes) -> None:
    text = json.dumps({"v": version, "series": pieces, "spool": spool}).encode()
    payload = chunk.MAGIC + struct.pack(">I", len(text)) + text + rest
    event = decode("run.metrics", payload)
    assert isinstance(event, Unknown) or event.series == []  # type: ignore[union-attr]


def test_a_chunk_of_a_later_version_is_kept() -> None:
    payload = encode(metrics())[1].replace(b'"v":3', b'"v":4')
    assert decode("run.metrics", payload) == Unknown("run.metrics", payload)


def test_a_document_of_a_chunk_counts_its_points() -> None:
    event = metrics(series("b", (1.0, 2.0)), series("a"))
    assert as_document(event) == {"points": 3, "names": ["a", "b"]}


# ---- the forms of a column ----------------------------------------------------------------------------

# Long enough for every form, in numbers that are near, far apart, equal, rising, or have a few bytes only.
start_of = st.integers(LOW, HIGH)
runs_of = st.sampled_from([0, 1, -1, 7, 1000, -(2**40)])
noise_of = st.sampled_from([0, 3, 255, 256, 70_000, 2**40, 2**63])
lengths = st.integers(0, 600)


@st.composite
def long_columns(draw: st.DrawFn) -> list[int]:
    count, first, step, noise = draw(lengths), draw(start_of), draw(runs_of), draw(noise_of)
    chance = draw(st.randoms(use_true_random=False))
    return [max(LOW, min(HIGH, first + at * step + chance.randint(-noise, noise))) for at in range(count)]


@given(numbers=long_columns())
def test_long_columns_of_whole_numbers_come_back(either_way: bool, numbers: list[int]) -> None:
    packed = columns.pack_integers(numbers)
    assert list(columns.unpack_integers(packed, len(numbers))) == numbers
    assert columns.pack_integers(array("q", numbers)) == packed
    # Never longer than the numbers themselves and the form.
    assert len(packed) <= 1 + 8 * len(numbers)


@given(numbers=long_columns(), gaps=st.sets(st.integers(0, 599)))
def test_long_columns_of_steps_come_back_with_their_gaps(either_way: bool, numbers: list[int], gaps: set[int]) -> None:
    steps = [None if at in gaps else number for at, number in enumerate(numbers)]
    assert list(columns.unpack_steps(columns.pack_steps(steps), len(steps))) == steps


@given(values=st.lists(special | st.floats(), max_size=40), repeats=st.integers(1, 20))
def test_long_columns_of_floats_come_back_bit_for_bit(either_way: bool, values: list[float], repeats: int) -> None:
    column = array("d", values * repeats)
    packed = columns.pack_floats(column)
    assert columns.unpack_floats(packed, len(column)).tobytes() == column.tobytes()
    assert len(packed) <= 1 + 8 * len(column)


def test_steps_that_rise_evenly_cost_nothing_and_are_read_without_being_made(either_way: bool) -> None:
    packed = columns.pack_steps(range(10, 2_000_010, 2))
    assert len(packed) < 20
    assert columns.unpack_steps(packed, 1_000_000) == range(10, 2_000_010, 2)
    assert list(columns.unpack_steps(columns.pack_steps(range(0, LOW + 5, LOW // 3)), 3)) == [0, LOW // 3, LOW // 3 * 2]
    still = columns.pack_integers([5] * 1000)
    assert (len(still), list(columns.unpack_integers(still, 1000))) == (18, [5] * 1000)


def test_noise_costs_its_own_bytes_and_no_more(either_way: bool) -> None:
    noise = numpy.random.default_rng(1).bytes(8 * 50_000)
    assert len(columns.pack_floats(array("d", noise))) < 8 * 50_000 + 50
    smooth = array("d", [1 + math.sin(at / 1000) / 8 for at in range(50_000)])
    assert len(columns.pack_floats(smooth)) < 7 * 50_000


@given(event=chunks)
def test_numpy_changes_no_byte(event: RunMetrics) -> None:
    payloads = []
    for least in (1, 10**18):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(vectors, "_WORTH_USING", least)
            payloads.append(encode(event)[1])
    assert payloads[0] == payloads[1]


WITHOUT_NUMPY = """
import hashlib, sys
if sys.argv[1] == "without":
    sys.modules["numpy"] = None  # as where it is not installed
from array import array
from onrecord.ledger import vectors
from onrecord.ledger.chunk import pack, unpack
from onrecord.ledger.events import RunMetrics, Series
count = 300_000
assert (vectors.numpy_for(count) is None) == (sys.argv[1] == "without")
values = array("d", [1 / (at + 1) for at in range(count)])
times = array("q", [at * 1000 + at * at % 700 for at in range(count)])
event = RunMetrics(series=[Series("loss", "float64", values, range(count), times)])
payload = pack(event)
assert unpack(payload) == event
print(hashlib.sha256(payload).hexdigest())
"""


def test_a_machine_without_numpy_packs_and_reads_the_same() -> None:
    with_, without = (output(python(WITHOUT_NUMPY, word)) for word in ("with", "without"))
    assert with_ == without


def test_a_few_numbers_do_not_import_numpy() -> None:
    code = """
import sys
from onrecord.ledger.chunk import pack, unpack
from onrecord.ledger.events import RunMetrics, Series
event = RunMetrics(series=[Series("loss", "float64", [0.5] * 10000, range(10000), range(10000))])
assert unpack(pack(event)) == event
print("numpy" in sys.modules)
"""
    assert output(python(code)) == "False\n"


def test_one_series_can_be_read_alone() -> None:
    event = metrics(series("a", (1.0, 2.0)), series("b", (3,), "int64"))
    payload = encode(event)[1]
    assert [chunk.unpack_one(payload, place) for place in (0, 1)] == event.series
    assert [chunk.unpack_one(odd, 1) for odd in (payload[:-1], b"", b"RLM\x01")] == [None] * 3
    assert chunk.unpack_one(payload, 2) is None


def test_a_header_that_asks_for_all_memory_reads_as_unknown() -> None:
    payload = encode(metrics(Series("a", "int64", [1] * 100, [1] * 100, [1] * 100)))[1]
    much = payload.replace(b'"count":100', b'"count":10000000000')
    much = much[:4] + struct.pack(">I", struct.unpack_from(">I", much, 4)[0] + 8) + much[8:]
    assert decode("run.metrics", much) == Unknown("run.metrics", much)


# ---- the first form --------------------------------------------------------------------------------------

FIRST_FORM = bytes.fromhex(
    "524c4d01000001ca7b22736572696573223a5b7b22636f756e74223a362c226b696e64223a22666c6f61743634222c226e616d65223a226c"
    "6f7373222c2273697a6573223a5b33312c31342c32335d7d2c7b22636f756e74223a312c226b696e64223a22666c6f61743634222c226e61"
    "6d65223a226e616e222c2273697a6573223a5b31332c302c31325d7d2c7b22636f756e74223a332c226b696e64223a22696e743634222c22"
    "6e616d65223a22636f756e74222c2273697a6573223a5b31392c31392c31355d7d2c7b22636f756e74223a332c226b696e64223a22696e74"
    "3634222c226e616d65223a2267617073222c2273697a6573223a5b31362c31372c31315d7d2c7b22636f756e74223a322c226b696e64223a"
    "22696e743634222c226e616d65223a226c65617374222c2273697a6573223a5b31342c33372c31345d7d2c7b22636f756e74223a342c226b"
    "696e64223a226a736f6e222c226e616d65223a227465787473222c2273697a6573223a5b34322c34352c31355d7d2c7b22636f756e74223a"
    "302c226b696e64223a22666c6f61743634222c226e616d65223a22656d707479222c2273697a6573223a5b382c302c305d7d5d2c2273706f"
    "6f6c223a5b31322c39395d2c2276223a317d78016360008107f6608a81a101427fa887d2ff19a11210ea823d00880c060e78016364800246"
    "22690000da00077801636470909350e1626378c1cc00068468008cb105437801636000811ff500027701787801636467800000004a000978"
    "01636000830608c5c0f01f02ea012bf407f9780163608080065628e33f04d403002c4507fe78016364668080ff68000087f20ff578016364"
    "80002628cd0ca5010068000778016362808006562803c60700099b010878016364c001000032000278016364800026280d00003000047801"
    "638ece2bcdc9d151d0b5343232363637323036b33035313737b530b08805006c0f06d97801636480024e280d00006a000b78018b564a54d2"
    "51c82bcdc9d1518836d451a8564a52b25230d233ad8dd55130342012c4020052900f707801638e363432b0b03432b530b43433343133b234"
    "3437313730333437d35130d45130d251308e05008c29075678016364618000461c340000f200097801030000000001"
)


def test_a_chunk_of_the_first_form_reads_as_ever() -> None:
    inf = math.inf
    hour = 1_700_000_000_000_000
    event = RunMetrics(
        series=[
            Series("loss", "float64", [0.5, -0.0, inf, -inf, 5e-324, 0.25], range(6), range(hour, hour + 6000, 1000)),
            Series("nan", "float64", [math.nan], [None], [7]),
            Series("count", "int64", [LOW, 0, HIGH], [LOW, 5, HIGH], [3, 2, 1]),
            Series("gaps", "int64", [1, 2, 3], [None, 5, None], [0, 0, 0]),
            Series("least", "int64", [1, 2], [None, LOW], [0, 9]),
            Series("texts", "json", ["a", None, [1, {"b": 2.5}], 10**40], [2**80, 1, 2, 3], [4, 5, 6, 7]),
            Series("empty", "float64", [], [], []),
        ],
        spool_start=12,
        spool_end=99,
    )
    assert bits(decode("run.metrics", FIRST_FORM)) == bits(event)
    assert chunk.unpack_one(FIRST_FORM, 3) == event.series[3]


@given(st.integers(0), st.binary(min_size=1, max_size=4))
def test_a_garbled_chunk_of_the_first_form_never_raises(place: int, garbage: bytes) -> None:
    place %= len(FIRST_FORM)
    odd = FIRST_FORM[:place] + garbage + FIRST_FORM[place + len(garbage) :]
    assert isinstance(decode("run.metrics", odd), RunMetrics | Unknown)


RESEMBLING = [
    (b"9,9,9", b"9,9.0,9"), (b"9,9,9", b"9,9,9.0"), (b'"count":1', b'"count":true'), (b"[0,7]", b"[0,7.0]"),
    (b'"v":3', b'"v":3.0'), (b'"v":3', b'"v":4'), (b'"v":3', b'"v":2'),
]  # fmt: skip


def _agrees(payload: bytes) -> bool:
    """Whether the quick reader, where it answers, says what the whole reader says; and whether it answered."""
    quick = chunk.single_points(payload)
    if quick is None:
        return False
    whole = chunk.unpack(payload)
    assert whole is not None
    assert quick.spool_end == whole.spool_end
    assert len(quick.series) == len(whole.series)
    for (name, kind, number, step, at), one in zip(quick.series, whole.series, strict=True):
        points = points_of(one)
        assert (name, kind, step, at) == (one.name, one.kind, points.steps[0], points.times[0])
        assert struct.pack("<d", number) == struct.pack("<d", points.numbers[0])
    return True


@given(chunks)
def test_single_points_are_read_as_in_the_whole_chunk_or_left_to_it(event: RunMetrics) -> None:
    answered = _agrees(chunk.pack(event))
    plain = all(len(one.values) == 1 and one.kind in ("float64", "int64") for one in event.series)
    plain &= all(one.ranks is None for one in event.series)
    beyond = any(isinstance(step, int) and not LOW <= step <= HIGH for one in event.series for step in one.steps)
    assert answered == (plain and not beyond)


@given(st.data())
def test_what_only_resembles_single_points_is_left_to_the_whole_reader(data: st.DataObject) -> None:
    payload = chunk.pack(metrics(series("a", (0.5,)), series("b", (3,), "int64"), end=7))
    kind = data.draw(st.sampled_from(["byte", "cut", "text"]))
    place = data.draw(st.integers(0, len(payload) - 1))
    if kind == "byte":
        payload = payload[:place] + bytes([data.draw(st.integers(0, 255))]) + payload[place + 1 :]
    elif kind == "cut":
        payload = payload[:place]
    else:
        size = int.from_bytes(payload[4:8], "big")
        old, new = data.draw(st.sampled_from(RESEMBLING))
        header = payload[8 : 8 + size].replace(old, new)
        payload = payload[:4] + len(header).to_bytes(4, "big") + header + payload[8 + size :]
    _agrees(payload)


# ---- what version 3 added ----------------------------------------------------------------------------


def test_ranks_and_what_calls_logged_as_a_whole_are_of_version_3() -> None:
    ranked = Series("loss", "float64", [0.5, 0.25], [0, 0], [7, 7], [0, 1])
    whole = Series("curve", "table", [{"x": [1.0]}], [None], [7])
    for one in (ranked, whole):
        payload = encode(metrics(one))[1]
        assert decode("run.metrics", payload).series == [one]  # type: ignore[union-attr]
        for version in (1, 2):
            older = payload.replace(b'"v":3', b'"v":%d' % version)
            assert decode("run.metrics", older) == Unknown("run.metrics", older)


def test_ranks_that_are_not_one_a_point_read_as_unknown() -> None:
    payload = encode(metrics(Series("a", "int64", [1], [None], [0], [5])))[1]
    header = payload[8 : 8 + int.from_bytes(payload[4:8], "big")]
    columns_of = payload[8 + len(header) :]
    for odd in (columns_of[:-8], columns_of + bytes(8)):
        sizes = b"[9,0,9,%d]" % (len(odd) - 18)
        changed = header.replace(b"[9,0,9,9]", sizes)
        assert changed != header
        other = payload[:4] + len(changed).to_bytes(4, "big") + changed + odd
        assert decode("run.metrics", other) == Unknown("run.metrics", other)


SECOND_FORM = bytes.fromhex(
    "524c4d01000000d97b22736572696573223a5b7b22636f756e74223a332c226b696e64223a22666c6f61743634222c226e616d65223a226c"
    "6f7373222c2273697a6573223a5b32352c31382c31385d7d2c7b22636f756e74223a332c226b696e64223a22696e743634222c226e616d65"
    "223a22636f756e74222c2273697a6573223a5b32352c32352c31385d7d2c7b22636f756e74223a332c226b696e64223a226a736f6e222c22"
    "6e616d65223a227465787473222c2273697a6573223a5b33362c34322c31385d7d5d2c2273706f6f6c223a5b31322c39395d2c2276223a32"
    "7d00000000000000e03f0000000000000080000000000000f07f020000000000000000010000000000000000020700000000000000010000"
    "0000000000000000000000000000800000000000000000ffffffffffffff7f80000000000000008005000000000000000000000000000080"
    "020300000000000000ffffffffffffffff0078018b564a54d251c82bcdc9d1518836d451a8564a52b25230d233ad8d8d05006b8607730378"
    "018b363432b0b03432b530b43433343133b2343437313730333437d35130d451308a050076de06d402040000000000000001000000000000"
    "0000"
)


def test_a_chunk_of_the_second_version_reads_as_ever() -> None:
    event = RunMetrics(
        series=[
            Series("loss", "float64", [0.5, -0.0, math.inf], range(3), [7, 8, 9]),
            Series("count", "int64", [LOW, 0, HIGH], [None, 5, None], [3, 2, 1]),
            Series("texts", "json", ["a", None, [1, {"b": 2.5}]], [2**80, 1, 2], [4, 5, 6]),
        ],
        spool_start=12,
        spool_end=99,
    )
    assert bits(decode("run.metrics", SECOND_FORM)) == bits(event)
    assert chunk.unpack_one(SECOND_FORM, 1) == event.series[1]
    first = RunMetrics(series=[series("a", (0.5,))])
    assert chunk.single_points(chunk.pack(first).replace(b'"v":3', b'"v":2')) == chunk.single_points(chunk.pack(first))
