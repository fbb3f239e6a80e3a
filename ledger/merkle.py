"""The hashes that make history tamper-evident: RFC 6962 trees (section 2.1) with SHA-256.

entry = "RLE" 01 | u64 seq | 16 B stream | u64 version | i64 microseconds | u16 length | type | 32 B commitment
commitment = SHA-256("RLP" 01 | 16 bytes salt | payload): payload and salt can be erased, the proof stays
All numbers big-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
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


class Frontier:
    """A tree that grows leaf by leaf and keeps only the roots of its complete subtrees (log2 n of them).

    >>> tree = Frontier()
    >>> tree.root() == EMPTY
    True
    """

    def __init__(self) -> None:
        self.size = 0
        self._subtrees: list[bytes] = []

    def add(self, leaf: bytes) -> None:
        """Append one leaf of 32 bytes."""
        size = self.size
        while size & 1:
            leaf = node_hash(self._subtrees.pop(), leaf)
            size >>= 1
        self._subtrees.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """The root over all leaves so far, 32 bytes."""
        if not self._subtrees:
            return EMPTY
        root = self._subtrees[-1]
        for left in reversed(self._subtrees[:-1]):
            root = node_hash(left, root)
        return root


def root_of(leaves: Iterable[bytes]) -> bytes:
    """The RFC 6962 root over `leaves`, 32 bytes."""
    tree = Frontier()
    for leaf in leaves:
        tree.add(leaf)
    return tree.root()
