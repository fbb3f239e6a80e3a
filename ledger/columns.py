"""Columns of numbers as bytes: what compresses is compressed, what does not costs its own size.

A column is one byte that names its form, then, little-endian:

RAW          the numbers as they are, 8 bytes each
PLANES       all lowest bytes, then all second bytes …: u8 width | `width` sizes | `width` planes. A plane
             is as long as there are numbers, or shorter: then it is deflated (RFC 1951). A size has 1, 2 or
             4 bytes, as few as the count of numbers needs.
DIFFERENCES  i64 first | i64 base | PLANES of what the differences of neighbours exceed the base by, in as
             few bytes as the greatest needs: none at all where every difference is the base
LIST         JSON, deflated with a header (RFC 1950): whole numbers beyond 64 bits
with GAPS    (a bit) -2**63 stands for a step that was not given

Noise in the low bytes of a float does not compress; apart from them, its sign and exponent do, and the
low bytes need not be tried (https://doi.org/10.1109/TC.2008.131 and Blosc's shuffle have the same idea).
"""

from __future__ import annotations

import json
import struct
import sys
import zlib
from array import array
from collections.abc import Sequence
from itertools import accumulate, count
from operator import add, sub
from typing import Any, TypeGuard

from onrecord.ledger.vectors import numpy_for

RAW, PLANES, DIFFERENCES, LIST = range(4)
GAPS = 0x80
NO_STEP = -(2**63)
_START = struct.Struct("<qq")
# Where a sample of this many bytes does not lose a thirty-second part, the plane is noise.
_SAMPLE = 4096

Numbers = Sequence[int]


def pack_floats(values: Sequence[float]) -> bytes:
    """A column of float64, bit for bit. Raises TypeError, OverflowError for what is none."""
    raw = _bytes_of(array("d", values))
    return _shorter(bytes([RAW]) + raw, bytes([PLANES]) + _pack_planes(raw, 8))


def unpack_floats(column: bytes, size: int) -> array[float]:
    """The `size` numbers of a column of float64. Raises ValueError for bytes that are none."""
    return _array("d", _raw_numbers(column, size))


def pack_integers(numbers: Sequence[int]) -> bytes:
    """A column of whole numbers. Raises TypeError for anything else."""
    try:
        column = numbers if _is_packed(numbers) else array("q", numbers)
    except OverflowError:
        return _pack_list(numbers)
    raw = _bytes_of(column)
    packed = bytes([RAW]) + raw
    if len(column) < 2:
        return packed
    found = _differences(column)
    if found is None:
        return _shorter(packed, bytes([PLANES]) + _pack_planes(raw, 8))
    base, width, rest = found
    return _shorter(packed, bytes([DIFFERENCES]) + _START.pack(column[0], base) + _pack_planes(rest, width))


def pack_steps(steps: Sequence[int | None]) -> bytes:
    """A column of whole numbers with gaps; empty where all are missing."""
    if isinstance(steps, array | range) or None not in steps:
        return pack_integers(steps)  # type: ignore[arg-type]
    if all(step is None for step in steps):
        return b""
    if NO_STEP in steps:
        return _pack_list(steps)
    packed = pack_integers([NO_STEP if step is None else step for step in steps])
    return _pack_list(steps) if packed[0] == LIST else bytes([packed[0] | GAPS]) + packed[1:]


def unpack_integers(column: bytes, size: int) -> Numbers:
    """The `size` numbers of a column; a list may have others. Raises ValueError, OverflowError, struct.error."""
    if column[0] == LIST:
        return whole_numbers(json.loads(zlib.decompress(column[1:])))
    if column[0] == DIFFERENCES:
        return _unpack_differences(column, size)
    return _array("q", _raw_numbers(column, size))


def unpack_steps(column: bytes, size: int) -> Sequence[int | None]:
    """The `size` steps of a column; None where none was given."""
    if not column:
        return [None] * size
    if not column[0] & GAPS:
        return unpack_integers(column, size)
    numbers = unpack_integers(bytes([column[0] & ~GAPS]) + column[1:], size)
    return [None if number == NO_STEP else number for number in numbers]


def _pack_list(numbers: Sequence[int | None]) -> bytes:
    if not all(number is None or type(number) is int for number in numbers):
        raise TypeError("steps and times are whole numbers")
    return bytes([LIST]) + zlib.compress(json.dumps(list(numbers)).encode(), 1)


def whole_numbers(numbers: Any) -> list[Any]:
    """The same list, of whole numbers and None for gaps. Raises ValueError for anything else."""
    if not isinstance(numbers, list) or not all(number is None or type(number) is int for number in numbers):
        raise ValueError("steps and times are whole numbers")
    return numbers


def _differences(column: array[int]) -> tuple[int, int, bytes] | None:
    """What is taken from each difference of neighbours, the bytes that the rest needs, and the rest as u64.

    None where a difference could be beyond 64 bits.
    """
    numpy = numpy_for(len(column))
    if numpy is None:
        if max(column) - min(column) >= 2**63:
            return None
        plain = list(map(sub, column[1:], column))
        base, width = _base(min(plain), max(plain))
        return base, width, _bytes_of(array("Q", [difference - base for difference in plain] if base else plain))
    numbers = numpy.frombuffer(column, "i8")
    if int(numbers.max()) - int(numbers.min()) >= 2**63:
        return None
    differences = numpy.diff(numbers)
    base, width = _base(int(differences.min()), int(differences.max()))
    # Wraps around as int64, and is right as uint64.
    return base, width, (differences - base).view("u8").astype("<u8").tobytes()


def _base(least: int, greatest: int) -> tuple[int, int]:
    # Nothing is taken where that saves no byte: then there is nothing to add when they are read.
    width = _bytes_for(greatest - least)
    return (0 if least >= 0 and width == _bytes_for(greatest) else least), width


def _bytes_for(number: int) -> int:
    return (number.bit_length() + 7) // 8


def _unpack_differences(column: bytes, size: int) -> Numbers:
    first, base = _START.unpack_from(column, 1)
    start = 1 + _START.size
    if column[start] == 0 and len(column) == start + 1:
        last = first + base * (size - 1)
        if not -(2**63) <= last < 2**63:
            raise ValueError("numbers beyond 64 bits")
        return range(first, last + (1 if base > 0 else -1), base) if base else array("q", [first]) * size
    raw = _unpack_planes(column, start, size - 1)
    numpy = numpy_for(size)
    if numpy is None:
        excess = _array("Q", raw)
        sums = accumulate(excess, initial=0 if base else first)
        return array("q", map(add, sums, count(first, base)) if base else sums)
    numbers = numpy.empty(size, "i8")
    numbers[0] = first
    # Sums wrap around at 64 bits on the way and are right at the end.
    numpy.cumsum(numpy.frombuffer(raw, "<i8") + base, out=numbers[1:])
    numbers[1:] += first
    return array("q", numbers.tobytes())


def _raw_numbers(column: bytes, size: int) -> bytes | bytearray:
    if column[0] == PLANES:
        return _unpack_planes(column, 1, size)
    if column[0] != RAW or len(column) != 1 + 8 * size:
        raise ValueError("a column of another length, or in a form of a later version")
    return column[1:]


def _pack_planes(raw: bytes, width: int) -> bytes:
    planes = [_squeezed(raw[place::8]) for place in range(width)]
    sizes = struct.pack(f"<{width}{_size_code(len(raw) // 8)}", *map(len, planes))
    return b"".join((bytes([width]), sizes, *planes))


def _unpack_planes(column: bytes, start: int, size: int) -> bytearray:
    width = column[start]
    if width > 8:
        raise ValueError("numbers wider than 64 bits")
    sizes = struct.Struct(f"<{width}{_size_code(size)}")
    position = start + 1 + sizes.size
    raw = bytearray(8 * size)
    for place, length in enumerate(sizes.unpack_from(column, start + 1)):
        raw[place::8] = _whole(column[position : position + length], size)
        position += length
    if position != len(column):
        raise ValueError("a column of another length")
    return raw


def _size_code(size: int) -> str:
    return "B" if size < 2**8 else "H" if size < 2**16 else "I"


def _squeezed(plane: bytes) -> bytes:
    if len(plane) > 4 * _SAMPLE:
        middle = len(plane) // 2
        if len(_deflated(plane[middle : middle + _SAMPLE])) > _SAMPLE * 31 // 32:
            return plane
    return _shorter(plane, _deflated(plane))


def _deflated(plane: bytes) -> bytes:
    # Runs and Huffman codes only: 3 times as fast as level 1 on such bytes, and as small. They need no window;
    # a small one costs a tenth to set up (47 us), the usual one packs a long plane a fifth faster.
    window = -12 if len(plane) <= _SAMPLE else -15
    packer = zlib.compressobj(1, zlib.DEFLATED, window, 8, zlib.Z_RLE)
    return packer.compress(plane) + packer.flush()


def _whole(plane: bytes, size: int) -> bytes:
    if len(plane) != size:
        plane = zlib.decompressobj(-15).decompress(plane, size + 1)
    if len(plane) != size:
        raise ValueError("a plane of another length")
    return plane


def _shorter(plain: bytes, packed: bytes) -> bytes:
    return packed if len(packed) < len(plain) else plain


def _bytes_of(numbers: array[Any]) -> bytes:
    return _little_endian(numbers).tobytes()


def _is_packed(numbers: Any) -> TypeGuard[array[int]]:
    return isinstance(numbers, array) and numbers.typecode == "q"


def _array(code: str, raw: bytes | bytearray) -> array[Any]:
    return _little_endian(array(code, raw))


def _little_endian(numbers: array[Any]) -> array[Any]:
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return numbers
