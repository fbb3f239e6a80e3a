"""Run ids."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onrecord.ledger import ids
from onrecord.ledger.errors import BadRunId

milliseconds = st.integers(0, 2**48 - 1)
noise = st.binary(min_size=10, max_size=10)
sixteen = st.binary(min_size=16, max_size=16)


@given(milliseconds, noise)
def test_an_id_is_a_uuid_of_version_7_with_its_time_in_front(at: int, random: bytes) -> None:
    identity = ids.new_id(at, random)
    read = uuid.UUID(bytes=identity)
    assert (read.version, read.variant) == (7, uuid.RFC_4122)
    assert int.from_bytes(identity[:6], "big") == at


def test_all_74_bits_of_noise_are_in_the_id() -> None:
    none, every = (int.from_bytes(ids.new_id(0, fill * 10), "big") for fill in (b"\x00", b"\xff"))
    assert (none ^ every).bit_count() == 74


@given(milliseconds, milliseconds, noise, noise)
def test_later_ids_sort_later_also_as_text(first: int, second: int, one: bytes, two: bytes) -> None:
    earlier, later = sorted([ids.new_id(first, one), ids.new_id(second, two)])
    assert ids.encode(earlier) <= ids.encode(later)
    if first < second:
        assert ids.encode(ids.new_id(first, one)) < ids.encode(ids.new_id(second, two))


@given(sixteen)
def test_text_and_bytes_are_the_same_id(identity: bytes) -> None:
    text = ids.encode(identity)
    assert len(text) == ids.LENGTH and set(text) <= set(ids.ALPHABET)
    assert ids.decode(text) == ids.decode(text.upper()) == ids.decode(f"{text[:8]}-{text[8:]}") == identity


@given(sixteen)
def test_letters_that_people_misread_mean_the_digits(identity: bytes) -> None:
    text = ids.encode(identity)
    for misread, digit in (("o", "0"), ("O", "0"), ("i", "1"), ("l", "1"), ("I", "1"), ("L", "1")):
        assert ids.decode(text.replace(digit, misread)) == identity


@given(sixteen, st.integers(1, 26))
def test_the_start_of_an_id_is_cleaned_like_the_whole(identity: bytes, length: int) -> None:
    prefix = ids.encode(identity)[:length]
    assert ids.clean_prefix(prefix.upper().replace("0", "O")) == prefix


@pytest.mark.parametrize("text", ["", "-", "u", "01k!", "01k ", "é", "0" * 27, "İ"])
def test_text_that_cannot_start_an_id_is_refused(text: str) -> None:
    for reading in (ids.clean_prefix, ids.decode):
        with pytest.raises(BadRunId) as refusal:
            reading(text)
        assert refusal.value.text == text


@pytest.mark.parametrize("text", ["0" * 25, "8" + "0" * 25, "z" * 26])
def test_a_start_and_more_than_128_bits_are_no_whole_id(text: str) -> None:
    assert ids.clean_prefix(text) == text
    with pytest.raises(BadRunId):
        ids.decode(text)
