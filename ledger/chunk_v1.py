"""Columns of the first form of chunks: still read, no longer written.

Each column is compressed (zlib). Values are little-endian, or a JSON list. A column of steps or times
starts with one byte: 0 the numbers as they are, 1 differences of neighbours, 2 the numbers with -2**63
for a step that was not given, 3 a JSON list (what 64 bits cannot hold). No steps at all: empty.
"""

from __future__ import annotations

import json
import sys
import zlib
from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from onrecord.ledger.columns import whole_numbers

_NO_STEP = -(2**63)
_PLAIN, _DIFFERENCES, _WITH_GAPS, _LIST = range(4)


def unpack_values(column: bytes, code: str | None) -> Sequence[Any]:
    """Numbers of the `array` code, or what a JSON list holds. Raises ValueError, zlib.error."""
    data = _inflated(column)
    return list(json.loads(data)) if code is None else _numbers(code, data)


def unpack_integers(column: bytes) -> Sequence[int | None]:
    """Steps or times. Raises ValueError, zlib.error, IndexError."""
    data = _inflated(column)
    form = data[0]
    if form == _LIST:
        return whole_numbers(json.loads(data[1:]))
    numbers = _numbers("q", data[1:])
    if form == _DIFFERENCES:
        return list(accumulate(numbers))
    if form == _WITH_GAPS:
        return [None if number == _NO_STEP else number for number in numbers]
    if form != _PLAIN:
        raise ValueError("a column in a form of a later version")
    return numbers


def _inflated(column: bytes) -> bytes:
    return zlib.decompress(column) if column else b""


def _numbers(code: str, data: bytes) -> array[Any]:
    numbers = array(code, data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
