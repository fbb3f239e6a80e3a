"""Events as lines of text and back, to the byte; and nothing that is spelled otherwise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onrecord.ledger.event_lines import event_lines, parse_event_lines
from onrecord.ledger.stored_event import StoredEvent

int64 = st.integers(-(2**63), 2**63 - 1)
hashes = st.binary(min_size=32, max_size=32)
kept = st.builds(StoredEvent, int64, int64, st.text(), int64, st.binary(min_size=16, max_size=16), st.binary(), hashes)
erased = st.builds(StoredEvent, int64, int64, st.text(), int64, st.none(), st.none(), hashes)
GOOD = event_lines([StoredEvent(1, 1, "run.submitted", 7, bytes(16), b'{"v":1}', bytes(32))])


@given(st.lists(kept | erased, max_size=5))
def test_every_event_comes_back_as_it_was(events: list[StoredEvent]) -> None:
    lines = event_lines(events)
    assert parse_event_lines(lines) == events
    assert lines.isascii()
    assert lines.count(b"\n") == len(events)


@given(st.binary(max_size=200))
def test_other_bytes_are_refused_and_nothing_else_is_raised(data: bytes) -> None:
    if data:
        with pytest.raises(ValueError, match="line"):
            parse_event_lines(data)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"seq":1', b'"seq":1.0'),
        (b'"seq":1', b'"seq":true'),
        (b'"seq":1', b'"seq":1,"seq":2'),
        (b'"seq":1', b'"seq":9223372036854775808'),
        (b'"seq":1,', b""),
        (b'"at":7', b'"at": 7'),
        (b'"at":7', b'"at":07'),
        (b'"type":"run.submitted"', b'"type":7'),
        (b'"type":"run.submitted"', b'"type":"run.\\u0073ubmitted"'),
        (b'"commitment":"00', b'"commitment":"'),
        (b'"commitment":"00', b'"commitment":"0 0'),
        (b'"commitment":"00', b'"commitment":"AA'),
        (b'"salt":"00', b'"salt":"'),
        (b'"payload":', b'"payload64":'),
        (b'"payload":', b'"more":1,"payload":'),
        (b"{", b"["),
        (b"\n", b"\r\n"),
        (b"\n", b""),
        (b"\n", b"\n\n"),
    ],
)
def test_a_line_has_one_spelling(old: bytes, new: bytes) -> None:
    assert parse_event_lines(GOOD)
    changed = GOOD.replace(old, new)
    assert changed != GOOD
    with pytest.raises(ValueError, match="line"):
        parse_event_lines(changed)
