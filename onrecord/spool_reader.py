"""Points out of a spool: whole columns at once where numpy is at hand, frame by frame where it is not.

Frames are described in `spool`. The frames of the first version are read too:
    "RSP1" | u32 length of the body | u32 CRC-32 of the body
    | u8 kind (0 float64, 1 int64, 2 JSON) | i64 microseconds | i64 step | 8 bytes as above | text
"""

from __future__ import annotations

import json
import struct
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any, NamedTuple

from onrecord.ledger.events import Series
from onrecord.ledger.vectors import numpy_for
from onrecord.spool import FLOAT, FLOAT_HEAD, INTEGER, INTEGER_HEAD, JSON, MAGICS, NO_STEP, RANK, RESIDUE, ranked

_RANKED_KINDS = {ranked(magic): kind for kind, magic in MAGICS.items()}
_KINDS = {magic: kind for kind, magic in MAGICS.items()} | _RANKED_KINDS
_FIRST_VERSION = b"RSP1"
_FIRST_HEAD = struct.Struct("<4sIIBqqq")
_FIRST_KINDS = (FLOAT, INTEGER, JSON)
# What every magic begins with, and the least length of a frame.
_MARK = b"RSP"
_LEAST = FLOAT_HEAD.size
_PRIME = 0x100000001B3

Point = tuple[str, str, int, int | None, Any, int | None]  # name, kind, microseconds, step, value, rank


class _Family(NamedTuple):
    """Frames of numbers of one job: with ranks, or without."""

    float_magic: bytes
    integer_magic: bytes
    size_of_head: int


_UNRANKED = _Family(FLOAT, INTEGER, _LEAST)
_RANKED = _Family(ranked(FLOAT), ranked(INTEGER), _LEAST + RANK.size)


def read_series(data: bytes) -> tuple[list[Series], int]:
    """The whole points in `data` by metric, and how many bytes they reach; a torn end is left for the next reading.

    A piece of a metric has one kind; where the kind changes, a new piece keeps the order. Bytes that are no
    frame (a write that a full disk cut short) are passed over up to the next frame.
    """
    numpy = numpy_for(len(data) // _LEAST)
    found = _read_at_once(data, numpy) if numpy is not None else _read_trusting(data)
    # Where a whole frame follows, what stopped the reading is damage and not the end.
    if found is None or _next_frame(data, found[1]) is not None:
        return _read_one_by_one(data)
    return found


# ---- frame by frame ------------------------------------------------------------------------------------


def _read_trusting(data: bytes) -> tuple[list[Series], int] | None:
    """The same for frames of numbers, one kind a metric, none damaged: checked all at once. Otherwise None."""
    found: dict[bytes, tuple[bytes, list[int], list[int], list[int], list[int]]] = {}
    position, size, unpack = 0, len(data), INTEGER_HEAD.unpack_from
    with_float, with_integer, size_of_head = family = _family_of(data)
    while position + size_of_head <= size:
        magic, length, at, step, number = unpack(data, position)
        end = position + (length + 3 & ~3) + 4
        # Two comparisons take half the time of a look into a set.
        if (magic != with_float and magic != with_integer) or length < size_of_head:
            return None
        if end > size:
            break
        name = data[position + size_of_head : position + length]
        row = found.get(name)
        if row is None:
            row = found[name] = (magic, [], [], [], [])
        elif row[0] != magic:
            return None
        row[1].append(number)
        row[2].append(step)
        row[3].append(at // 1000)
        if family is _RANKED:
            row[4].append(int.from_bytes(data[position + _LEAST : position + size_of_head], "little"))
        position = end
    if zlib.crc32(memoryview(data)[:position], RESIDUE) != RESIDUE:
        return None
    return [_series(name, *columns) for name, columns in found.items()], position


def _family_of(data: bytes) -> _Family:
    return _RANKED if data[:4] in _RANKED_KINDS else _UNRANKED


def _series(
    name: bytes, magic: bytes, numbers: list[int], steps: list[int], times: list[int], ranks: list[int]
) -> Series:
    # A float was read as a whole number of the same bits.
    bits, kind = array("q", numbers), _KINDS[magic]
    values = bits if kind == "int64" else array("d", bits.tobytes())
    known = [None if step == NO_STEP else step for step in steps] if NO_STEP in steps else steps
    return Series(name.decode(), kind, values, known, times, ranks or None)


def _read_one_by_one(data: bytes) -> tuple[list[Series], int]:
    points: list[Point] = []
    position = 0
    while True:
        found = _point_at(data, position)
        if found is None:
            following = _next_frame(data, position)
            if following is None:
                return _pieces(points), position
            position = following
            continue
        point, position = found
        points.append(point)


def _next_frame(data: bytes, position: int) -> int | None:
    """Where the first whole frame from `position` on starts."""
    # The mark may occur within a frame that is not whole yet: what is found must be one.
    while (position := data.find(_MARK, position)) >= 0:
        if _point_at(data, position) is not None:
            return position
        position += 1
    return None


def _point_at(data: bytes, start: int) -> tuple[Point, int] | None:
    if start + _LEAST > len(data):
        return None
    magic, length, at, step, number = INTEGER_HEAD.unpack_from(data, start)
    if magic == _FIRST_VERSION:
        return _first_version_at(data, start)
    end = start + (length + 3 & ~3)
    size_of_head = _LEAST + RANK.size * (magic in _RANKED_KINDS)
    if magic not in _KINDS or length < size_of_head or end + 4 > len(data):
        return None
    if zlib.crc32(data[start:end], RESIDUE) != int.from_bytes(data[end : end + 4], "little"):
        return None
    kind, rank = _KINDS[magic], None
    if kind == "float64":
        (number,) = struct.unpack_from("<d", data, start + _LEAST - 8)
    if size_of_head > _LEAST:
        (rank,) = RANK.unpack_from(data, start + _LEAST)
    text = data[start + size_of_head : start + length]
    return _point(kind, text, at // 1000, step, number, rank), end + 4


def _first_version_at(data: bytes, start: int) -> tuple[Point, int] | None:
    if start + _FIRST_HEAD.size > len(data):
        return None
    _, length, checksum, kind, at, step, number = _FIRST_HEAD.unpack_from(data, start)
    end = start + 12 + length
    body = data[start + 12 : end]
    if len(body) != length or zlib.crc32(body) != checksum:
        return None
    if kind == 0:
        (number,) = struct.unpack_from("<d", body, 17)
    return _point(_KINDS[_FIRST_KINDS[kind]], body[25:], at, step, number, None), end


def _point(kind: str, text: bytes, at: int, step: int, number: Any, rank: int | None) -> Point:
    known = None if step == NO_STEP else step
    if kind not in ("float64", "int64"):
        return text[:number].decode(), kind, at, known, json.loads(text[number:]), rank
    return text.decode(), kind, at, known, number, rank


def _pieces(points: Iterable[Point]) -> list[Series]:
    grouped: dict[str, list[Series]] = {}
    for name, kind, at, step, value, rank in points:
        pieces = grouped.setdefault(name, [])
        if not pieces or pieces[-1].kind != kind or (pieces[-1].ranks is None) != (rank is None):
            pieces.append(Series(name, kind, [], [], [], None if rank is None else []))
        piece = pieces[-1]
        columns: Any = zip((piece.values, piece.steps, piece.times, piece.ranks), (value, step, at, rank), strict=True)
        for column, number in columns:
            if column is not None:
                column.append(number)
    return [piece for pieces in grouped.values() for piece in pieces]


# ---- at once -------------------------------------------------------------------------------------------


def _read_at_once(data: bytes, numpy: ModuleType) -> tuple[list[Series], int] | None:
    """The same with numpy; None where the data are anything but frames of numbers up to a torn end."""
    words = numpy.frombuffer(data, "<u4", len(data) // 4)
    family = _family_of(data)
    starts = _starts(words, family, numpy)
    if starts is None:
        return None
    ends = starts[1:]
    starts, reached = starts[:-1], int(ends[-1]) * 4
    if zlib.crc32(memoryview(data)[:reached], RESIDUE) != RESIDUE:
        return None
    heads = words[starts[:, None] + numpy.arange(family.size_of_head // 4)]
    groups = _by_name(words, starts + family.size_of_head // 4, heads[:, 1] - family.size_of_head, numpy)
    if groups is None:
        return None
    return [piece for rows in groups for piece in _series_of(data, starts[rows], heads[rows], numpy)], reached


def _starts(words: Any, family: _Family, numpy: ModuleType) -> Any:
    """Where frames start, in words, and where the last whole one ends; None unless each starts where one ends."""
    of_float, of_integer = (int.from_bytes(magic, "little") for magic in family[:2])
    starts = numpy.flatnonzero((words == of_float) | (words == of_integer))
    starts = starts[starts + 1 < len(words)]
    lengths = words[starts + 1].astype("i8")
    ends = starts + (lengths + 3) // 4 + 1
    whole = int(numpy.searchsorted(ends, len(words), "right"))
    chain = numpy.concatenate(([0], ends[:whole]))
    # A value may look like the start of a frame, and there may be frames of other kinds: then this is no chain.
    if not whole or not numpy.array_equal(chain[:-1], starts[:whole]) or lengths[:whole].min() < family.size_of_head:
        return None
    return chain


def _by_name(words: Any, starts: Any, lengths: Any, numpy: ModuleType) -> list[Any] | None:
    """The rows of each metric, the metric that comes first at first. None where two names cannot be told apart.

    `starts` and `lengths` are those of the names.
    """
    widths = (lengths.astype("i8") + 3) // 4
    marks = lengths.astype("u8")
    for word in _name_words(words, starts, widths, numpy):
        marks = marks * _PRIME + word
    if (marks == marks[0]).all():
        firsts, inverse = numpy.zeros(1, "i8"), numpy.zeros(len(starts), "i8")
    else:
        _, firsts, inverse = numpy.unique(marks, return_index=True, return_inverse=True)
    leader = firsts[inverse]
    for word in (lengths, *_name_words(words, starts, widths, numpy)):
        if not numpy.array_equal(word, word[leader]):
            return None
    ends = numpy.cumsum(numpy.bincount(inverse))
    groups = numpy.split(numpy.argsort(inverse, kind="stable"), ends[:-1])
    return [groups[place] for place in numpy.argsort(firsts).tolist()]


def _name_words(words: Any, starts: Any, widths: Any, numpy: ModuleType) -> Iterator[Any]:
    """The words of all names, one place after another; zeros where a name is shorter."""
    for place in range(int(widths.max())):
        yield numpy.where(place < widths, words.take(starts + place, mode="clip"), 0)


def _series_of(data: bytes, starts: Any, heads: Any, numpy: ModuleType) -> Sequence[Series]:
    magic = int(heads[0, 0]).to_bytes(4, "little")
    if (heads[:, 0] != heads[0, 0]).any():
        return _pieces(found[0] for start in starts.tolist() if (found := _point_at(data, start * 4)))
    start, length, head = int(starts[0]) * 4, int(heads[0, 1]), heads.shape[1] * 4
    numbers = numpy.ascontiguousarray(heads[:, 2 : _LEAST // 4]).view("<i8")
    times, steps, values = (numpy.ascontiguousarray(numbers[:, column]) for column in range(3))
    name, kind = data[start + head : start + length].decode(), _KINDS[magic]
    values = array("d" if kind == "float64" else "q", values.tobytes())
    ranks = array("q", heads[:, _LEAST // 4].astype("i8").tobytes()) if head > _LEAST else None
    return [Series(name, kind, values, _known_steps(steps), array("q", (times // 1000).tobytes()), ranks)]


def _known_steps(steps: Any) -> Sequence[int | None]:
    missing = steps == NO_STEP
    if not missing.any():
        return array("q", steps.tobytes())
    if missing.all():
        return [None] * len(steps)
    return [None if step == NO_STEP else step for step in steps.tolist()]
