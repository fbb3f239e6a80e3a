"""Which lines two texts have in common, in a form that is short to read and quick to find.

Lines that are there once on each side are matched first, as many as keep their order (patience diff,
https://bramcohen.livejournal.com/73318.html); what lies between them is left to difflib where it is small. Two
long texts with nothing unique in common count as replaced, so that no pair of texts takes long.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import Match, SequenceMatcher
from itertools import pairwise
from typing import NamedTuple

CONTEXT = 3
# Pairs of lines that difflib may have to look at.
_SMALL = 1_000_000


class Piece(NamedTuple):
    """Lines of one text, from `start` to before `stop`, from 0, beside those of the other that they became."""

    tag: str  # equal, replace, delete, insert
    start: int
    stop: int
    other_start: int
    other_stop: int


def hunks(old: Sequence[bytes], new: Sequence[bytes]) -> Iterator[list[Piece]]:
    """What differs, each time with up to three equal lines before and after it; nothing for equal texts."""
    blocks = _merged(sorted(_blocks(old, new)))
    for group in _Matched(blocks, len(old), len(new)).get_grouped_opcodes(CONTEXT):
        yield [Piece(*opcode) for opcode in group]


class _Matched(SequenceMatcher[bytes]):
    """difflib's grouping, over matches that were found elsewhere."""

    def __init__(self, blocks: list[Match], old: int, new: int) -> None:
        super().__init__(None, (), ())
        self._blocks = [*blocks, Match(old, new, 0)]

    def get_matching_blocks(self) -> list[Match]:
        return self._blocks


def _merged(blocks: list[Match]) -> list[Match]:
    out: list[Match] = []
    for block in blocks:
        if out and (out[-1].a + out[-1].size, out[-1].b + out[-1].size) == (block.a, block.b):
            out[-1] = out[-1]._replace(size=out[-1].size + block.size)
        else:
            out.append(block)
    return out


def _blocks(old: Sequence[bytes], new: Sequence[bytes]) -> Iterator[Match]:
    waiting = [(0, len(old), 0, len(new))]
    while waiting:
        left, right, low, high = waiting.pop()
        start = left
        while left < right and low < high and old[left] == new[low]:
            left, low = left + 1, low + 1
        if left > start:
            yield Match(start, low - (left - start), left - start)
        end = right
        while left < right and low < high and old[right - 1] == new[high - 1]:
            right, high = right - 1, high - 1
        if right < end:
            yield Match(right, high, end - right)
        if left == right or low == high:
            continue
        old_part, new_part = old[left:right], new[low:high]
        anchors = _anchors(old_part, new_part)
        if anchors:
            yield from (Match(left + one, low + two, 1) for one, two in anchors)
            edges = pairwise([(-1, -1), *anchors, (len(old_part), len(new_part))])
            waiting += [(left + a + 1, left + c, low + b + 1, low + d) for (a, b), (c, d) in edges]
        elif len(old_part) * len(new_part) <= _SMALL:
            found = SequenceMatcher(None, old_part, new_part).get_matching_blocks()
            yield from (Match(left + one, low + two, size) for one, two, size in found if size)


def _anchors(old: Sequence[bytes], new: Sequence[bytes]) -> list[tuple[int, int]]:
    """Places of lines that are there once on each side: the longest chain that rises on both."""
    olds, news = Counter(old), Counter(new)
    places = {line: place for place, line in enumerate(new) if news[line] == 1}
    pairs = [(one, places[line]) for one, line in enumerate(old) if olds[line] == 1 and line in places]
    # Patience sorting: the least end of a chain of each length, and for every pair the one before it in its chain.
    ends, tops, before = list[int](), list[int](), list[int]()
    for number, (_, two) in enumerate(pairs):
        length = bisect_left(ends, two)
        ends[length : length + 1] = [two]
        tops[length : length + 1] = [number]
        before.append(tops[length - 1] if length else -1)
    chain, number = list[tuple[int, int]](), tops[-1] if tops else -1
    while number >= 0:
        chain.append(pairs[number])
        number = before[number]
    return chain[::-1]
