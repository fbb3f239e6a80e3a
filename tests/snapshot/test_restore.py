from __future__ import annotations

import os
import stat
import subprocess

import pytest
from snapshot_trees import dug_up, full, plant

from onrecord.snapshot.errors import ManifestError, ObjectCorrupt, ObjectMissing, RestoreError
from onrecord.snapshot.restore import restore_snapshot
from onrecord.snapshot.take import take_snapshot
from onrecord.snapshot.tree import Root, encode_root, encode_tree

TREE = {
    b"a": b"1",
    b"x": (b"#!", True),
    b"big": b"0123456789" * 500_000,
    b"d": {b"b": b"2", b"e": {}},
    b"l": ("link", b"d"),
}


@pytest.fixture
def snapshot_id(store, source):
    return take_snapshot(plant(source.parent / "planted", TREE), store).snapshot_id


def snapshot_of(store, nodes) -> str:
    """A snapshot written by hand, as a hostile store could hold it."""
    tree = bytes.fromhex(store.put_bytes(encode_tree(nodes)).digest)
    return store.put_bytes(encode_root(Root(tree, 0, 0))).digest


def test_the_destination_is_made_with_its_parents(store, snapshot_id, tmp_path):
    assert restore_snapshot(store, snapshot_id, tmp_path / "x" / "y") == 5
    assert dug_up(tmp_path / "x" / "y") == full(TREE)


@pytest.mark.parametrize(("mask", "modes"), [(0o022, (0o644, 0o755)), (0o077, (0o600, 0o700)), (0o002, (0o664, 0o775))])
def test_modes_follow_the_umask(store, snapshot_id, tmp_path, mask, modes):
    before = os.umask(mask)
    try:
        restore_snapshot(store, snapshot_id, tmp_path / "out")
    finally:
        os.umask(before)
    found = [stat.S_IMODE((tmp_path / "out" / name).stat().st_mode) for name in ("a", "big", "x", "d")]
    assert found == [modes[0], modes[0], modes[1], modes[1]]


def test_a_restored_file_shares_nothing_with_the_store(store, snapshot_id, tmp_path):
    restore_snapshot(store, snapshot_id, tmp_path / "out")
    for name in ("a", "big"):
        assert (tmp_path / "out" / name).stat().st_nlink == 1
        (tmp_path / "out" / name).write_bytes(b"spoiled")
    assert list(store.verify()) == []


def test_a_destination_that_is_not_empty_is_refused_untouched(store, snapshot_id, tmp_path):
    out = plant(tmp_path / "out", {b"a": b"mine"})
    with pytest.raises(RestoreError, match="is not empty") as caught:
        restore_snapshot(store, snapshot_id, out)
    assert "--force" in str(caught.value) and dug_up(out) == full({b"a": b"mine"})


def test_force_replaces_what_is_in_the_way_and_keeps_the_rest(store, snapshot_id, tmp_path):
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim.txt").write_text("safe")
    out = plant(
        tmp_path / "out", {b"a": ("link", b"../victim.txt"), b"d": ("link", b"../victim"), b"l": b"x", b"mine": b"y"}
    )
    os.link(tmp_path / "victim.txt", out / "x")
    restore_snapshot(store, snapshot_id, out, force=True)
    assert dug_up(out) == full({**TREE, b"mine": b"y"})
    assert (tmp_path / "victim.txt").read_text() == "safe" and list((tmp_path / "victim").iterdir()) == []
    assert restore_snapshot(store, snapshot_id, out, force=True) == 5


def test_force_never_removes_a_folder(store, snapshot_id, tmp_path):
    out = plant(tmp_path / "out", {b"a": {b"precious": b"1"}})
    with pytest.raises(RestoreError, match="something of that name is there already") as caught:
        restore_snapshot(store, snapshot_id, out, force=True)
    assert caught.value.path == str(out / "a") and (out / "a" / "precious").exists()


@pytest.mark.parametrize("kind", ["file", "below a file"])
def test_a_destination_that_is_no_folder_is_refused(store, snapshot_id, tmp_path, kind):
    (tmp_path / "f").write_text("x")
    with pytest.raises(RestoreError, match="cannot restore to"):
        restore_snapshot(store, snapshot_id, tmp_path / "f" if kind == "file" else tmp_path / "f" / "out")


def test_an_unknown_snapshot_and_one_that_is_no_snapshot_are_refused_before_anything_is_made(store, tmp_path):
    with pytest.raises(ObjectMissing):
        restore_snapshot(store, "0" * 64, tmp_path / "out")
    with pytest.raises(ManifestError, match="is not a snapshot"):
        restore_snapshot(store, store.put_bytes(b"a model").digest, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", [b"..", b".", b"", b"a/b", b"/etc/x", b"a\0b"])
def test_a_hostile_name_never_leaves_the_destination(store, tmp_path, name):
    content = bytes.fromhex(store.put_bytes(b"evil").digest)
    with pytest.raises(ManifestError, match=r"which no folder can hold"):
        restore_snapshot(store, snapshot_of(store, [(name, b"f", 4, content)]), tmp_path / "out")
    assert dug_up(tmp_path / "out") == {}


def test_a_link_and_a_folder_of_one_name_cannot_lead_outside(store, tmp_path):
    content = bytes.fromhex(store.put_bytes(b"evil").digest)
    inner = bytes.fromhex(store.put_bytes(encode_tree([(b"f", b"f", 4, content)])).digest)
    twins = [(b"d", b"l", 9, b"../victim"), (b"d", b"d", 0, inner)]
    (tmp_path / "victim").mkdir()
    with pytest.raises(ManifestError, match="out of order"):
        restore_snapshot(store, snapshot_of(store, twins), tmp_path / "out")
    assert list((tmp_path / "victim").iterdir()) == []


def test_a_snapshot_whose_content_is_missing_names_it(store, tmp_path):
    with pytest.raises(ObjectMissing, match="ab" * 32):
        restore_snapshot(store, snapshot_of(store, [(b"f", b"f", 1, b"\xab" * 32)]), tmp_path / "out")


@pytest.mark.parametrize("folder", ["packs", "loose"])
def test_damaged_content_is_never_written_as_if_it_were_whole(store, snapshot_id, tmp_path, folder):
    (path,) = (store.folder / folder).iterdir()
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if folder == "loose" else 16 + 41] ^= 1
    path.write_bytes(data)
    with pytest.raises(ObjectCorrupt):
        restore_snapshot(store, snapshot_id, tmp_path / "out")


def test_git_and_we_restore_the_same_files(store, source, tmp_path):
    """An independent program takes the same tree: what comes back is equal byte for byte."""
    plant(source, {b"a": b"1\r\n", b"d": {b"x": (b"\0\xff" * 99, True)}, b"l": ("link", b"a")})
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", "-C", source, "-c", "core.autocrlf=false", *command], check=True, capture_output=True)
    subprocess.run(["git", "-C", source, "checkout-index", "-a", f"--prefix={tmp_path}/git/"], check=True)
    restore_snapshot(store, take_snapshot(source, store).snapshot_id, tmp_path / "ours")
    assert dug_up(tmp_path / "ours") == dug_up(tmp_path / "git")
