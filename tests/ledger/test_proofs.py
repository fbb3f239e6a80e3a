"""Inclusion and consistency proofs, against an independent implementation, and every way to get one wrong."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, strategies
from pymerkle import InmemoryTree, MerkleProof, verify_consistency, verify_inclusion

from onrecord.ledger import merkle, proofs

ENTRIES = [b"entry %d" % number for number in range(80)]
LEAVES = [hashlib.sha256(b"\x00" + entry).digest() for entry in ENTRIES]
NODE = proofs.nodes_of(LEAVES)
ROOTS = [merkle.root_of(LEAVES[:size]) for size in range(len(LEAVES) + 1)]


def independent() -> InmemoryTree:
    tree = InmemoryTree(algorithm="sha256")
    for entry in ENTRIES:
        tree.append_entry(entry)
    return tree


OTHER = independent()
SIZES = strategies.integers(1, len(LEAVES))


def test_every_leaf_of_every_small_tree_is_proved_to_be_in_it() -> None:
    for size in range(1, len(LEAVES) + 1):
        assert proofs.root_at(size, NODE) == ROOTS[size]
        for index in range(size):
            proof = proofs.inclusion_proof(index, size, NODE)
            assert proofs.root_from_inclusion(LEAVES[index], index, size, proof) == ROOTS[size]


def test_every_small_tree_is_proved_to_extend_every_smaller_one() -> None:
    for new in range(1, len(LEAVES) + 1):
        for old in range(1, new + 1):
            proof = proofs.consistency_proof(old, new, NODE)
            assert proofs.is_consistent(old, ROOTS[old], new, ROOTS[new], proof)


@given(SIZES, strategies.data())
def test_an_independent_implementation_makes_and_accepts_the_same_inclusion_proof(
    size: int, data: strategies.DataObject
) -> None:
    index = data.draw(strategies.integers(0, size - 1))
    ours = proofs.inclusion_proof(index, size, NODE)
    # It numbers leaves from 1, and writes the leaf down first.
    theirs = OTHER.prove_inclusion(index + 1, size).serialize()
    assert theirs["path"] == [LEAVES[index].hex(), *(each.hex() for each in ours)]
    theirs["path"] = [LEAVES[index].hex(), *(each.hex() for each in ours)]
    verify_inclusion(LEAVES[index], ROOTS[size], MerkleProof.deserialize(theirs))


def subproof(old: int, leaves: list[bytes], whole: bool) -> list[bytes]:
    """SUBPROOF, word for word as section 2.1.2 of RFC 6962 defines it."""
    count = len(leaves)
    if old == count:
        return [] if whole else [merkle.root_of(leaves)]
    left = max(1 << power for power in range(10) if 1 << power < count)
    if old <= left:
        return [*subproof(old, leaves[:left], whole), merkle.root_of(leaves[left:])]
    return [*subproof(old - left, leaves[left:], False), merkle.root_of(leaves[:left])]


@given(SIZES, strategies.data())
def test_a_consistency_proof_is_the_one_that_the_rfc_defines_and_joins_roots_that_others_join_too(
    new: int, data: strategies.DataObject
) -> None:
    old = data.draw(strategies.integers(1, new))
    assert proofs.consistency_proof(old, new, NODE) == subproof(old, LEAVES[:new], True)
    # pymerkle has a form of its own for these proofs, over the same roots.
    theirs = OTHER.prove_consistency(old, new).serialize()
    verify_consistency(ROOTS[old], ROOTS[new], MerkleProof.deserialize(theirs))


@given(SIZES, strategies.data())
def test_a_proof_that_is_changed_in_any_way_leads_elsewhere(size: int, data: strategies.DataObject) -> None:
    index = data.draw(strategies.integers(0, size - 1))
    proof = proofs.inclusion_proof(index, size, NODE)
    leaf, root = LEAVES[index], ROOTS[size]
    for wrong in (
        *(proof[:place] + proof[place + 1 :] for place in range(len(proof))),
        *([*proof[:place], bytes(32), *proof[place + 1 :]] for place in range(len(proof))),
        [*proof, bytes(32)],
        [root, *proof],
    ):
        assert proofs.root_from_inclusion(leaf, index, size, wrong) != root
    other = data.draw(strategies.integers(0, size - 1).filter(lambda at: size == 1 or at != index))
    assert size == 1 or proofs.root_from_inclusion(leaf, other, size, proof) != root
    assert proofs.root_from_inclusion(bytes(32), index, size, proof) != root


@given(SIZES, strategies.data())
def test_a_consistency_proof_that_is_changed_in_any_way_is_refused(new: int, data: strategies.DataObject) -> None:
    old = data.draw(strategies.integers(1, new))
    proof = proofs.consistency_proof(old, new, NODE)
    for wrong in (
        *(proof[:place] + proof[place + 1 :] for place in range(len(proof))),
        *([*proof[:place], bytes(32), *proof[place + 1 :]] for place in range(len(proof))),
        [*proof, bytes(32)],
    ):
        assert not proofs.is_consistent(old, ROOTS[old], new, ROOTS[new], wrong)
    assert not proofs.is_consistent(old, bytes(32), new, ROOTS[new], proof)
    assert not proofs.is_consistent(old, ROOTS[old], new, bytes(32), proof)
    assert not proofs.is_consistent(new + 1, ROOTS[old], new, ROOTS[new], proof)
    assert not proofs.is_consistent(0, merkle.EMPTY, new, ROOTS[new], proof)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (5, 5), (-1, 3)])
def test_there_is_no_proof_of_a_leaf_outside_of_the_tree(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="no leaf"):
        proofs.inclusion_proof(index, size, NODE)
    assert proofs.root_from_inclusion(LEAVES[0], index, size, []) is None


@pytest.mark.parametrize(("old", "new"), [(0, 3), (4, 3), (-1, 3)])
def test_there_is_no_proof_from_a_history_that_is_not_a_shorter_one(old: int, new: int) -> None:
    with pytest.raises(ValueError, match="no proof"):
        proofs.consistency_proof(old, new, NODE)


@given(strategies.lists(strategies.integers(0, 40), max_size=8))
def test_a_tree_that_grows_in_pieces_names_each_complete_node_once(pieces: list[int]) -> None:
    tree, made = merkle.Frontier(), dict[tuple[int, int], bytes]()
    leaves = (LEAVES * 5)[: sum(pieces)]
    for count in pieces:
        for height, first, nodes in tree.extend(leaves[tree.size : tree.size + count]):
            for place, node in enumerate(nodes):
                assert made.setdefault((height, first + place), node) is node
    assert tree.root() == merkle.root_of(leaves)
    expected = proofs.nodes_of(leaves)
    complete = {(height, index) for height in range(1, 10) for index in range(len(leaves) >> height)}
    assert made == {place: expected(*place) for place in complete}


@given(strategies.integers(0, 79), strategies.integers(0, 79))
def test_a_tree_goes_on_from_its_complete_subtrees(start: int, more: int) -> None:
    subtrees = {height: NODE(height, index) for height, index in proofs.perfect_subtrees(0, start)}
    tree = merkle.Frontier(start, subtrees)
    assert tree.root() == ROOTS[start]
    tree.extend(LEAVES[start : start + more])
    assert tree.root() == ROOTS[min(start + more, len(LEAVES))]
