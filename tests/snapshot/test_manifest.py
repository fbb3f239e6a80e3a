from __future__ import annotations

import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from snapshot_trees import plant

from onrecord.snapshot.errors import ManifestError, ObjectMissing
from onrecord.snapshot.manifest import Entry, diff_snapshots, objects_of, walk_snapshot
from onrecord.snapshot.store import Store
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


def changes(store, before: dict, after: dict, base) -> list[tuple[str, bytes]]:
    ids = []
    for tree in (before, after):
        shutil.rmtree(base, ignore_errors=True)
        ids.append(take_snapshot(plant(base, tree), store).snapshot_id)
    return [(change.kind, change.path) for change in diff_snapshots(store, *ids)]


def test_a_diff_names_what_was_added_removed_and_changed(store, tmp_path):
    before = {
        b"same": b"1",
        b"edited": b"1",
        b"gone": {b"x": b"1", b"deep": {}},
        b"d": {b"e": {b"f": b"1"}, b"s": b"2"},
    }
    after = {b"same": b"1", b"edited": b"2", b"new": {b"y": b"1"}, b"d": {b"e": {b"f": (b"1", True)}, b"s": b"2"}}
    assert changes(store, before, after, tmp_path / "t") == [
        ("changed", b"edited"),
        ("removed", b"gone"),
        ("added", b"new"),
        ("changed", b"d/e/f"),
        ("removed", b"gone/deep"),
        ("removed", b"gone/x"),
        ("added", b"new/y"),
    ]
    assert changes(store, before, before, tmp_path / "t") == []


def test_a_kind_that_changes_is_one_change_and_what_was_below(store, tmp_path):
    found = changes(
        store,
        {b"a": {b"x": b"1"}, b"b": b"1", b"l": b"t"},
        {b"a": b"2", b"b": {b"y": b"1"}, b"l": ("link", b"t")},
        tmp_path / "t",
    )
    assert found == [("changed", b"a"), ("changed", b"b"), ("changed", b"l"), ("removed", b"a/x"), ("added", b"b/y")]


SIMPLE = st.recursive(
    st.dictionaries(st.sampled_from([b"a", b"b", b"c"]), st.sampled_from([b"1", b"2"]), max_size=3),
    lambda inner: st.dictionaries(
        st.sampled_from([b"a", b"b", b"c"]), inner | st.sampled_from([b"1", b"2"]), max_size=3
    ),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(before=SIMPLE, after=SIMPLE)
def test_a_diff_is_what_comparing_both_walks_gives(before, after, tmp_path_factory):
    base = tmp_path_factory.mktemp("diff")
    with Store(base / "objects") as store:
        ids = [
            take_snapshot(plant(base / name, tree), store).snapshot_id for name, tree in (("1", before), ("2", after))
        ]
        old, new = ({e.path: e for e in walk_snapshot(store, taken)} for taken in ids)
        found = {change.path: (change.before, change.after) for change in diff_snapshots(store, *ids)}

    def differs(one: Entry | None, two: Entry | None) -> bool:
        return one != two and not (one and two and one.kind == two.kind == "dir")

    paths = old.keys() | new.keys()
    assert found == {p: (old.get(p), new.get(p)) for p in paths if differs(old.get(p), new.get(p))}


def test_a_diff_reads_only_the_folders_that_differ(store, source):
    plant(source, {b"same": {b"x": b"1"}, b"d": {b"y": b"1"}})
    first = take_snapshot(source, store).snapshot_id
    (source / "d" / "y").write_bytes(b"2")
    second = take_snapshot(source, store).snapshot_id
    (same,) = [e for e in walk_snapshot(store, second) if e.path == b"same"]
    with store._index.writing() as connection:
        connection.execute("DELETE FROM objects WHERE digest = ?", (bytes.fromhex(same.digest),))
    assert [change.path for change in diff_snapshots(store, first, second)] == [b"d/y"]
    with pytest.raises(ObjectMissing, match=same.digest):
        list(objects_of(store, second))
