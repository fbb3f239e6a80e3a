from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapshot_trees import plant

from onrecord.snapshot.errors import ManifestError
from onrecord.snapshot.manifest import walk_snapshot
from onrecord.snapshot.take import take_snapshot
from onrecord.snapshot.tree import TREE_MAGIC, decode_root, decode_tree, encode_tree

DIGEST = b"\x01" * 32


def entry(name: bytes, kind: bytes = b"f", size: int = 0, value: bytes = DIGEST) -> bytes:
    return encode_tree([(name, kind, size, value)]).removeprefix(TREE_MAGIC)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (entry(b"b") + entry(b"a"), "out of order"),
        (entry(b"a") + entry(b"a"), "out of order"),
        (entry(b"a")[:-1], "cut short"),
        (entry(b"a")[:5], "cut short"),
        (entry(b"a", b"l", 1 << 40, b"t"), "cut short"),
        (entry(b"a", b"z"), "no known kind"),
        (entry(b"a", b"d", 1), "no known kind"),
        (entry(b".."), "no folder can hold"),
    ],
)
def test_a_listing_that_breaks_a_rule_is_refused(body, problem):
    with pytest.raises(ManifestError, match=problem):
        decode_tree(TREE_MAGIC + body, DIGEST)


@given(data=st.binary(max_size=200))
def test_rubbish_is_refused_or_is_canonical(data):
    for text in (data, TREE_MAGIC + data):
        try:
            nodes = decode_tree(text, DIGEST)
        except ManifestError:
            continue
        assert encode_tree(nodes) == text
    with pytest.raises(ManifestError):
        decode_root(data, DIGEST)


def test_a_walk_names_everything_in_order(store, source):
    plant(source, {b"b": (b"22", True), b"a": {b"z": b"1", b"y": ("link", b"z")}, b"a.txt": b""})
    taken = take_snapshot(source, store)
    found = [(e.path, e.kind, e.executable, e.size, e.target) for e in walk_snapshot(store, taken.snapshot_id)]
    assert found == [
        (b"a", "dir", False, 0, b""),
        (b"a/y", "link", False, 1, b"z"),
        (b"a/z", "file", False, 1, b""),
        (b"a.txt", "file", False, 0, b""),
        (b"b", "file", True, 2, b""),
    ]
