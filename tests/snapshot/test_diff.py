"""What differs between two trees: found by addresses, with renames, and without reading what is equal."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from snapshot_trees import Tree, disk_bytes, plant, sides

from onrecord.snapshot.diff import Change, changes, diff
from onrecord.snapshot.errors import FileChanging, ObjectMissing
from onrecord.snapshot.folder_side import FolderSide
from onrecord.snapshot.index import Place
from onrecord.snapshot.manifest import Entry, objects_of, walk_snapshot
from onrecord.snapshot.side import StoredSide, entry_at
from onrecord.snapshot.store import Store
from onrecord.snapshot.take import take_snapshot

Told = list[tuple[str, bytes]]


def told(found: list[Change]) -> list[tuple[str, bytes, bytes]]:
    """Kind, the path before and the path after; a path that is not there is empty."""
    return [(c.kind, c.before.path if c.before else b"", c.after.path if c.after else b"") for c in found]


# ---- every path that differs --------------------------------------------------------------------------


def raw(store: Store, before: Tree, after: Tree, base: Path) -> Told:
    return [(change.kind, change.path) for change in changes(*sides(store, before, after, base))]


def test_a_diff_names_what_was_added_removed_and_changed(store: Store, tmp_path: Path) -> None:
    before: Tree = {
        b"same": b"1",
        b"edited": b"1",
        b"gone": {b"x": b"1", b"deep": {}},
        b"d": {b"e": {b"f": b"1"}, b"s": b"2"},
    }
    after: Tree = {
        b"same": b"1",
        b"edited": b"2",
        b"new": {b"y": b"1"},
        b"d": {b"e": {b"f": (b"1", True)}, b"s": b"2"},
    }
    assert raw(store, before, after, tmp_path / "t") == [
        ("changed", b"edited"),
        ("removed", b"gone"),
        ("added", b"new"),
        ("changed", b"d/e/f"),
        ("removed", b"gone/deep"),
        ("removed", b"gone/x"),
        ("added", b"new/y"),
    ]
    assert raw(store, before, before, tmp_path / "t") == []


def test_a_kind_that_changes_is_one_change_and_what_was_below(store: Store, tmp_path: Path) -> None:
    before: Tree = {b"a": {b"x": b"1"}, b"b": b"1", b"l": b"t"}
    after: Tree = {b"a": b"2", b"b": {b"y": b"1"}, b"l": ("link", b"t")}
    assert raw(store, before, after, tmp_path / "t") == [
        ("changed", b"a"),
        ("changed", b"b"),
        ("changed", b"l"),
        ("removed", b"a/x"),
        ("added", b"b/y"),
    ]


SIMPLE = st.recursive(
    st.dictionaries(st.sampled_from([b"a", b"b", b"c"]), st.sampled_from([b"1", b"2"]), max_size=3),
    lambda inner: st.dictionaries(
        st.sampled_from([b"a", b"b", b"c"]), inner | st.sampled_from([b"1", b"2", b""]), max_size=3
    ),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(before=SIMPLE, after=SIMPLE)
def test_a_diff_is_what_comparing_both_walks_gives(
    before: Tree, after: Tree, tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = tmp_path_factory.mktemp("diff")
    with Store(base / "objects") as store:
        ids = [
            take_snapshot(plant(base / name, tree), store).snapshot_id for name, tree in (("1", before), ("2", after))
        ]
        old, new = ({e.path: e for e in walk_snapshot(store, taken)} for taken in ids)
        pair = StoredSide(store, ids[0]), StoredSide(store, ids[1])
        found = {change.path: (change.before, change.after) for change in changes(*pair)}
        assert carried_out(old, diff(*pair)) == files_of(new)
        assert carried_out(new, diff(*reversed(pair))) == files_of(old)
        now = FolderSide(base / "2", store)
        assert now.root == pair[1].root
        assert diff(pair[0], now) == diff(*pair)

    def differs(one: Entry | None, two: Entry | None) -> bool:
        return one != two and not (one and two and one.kind == two.kind == "dir")

    paths = old.keys() | new.keys()
    assert found == {p: (old.get(p), new.get(p)) for p in paths if differs(old.get(p), new.get(p))}


def files_of(entries: dict[bytes, Entry]) -> dict[bytes, tuple[str, bytes, bool]]:
    return {p: (e.digest, e.target, e.executable) for p, e in entries.items() if e.kind != "dir"}


def carried_out(old: dict[bytes, Entry], found: list[Change]) -> dict[bytes, tuple[str, bytes, bool]]:
    """The files of a tree after a diff was done to them, with nothing else known of the other tree."""
    left, moved = files_of(old), dict[bytes, tuple[str, bytes, bool]]()
    for change in found:
        if change.kind == "renamed" and change.before and change.after and change.before.kind == "dir":
            inside = [path for path in left if path.startswith(change.before.path + b"/")]
            assert change.files == len(inside)
            for path in inside:
                moved[change.after.path + path.removeprefix(change.before.path)] = left.pop(path)
        elif change.before is not None and change.before.kind != "dir":
            del left[change.before.path]
    for change in found:
        if change.after is not None and change.after.kind != "dir":
            moved[change.after.path] = (change.after.digest, change.after.target, change.after.executable)
    assert not left.keys() & moved.keys()
    return left | moved


# ---- how little is read -------------------------------------------------------------------------------


class CountingStore(Store):
    """A store that counts the objects that are read."""

    reads = 0

    def fetch(self, place: Place) -> bytes:
        self.reads += 1
        return super().fetch(place)


def test_one_change_among_ten_thousand_files_costs_the_listings_on_its_path(tmp_path: Path) -> None:
    tree: Tree = {
        b"%d" % one: {b"%d" % two: {b"%d.txt" % three: b"" for three in range(20)} for two in range(20)}
        for one in range(25)
    }
    source = plant(tmp_path / "source", tree)
    with CountingStore(tmp_path / "objects") as store:
        cache = tmp_path / "cache"
        first = take_snapshot(source, store, cache=cache)
        assert first.files == 10_000
        (source / "7" / "7" / "7.txt").write_bytes(b"changed")
        second = take_snapshot(source, store, cache=cache)
        store.reads = 0
        (found,) = diff(StoredSide(store, first.snapshot_id), StoredSide(store, second.snapshot_id))
        assert (found.path, found.aspects) == (b"7/7/7.txt", ("content",))
        # On each side the snapshot, and the listings of the root, of 7 and of 7/7.
        assert store.reads == 8
        store.reads = 0
        assert diff(StoredSide(store, second.snapshot_id), FolderSide(source, store, cache=cache)) == []
        assert store.reads == 1
        paths = [b"7/7/7.txt", b"3"]
        assert diff(StoredSide(store, first.snapshot_id), StoredSide(store, second.snapshot_id), paths) == [found]


def test_folders_that_are_equal_need_not_even_be_in_the_store(store: Store, source: Path) -> None:
    plant(source, {b"same": {b"x": b"1"}, b"d": {b"y": b"1"}})
    first = take_snapshot(source, store).snapshot_id
    (source / "d" / "y").write_bytes(b"2")
    second = take_snapshot(source, store).snapshot_id
    (same,) = [e for e in walk_snapshot(store, second) if e.path == b"same"]
    with store._index.writing() as connection:
        connection.execute("DELETE FROM objects WHERE digest = ?", (bytes.fromhex(same.digest),))
    found = changes(StoredSide(store, first), StoredSide(store, second))
    assert [change.path for change in found] == [b"d/y"]
    with pytest.raises(ObjectMissing, match=same.digest):
        list(objects_of(store, second))


# ---- in what they differ ------------------------------------------------------------------------------


def test_a_change_says_in_what_the_entry_differs(store: Store, tmp_path: Path) -> None:
    before: Tree = {
        b"both": b"1", b"content": b"1", b"kind": b"1", b"link": ("link", b"a"), b"mode": b"1", b"to_folder": b"1"
    }  # fmt: skip
    after: Tree = {
        b"both": (b"2", True), b"content": b"2", b"kind": ("link", b"1"), b"link": ("link", b"b"),
        b"mode": (b"1", True), b"to_folder": {b"inside": b"2"},
    }  # fmt: skip
    found = diff(*sides(store, before, after, tmp_path / "t"))
    assert {change.path: change.aspects for change in found} == {
        b"both": ("content", "mode"),
        b"content": ("content",),
        b"kind": ("type",),
        b"link": ("target",),
        b"mode": ("mode",),
        b"to_folder": ("type",),
        b"to_folder/inside": (),
    }


def test_empty_folders_are_told_and_full_ones_speak_by_their_files(store: Store, tmp_path: Path) -> None:
    found = diff(*sides(store, {b"a": {b"x": b"1"}}, {b"b": {}, b"c": {b"y": b"2"}}, tmp_path / "t"))
    assert told(found) == [("removed", b"a/x", b""), ("added", b"", b"b"), ("added", b"", b"c/y")]


# ---- renames ------------------------------------------------------------------------------------------


def test_a_file_that_is_elsewhere_as_it_was_is_a_rename(store: Store, tmp_path: Path) -> None:
    before: Tree = {b"a": b"content", b"l": ("link", b"there"), b"tool": b"#!"}
    after: Tree = {b"b": b"content", b"m": ("link", b"there"), b"bin": {b"tool": (b"#!", True)}}
    found = diff(*sides(store, before, after, tmp_path / "t"))
    assert told(found) == [
        ("renamed", b"a", b"b"),
        ("renamed", b"tool", b"bin/tool"),
        ("renamed", b"l", b"m"),
    ]
    assert [change.aspects for change in found] == [(), ("mode",), ()]


def test_a_copy_is_no_rename_and_an_empty_file_is_evidence_of_nothing(store: Store, tmp_path: Path) -> None:
    before: Tree = {b"a": b"content", b"old": {b"__init__.py": b"", b"x": b"x"}}
    after: Tree = {b"a": b"content", b"b": b"content", b"new": {b"__init__.py": b"", b"y": b"y"}}
    assert {kind for kind, _, _ in told(diff(*sides(store, before, after, tmp_path / "t")))} == {"added", "removed"}


def test_of_several_with_one_content_those_that_kept_their_name_belong_together(store: Store, tmp_path: Path) -> None:
    before: Tree = {b"one": {b"x": b"same", b"y": b"same", b"own": b"1"}, b"z": b"same"}
    after: Tree = {b"two": {b"y": b"same", b"x": b"same", b"w": b"same", b"v": b"same"}}
    assert told(diff(*sides(store, before, after, tmp_path / "t"))) == [
        ("removed", b"one/own", b""),
        ("renamed", b"z", b"two/v"),
        ("added", b"", b"two/w"),
        ("renamed", b"one/x", b"two/x"),
        ("renamed", b"one/y", b"two/y"),
    ]


def test_a_folder_that_is_elsewhere_as_it_was_is_one_rename(store: Store, tmp_path: Path) -> None:
    inside: Tree = {b"x": b"1", b"deep": {b"y": b"2", b"z": b"3", b"empty": {}}}
    found = diff(*sides(store, {b"old": inside, b"k": b"k"}, {b"to": {b"new": inside}, b"k": b"k"}, tmp_path / "t"))
    assert told(found) == [("renamed", b"old", b"to/new")]
    assert found[0].files == 3


def test_a_thousand_equal_files_that_moved_are_paired_off_at_once(store: Store, tmp_path: Path) -> None:
    many: Tree = {b"%d" % number: b"same" for number in range(1_000)}
    found = diff(*sides(store, {b"a": {**many, b"k": b"1"}}, {b"b": {**many, b"k": b"2"}}, tmp_path / "t"))
    assert sum(change.kind == "renamed" for change in found) == 1_000
    assert all(change.before and change.after and change.before.path[1:] == change.after.path[1:]
               for change in found if change.kind == "renamed")  # fmt: skip


# ---- only some of it ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ([b"d"], [b"d/e/f", b"d/s"]),
        ([b"d/"], [b"d/e/f", b"d/s"]),
        ([b"d/e", b"d/e/f", b"./d/e"], [b"d/e/f"]),
        ([b"d/s", b"a"], [b"a", b"d/s"]),
        ([b"nowhere", b"a/inside"], []),
        ([b"."], [b"a", b"d/e/f", b"d/s"]),
    ],
)
def test_paths_narrow_a_diff(store: Store, tmp_path: Path, paths: list[bytes], expected: list[bytes]) -> None:
    before: Tree = {b"a": b"1", b"d": {b"e": {b"f": b"1"}, b"s": b"1"}}
    after: Tree = {b"a": b"2", b"d": {b"e": {b"f": b"2"}, b"s": b"2"}}
    assert [change.path for change in diff(*sides(store, before, after, tmp_path / "t"), paths)] == expected


def test_an_entry_is_found_by_its_path(store: Store, tmp_path: Path) -> None:
    side, _ = sides(store, {b"d": {b"e": {b"f": b"1"}}}, {}, tmp_path / "t")
    found = entry_at(side, b"d/e/f")
    assert found is not None
    assert (found.path, found.size, side.content(found)) == (b"d/e/f", 1, b"1")
    assert entry_at(side, b"d/e/f/g") is None
    assert entry_at(side, b"x") is None
    root = entry_at(side, b"")
    assert root is not None
    assert root.digest == side.root.tree.hex()


# ---- a folder as it is now ----------------------------------------------------------------------------


def test_a_folder_is_compared_without_storing_anything(store: Store, source: Path, tmp_path: Path) -> None:
    plant(source, {b"a": b"1", b"big": b"x" * 5_000_000, b"outputs": {b"left out": b"1"}, b"d": {b"same": b"1"}})
    cache = tmp_path / "cache"
    taken = StoredSide(store, take_snapshot(source, store, cache=cache).snapshot_id)
    before = disk_bytes(tmp_path / "objects"), cache.read_bytes()
    (source / "a").write_bytes(b"now")
    (source / "big").write_bytes(b"y" * 5_000_000)
    (source / "new").mkdir()
    (source / "new" / "file").write_bytes(b"new")
    now = FolderSide(source, store, cache=cache)
    found = diff(taken, now)
    assert told(found) == [("changed", b"a", b"a"), ("changed", b"big", b"big"), ("added", b"", b"new/file")]
    assert found[0].after is not None
    assert now.content(found[0].after) == b"now"
    assert (disk_bytes(tmp_path / "objects"), cache.read_bytes()) == before
    assert now.root.tree.hex() not in store.has([now.root.tree.hex()])


def test_a_file_that_changes_between_the_look_and_the_reading_is_told(store: Store, source: Path) -> None:
    plant(source, {b"a": b"1", b"b": b"1"})
    now = FolderSide(source, store)
    entries = [entry_at(now, name) for name in (b"a", b"b")]
    (source / "a").write_bytes(b"2")
    (source / "b").unlink()
    os.mkfifo(source / "b")
    for entry in entries:
        assert entry is not None
        with pytest.raises(FileChanging, match="changed while"):
            now.content(entry)
