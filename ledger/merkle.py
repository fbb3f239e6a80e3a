"""The hashes that make history tamper-evident: RFC 6962 trees (section 2.1) with SHA-256.

entry = "RLE" 01 | u64 seq | 16 B stream | u64 version | i64 microseconds | u16 length | type | 32 B commitment
commitment = SHA-256("RLP" 01 | 16 bytes salt | payload): payload and salt can be erased, the proof stays
All numbers big-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256

EMPTY = sha256(b"").digest()
_LEAF = struct.Struct(">5sQ16sQqH").pack  # the byte that marks a leaf, and what every entry begins with


def payload_commitment(salt: bytes, payload: bytes) -> bytes:
    """32 bytes that fix the payload without showing it."""
    return sha256(b"RLP\x01" + salt + payload).digest()


def leaf_hash(seq: int, stream: bytes, version: int, microseconds: int, event_type: str, commitment: bytes) -> bytes:
    """The tree's leaf for one event: SHA-256(00 | entry)."""
    name = event_type.encode()
    head = _LEAF(b"\x00RLE\x01", seq, stream, version, microseconds, len(name))
    return sha256(head + name + commitment).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(01 | left | right)."""
    return sha256(b"\x01" + left + right).digest()


def parents(nodes: Sequence[bytes]) -> list[bytes]:
    """The nodes one level up; an odd last one has none yet."""
    return [sha256(b"\x01" + left + right).digest() for left, right in zip(nodes[::2], nodes[1::2], strict=False)]


class Frontier:
    """A tree that grows and keeps only the roots of its complete subtrees (log2 n of them).

    >>> tree = Frontier()
    >>> tree.root() == EMPTY
    True
    """

    def __init__(self, size: int = 0, subtrees: Mapping[int, bytes] | None = None) -> None:
        """An empty tree, or one of `size` leaves with its complete `subtrees` by height."""
        self.size = size
        # By height: the node that still waits for its right neighbour.
        self._waiting = dict(subtrees or {})

    def add(self, leaf: bytes) -> None:
        """Append one leaf of 32 bytes."""
        self.extend([leaf])

    def extend(self, leaves: Sequence[bytes]) -> list[tuple[int, int, list[bytes]]]:
        """Append leaves of 32 bytes. Returns the nodes that are complete now, leaves left out, from low to high:
        the height, the index of the first one at that height, and its neighbours with it.
        """
        made, height, level, first = [], 0, list(leaves), self.size
        self.size += len(level)
        while level:
            if height:
                made.append((height, first, level))
            if first & 1:
                level, first = [self._waiting.pop(height), *level], first - 1
            if len(level) & 1:
                self._waiting[height] = level[-1]
            level, first, height = parents(level), first >> 1, height + 1
        return made

    @property
    def subtrees(self) -> Mapping[int, bytes]:
        """The roots of its complete subtrees, by height; with `size` they are the whole tree."""
        return self._waiting

    def root(self) -> bytes:
        """The root over all leaves so far, 32 bytes."""
        if not self._waiting:
            return EMPTY
        low, *higher = (self._waiting[height] for height in sorted(self._waiting))
        for left in higher:
            low = node_hash(left, low)
        return low


def root_of(leaves: Iterable[bytes]) -> bytes:
    """The RFC 6962 root over `leaves`, 32 bytes."""
    level = list(leaves)
    if not level:
        return EMPTY
    while len(level) > 1:
        # What has no right neighbour goes up as it is.
        last = level[-1:] if len(level) & 1 else []
        level = parents(level)
        level += last
    return level[0]
