"""The wire form of Protocol Buffers (protobuf.dev/programming-guides/encoding), as far as it is written here."""

from __future__ import annotations

import struct
from collections.abc import Sequence


def varint(field: int, value: int) -> bytes:
    """A whole number, a truth value or an enumeration; negative ones in two's complement of 64 bits."""
    return _number(field << 3) + _number(value & 0xFFFFFFFFFFFFFFFF)


def double(field: int, value: float) -> bytes:
    """A `double`."""
    return _number(field << 3 | 1) + struct.pack("<d", value)


def single(field: int, value: float) -> bytes:
    """A `float`; what is beyond 32 bits becomes infinite."""
    try:
        packed = struct.pack("<f", value)
    except OverflowError:
        packed = struct.pack("<f", float("inf") if value > 0 else float("-inf"))
    return _number(field << 3 | 5) + packed


def data(field: int, value: bytes) -> bytes:
    """Bytes, a string in UTF-8, or a message."""
    return _number(field << 3 | 2) + _number(len(value)) + value


def doubles(field: int, values: Sequence[float]) -> bytes:
    """Packed `repeated double`."""
    return data(field, struct.pack(f"<{len(values)}d", *values))


def _number(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
