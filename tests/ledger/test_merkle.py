"""The tree against RFC 6962's own vectors, an independent implementation, and bytes written out by hand."""

from __future__ import annotations

import hashlib
import random

import pytest
from make_ledger import run_id
from pymerkle import InmemoryTree

from onrecord.ledger import ids, merkle

# The leaves and roots of the Certificate Transparency test data (RFC 6962 section 2.1, RFC 9162 section 2.1.1).
LEAVES = [
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
]  # fmt: skip
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def leaf(entry: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + entry).digest()


@pytest.mark.parametrize("size", range(9))
def test_the_root_is_the_one_that_certificate_transparency_publishes(size: int) -> None:
    assert merkle.root_of(leaf(bytes.fromhex(entry)) for entry in LEAVES[:size]).hex() == ROOTS[size]


def test_a_growing_tree_has_at_every_size_the_root_of_a_tree_built_at_once() -> None:
    tree = merkle.Frontier()
    for size, entry in enumerate(LEAVES):
        assert (tree.size, tree.root().hex()) == (size, ROOTS[size])
        tree.add(leaf(bytes.fromhex(entry)))


@pytest.mark.parametrize("size", [1, 2, 3, *random.Random(6962).sample(range(4, 600), 12), 1024])
def test_an_independent_implementation_of_rfc_9162_finds_the_same_root(size: int) -> None:
    entries = [hashlib.sha256(b"%d" % number).digest() for number in range(size)]
    other = InmemoryTree(algorithm="sha256")
    for entry in entries:
        other.append_entry(entry)
    root = other.get_root() if hasattr(other, "get_root") else other.get_state()
    assert merkle.root_of(map(leaf, entries)) == root


def test_an_entry_has_the_documented_bytes() -> None:
    stream, kind, commitment = bytes(range(16)), "run.tagged", bytes(range(32))
    entry = b"".join(
        [
            b"RLE\x01",
            (258).to_bytes(8, "big"),
            stream,
            (7).to_bytes(8, "big"),
            (-1).to_bytes(8, "big", signed=True),
            len(kind).to_bytes(2, "big"),
            kind.encode(),
            commitment,
        ]
    )
    assert merkle.leaf_hash(258, stream, 7, -1, kind, commitment) == leaf(entry)
    # Committed, so that a change of the format can never pass unseen.
    golden = "8844af7d48e903d9c8f6f5980a8f01203074b5730393dbf7e4a285761e337006"
    assert leaf(entry).hex() == golden


def test_a_commitment_has_the_documented_bytes() -> None:
    assert merkle.payload_commitment(b"s" * 16, b"p") == hashlib.sha256(b"RLP\x01" + b"s" * 16 + b"p").digest()


def test_a_type_is_measured_in_bytes_not_in_characters() -> None:
    stream = ids.decode(run_id(1))
    entry = (
        b"RLE\x01"
        + bytes(7)
        + b"\x01"
        + stream
        + bytes(7)
        + b"\x01"
        + bytes(8)
        + b"\x00\x02"
        + "é".encode()
        + bytes(32)
    )
    assert merkle.leaf_hash(1, stream, 1, 0, "é", bytes(32)) == leaf(entry)
