"""Inclusion and consistency proofs, made and checked (RFC 6962 sections 2.1.1 and 2.1.2, RFC 9162 section 2.1).

A proof is a list of hashes of 32 bytes, in the order of the RFCs. To make one, a reader of nodes is needed:
`node(height, index)` gives the root over the 2**height leaves from leaf index * 2**height on.

>>> leaves = [bytes([number]) * 32 for number in range(5)]
>>> node = nodes_of(leaves)
>>> proof = inclusion_proof(3, 5, node)
>>> root_from_inclusion(leaves[3], 3, 5, proof) == root_at(5, node)
True
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

from onrecord.ledger.merkle import EMPTY, node_hash

Node = Callable[[int, int], bytes]
# The leaves from the first number on, up to and without the second.
Range = tuple[int, int]


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """The subtrees whose roots prove that leaf `index` (from 0) is in the tree of `size` leaves, leaf's side first."""
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    low, high, ranges = 0, size, list[Range]()
    while high - low > 1:
        middle = low + _left(high - low)
        if index < middle:
            ranges.append((middle, high))
            high = middle
        else:
            ranges.append((low, middle))
            low = middle
    ranges.reverse()
    return ranges


def consistency_ranges(old: int, new: int) -> list[Range]:
    """The subtrees whose roots prove that the tree of `new` leaves extends that of `old`; none for equal sizes."""
    if not 0 < old <= new:
        raise ValueError(f"no proof leads from {old} leaves to {new}")
    low, high, ranges = 0, new, list[Range]()
    while old != high:
        middle = low + _left(high - low)
        if old <= middle:
            ranges.append((middle, high))
            high = middle
        else:
            ranges.append((low, middle))
            low = middle
    if low:
        ranges.append((low, high))
    ranges.reverse()
    return ranges


def perfect_subtrees(low: int, high: int) -> list[tuple[int, int]]:
    """(height, index) of the largest complete subtrees that make up the leaves `low` to `high`, left to right."""
    count = high - low
    if count and not count & (count - 1) and not low & (count - 1):
        # Nearly every range that a proof names.
        return [(count.bit_length() - 1, low // count)]
    found = []
    while low < high:
        height = (high - low).bit_length() - 1
        if low:
            height = min(height, (low & -low).bit_length() - 1)
        found.append((height, low >> height))
        low += 1 << height
    return found


def root_of_range(low: int, high: int, node: Node) -> bytes:
    """The RFC 6962 root over the leaves `low` to `high` of a range that a proof names; EMPTY for none."""
    return root_of_parts([node(*place) for place in perfect_subtrees(low, high)])


def root_of_parts(parts: Sequence[bytes]) -> bytes:
    """The root over neighbouring complete subtrees, given by their roots from left to right; EMPTY for none."""
    if not parts:
        return EMPTY
    root = parts[-1]
    for left in parts[-2::-1]:
        root = node_hash(left, root)
    return root


def root_at(size: int, node: Node) -> bytes:
    """The root of the tree of the first `size` leaves."""
    return root_of_range(0, size, node)


def inclusion_proof(index: int, size: int, node: Node) -> list[bytes]:
    """The hashes that lead from leaf `index` to the root of `size` leaves. Raises ValueError outside of it."""
    return [root_of_range(low, high, node) for low, high in inclusion_ranges(index, size)]


def consistency_proof(old: int, new: int, node: Node) -> list[bytes]:
    """The hashes that lead from the root of `old` leaves to that of `new`. Raises ValueError unless 0 < old <= new."""
    return [root_of_range(low, high, node) for low, high in consistency_ranges(old, new)]


def root_from_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes | None:
    """The root that `proof` leads to, or None where it has not as many hashes as such a proof has.

    RFC 9162 section 2.1.3.2.
    """
    if not 0 <= index < size:
        return None
    at, last, root = index, size - 1, leaf
    for sibling in proof:
        if not last:
            return None
        if at & 1 or at == last:
            root = node_hash(sibling, root)
            while not at & 1 and at:
                at >>= 1
                last >>= 1
        else:
            root = node_hash(root, sibling)
        at >>= 1
        last >>= 1
    return None if last else root


def roots_from_consistency(old: int, new: int, old_root: bytes, proof: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """The roots at `old` and `new` leaves that `proof` leads to, or None where it cannot be such a proof.

    RFC 9162 section 2.1.4.2. `old_root` starts the way where `old` is a power of two.
    """
    if not 0 < old <= new or (old == new and proof):
        return None
    if old == new:
        return old_root, old_root
    hashes = list(proof) if old & (old - 1) else [old_root, *proof]
    at, last = old - 1, new - 1
    while at & 1:
        at >>= 1
        last >>= 1
    if not hashes:
        return None
    first = second = hashes[0]
    for part in hashes[1:]:
        if not last:
            return None
        if at & 1 or at == last:
            first, second = node_hash(part, first), node_hash(part, second)
            while not at & 1 and at:
                at >>= 1
                last >>= 1
        else:
            second = node_hash(second, part)
        at >>= 1
        last >>= 1
    return None if last else (first, second)


def is_consistent(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether `proof` shows that the tree of `new` leaves and `new_root` extends that of `old` and `old_root`."""
    return roots_from_consistency(old, new, old_root, proof) == (old_root, new_root)


def nodes_of(leaves: Sequence[bytes]) -> Node:
    """A reader of nodes over leaves held in memory; each node is computed once."""

    @cache
    def node(height: int, index: int) -> bytes:
        if not height:
            return leaves[index]
        return node_hash(node(height - 1, 2 * index), node(height - 1, 2 * index + 1))

    return node


def _left(count: int) -> int:
    # The largest power of two smaller than `count`.
    return 1 << (count - 1).bit_length() - 1
