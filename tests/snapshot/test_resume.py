"""Restores that were cut short, by a kill, an error or a full disk, and what may and may not be taken for one."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from snapshot_trees import Tree, dug_up, full, plant

from onrecord.snapshot.errors import DiskFull, ObjectMissing, RestoreError
from onrecord.snapshot.manifest import read_root, read_tree
from onrecord.snapshot.mark import Mark
from onrecord.snapshot.restore import restore_snapshot
from onrecord.snapshot.store import Store
from onrecord.snapshot.take import take_snapshot
from onrecord.snapshot.tree import Root, encode_root, encode_tree

TREE: Tree = {
    b"a": b"1" * 1000,
    b"x": (b"#!", True),
    b"big": os.urandom((5 << 20) + 7),
    b"d": {b"b": b"2", b"e": {}, b"f": {b"g": b""}},
    b"l": ("link", b"d"),
}
MANY: Tree = {b"d%d" % at: {b"%d" % file: os.urandom(400) for file in range(40)} for at in range(26)}


def restore_in_child(objects: Path, snapshot_id: str, out: Path, prepare: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            prepare()
            restore_snapshot(Store(objects), snapshot_id, out)
            code = 0
        finally:
            os._exit(code)
    return child


def die_at(wanted: int) -> None:
    """Have this process killed before or after the step of this number, if there are that many."""
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        if steps == wanted:
            os.kill(os.getpid(), signal.SIGKILL)

    def watched(call: Callable[..., object]) -> Callable[..., object]:
        def dying(*args: object, **kwargs: object) -> object:
            step()
            result = call(*args, **kwargs)
            step()
            return result

        return dying

    for name in ("open", "write", "mkdir", "symlink", "unlink", "copy_file_range", "ftruncate"):
        if hasattr(os, name):
            setattr(os, name, watched(getattr(os, name)))


def inodes(folder: Path) -> dict[str, tuple[int, int]]:
    found = {str(path.relative_to(folder)): path.lstat() for path in folder.rglob("*")}
    return {
        name: (status.st_ino, status.st_mtime_ns) for name, status in found.items() if not stat.S_ISDIR(status.st_mode)
    }


def marks(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".onrecord-restoring-")]


@pytest.fixture
def taken(store: Store, source: Path) -> str:
    return take_snapshot(plant(source, TREE), store).snapshot_id


@pytest.fixture
def unfinished(store: Store, taken: str, tmp_path: Path) -> Path:
    """A destination whose restore was killed near its end."""
    out = tmp_path / "out"
    child = restore_in_child(store.folder, taken, out, lambda: setattr(Mark, "remove", lambda self: os._exit(9)))
    os.waitpid(child, 0)
    assert len(marks(out)) == 1
    return out


def test_a_restore_killed_before_or_after_any_step_is_finished_by_the_same_call(
    store: Store, taken: str, tmp_path: Path
) -> None:
    whole = full(TREE)
    resumed = 0
    for step in range(1, 300):
        out = tmp_path / f"out{step}"
        child = restore_in_child(store.folder, taken, out, lambda step=step: die_at(step))
        died = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert died in (0, -signal.SIGKILL)
        if died == 0:
            break
        left = dug_up(out) if out.exists() else {}
        before = inodes(out) if out.exists() else {}
        resumed += len(marks(out)) if out.exists() else 0
        if left != whole:
            assert restore_snapshot(store, taken, out) == 6
        assert dug_up(out) == whole
        after = inodes(out)
        right = [name for name in ("a", "x", "big", "l", "d/b") if _same(left, whole, name)]
        assert [after[name] for name in right] == [before[name] for name in right]
        shutil.rmtree(out)
    assert died == 0 and step > 40 and resumed > 30


def _same(left: Tree, whole: Tree, name: str) -> bool:
    at, want = left, whole
    for part in name.encode().split(b"/"):
        at, want = at.get(part, {}), want[part]  # type: ignore[assignment, union-attr]
    return at == want


def _kill_at_random(tmp_path: Path, rounds: int) -> None:
    with Store(tmp_path / "objects") as store:
        snapshot_id = take_snapshot(plant(tmp_path / "source", MANY), store).snapshot_id
        start = time.perf_counter()
        restore_snapshot(store, snapshot_id, tmp_path / "timed")
        whole_seconds = time.perf_counter() - start
        for round_ in range(rounds):
            out = tmp_path / f"out{round_}"
            for part in range(1, 4):
                child = restore_in_child(store.folder, snapshot_id, out, lambda: None)
                time.sleep(whole_seconds * (part * rounds - round_) / rounds / 3)
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            if not out.exists() or dug_up(out) != full(MANY):
                restore_snapshot(store, snapshot_id, out)
            assert dug_up(out) == full(MANY)
            shutil.rmtree(out)


def test_threads_killed_at_any_moment_leave_what_the_next_call_finishes(tmp_path: Path) -> None:
    _kill_at_random(tmp_path, 2)


@pytest.mark.long
def test_threads_killed_at_very_many_moments_leave_what_the_next_call_finishes(tmp_path: Path) -> None:
    _kill_at_random(tmp_path, 100)


def test_what_is_right_stays_and_what_is_not_is_written_again(store: Store, taken: str, unfinished: Path) -> None:
    outside = unfinished.parent / "outside"
    outside.write_bytes(b"2")
    (unfinished / "a").write_bytes(b"1" * 999 + b"2")
    with (unfinished / "big").open("r+b") as file:
        file.truncate(4 << 20)
    (unfinished / "x").chmod(0o644)
    (unfinished / "d" / "b").unlink()
    os.link(outside, unfinished / "d" / "b")
    (unfinished / "l").unlink()
    before = inodes(unfinished)
    assert restore_snapshot(store, taken, unfinished) == 6
    assert dug_up(unfinished) == full(TREE)
    after = inodes(unfinished)
    assert [name for name in after if after[name] == before.get(name)] == ["d/f/g"]
    assert outside.stat().st_nlink == 1


def test_what_no_restore_of_this_snapshot_left_is_an_error_unless_forced(
    store: Store, taken: str, unfinished: Path
) -> None:
    (unfinished / "d" / "mine").write_bytes(b"precious")
    with pytest.raises(RestoreError, match="mine is no part of the snapshot") as caught:
        restore_snapshot(store, taken, unfinished)
    assert caught.value.path == str(unfinished / "d" / "mine") and "--force" in caught.value.next_step
    restore_snapshot(store, taken, unfinished, force=True)
    found = dug_up(unfinished)
    assert found[b"d"].pop(b"mine") == (b"precious", False)  # type: ignore[union-attr]
    assert found == full(TREE)


@pytest.mark.parametrize("kind", ["folder for a file", "link for a file", "link for a folder", "another link"])
def test_an_entry_of_another_kind_is_in_the_way_of_a_resumed_restore(
    store: Store, taken: str, unfinished: Path, tmp_path: Path, kind: str
) -> None:
    victim = plant(tmp_path / "victim", {b"safe": b"safe"})
    name = {"link for a folder": "d", "another link": "l"}.get(kind, "a")
    path = unfinished / name
    shutil.rmtree(path) if name == "d" else path.unlink()
    path.mkdir() if kind == "folder for a file" else path.symlink_to(victim)
    with pytest.raises(RestoreError, match=f"cannot write .*{name}: something of that name"):
        restore_snapshot(store, taken, unfinished)
    assert dug_up(victim) == full({b"safe": b"safe"})


def test_an_unfinished_restore_of_another_snapshot_is_refused_by_name_and_forced_away(
    store: Store, taken: str, unfinished: Path
) -> None:
    other = take_snapshot(plant(unfinished.parent / "other", {b"o": b"1"}), store).snapshot_id
    with pytest.raises(RestoreError, match=f"an unfinished restore of something else, {taken}") as caught:
        restore_snapshot(store, other, unfinished)
    assert f"onrecord restore {taken}" in caught.value.next_step
    restore_snapshot(store, other, unfinished, force=True)
    assert marks(unfinished) == [] and dug_up(unfinished) == full({**TREE, b"o": b"1"})


def test_an_unfinished_restore_of_a_part_is_finished_as_that_part_only(
    store: Store, taken: str, tmp_path: Path
) -> None:
    nodes = {node.name: node for node in read_tree(store, read_root(store, taken).tree)}
    part = nodes[b"d"].value

    def give_up(files: int, size: int) -> None:
        raise InterruptedError

    with pytest.raises(RestoreError, match="cannot restore to"):
        restore_snapshot(store, taken, tmp_path / "out", tree=part, progress=give_up)
    assert marks(tmp_path / "out")
    with pytest.raises(RestoreError, match=f"an unfinished restore of something else, tree-{part.hex()}") as caught:
        restore_snapshot(store, taken, tmp_path / "out")
    assert "onrecord restore" not in caught.value.next_step
    assert restore_snapshot(store, taken, tmp_path / "out", tree=part) == 2
    assert dug_up(tmp_path / "out") == full(TREE)[b"d"]


def test_a_folder_with_a_mark_that_came_from_elsewhere_is_a_foreign_folder(
    store: Store, taken: str, unfinished: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(unfinished, copied, symlinks=True)
    with pytest.raises(RestoreError, match="copied is not empty"):
        restore_snapshot(store, taken, copied)


def test_a_mark_in_a_snapshot_is_content_like_any_other(store: Store, taken: str, tmp_path: Path) -> None:
    tree: Tree = {b".onrecord-restoring-" + taken.encode() + b"-1f": b"", b"f": b"mine"}
    holding = take_snapshot(plant(tmp_path / "holding", tree), store).snapshot_id
    restore_snapshot(store, holding, tmp_path / "out")
    assert dug_up(tmp_path / "out") == full(tree)
    with pytest.raises(RestoreError, match="is not empty"):
        restore_snapshot(store, taken, tmp_path / "out")


def test_a_second_restore_into_the_same_folder_waits_for_nothing_and_harms_nothing(
    store: Store, taken: str, tmp_path: Path
) -> None:
    other = take_snapshot(plant(tmp_path / "other", {b"o": b"1"}), store).snapshot_id
    told: list[str] = []

    def again(files: int, size: int) -> None:
        if (tmp_path / "out").exists() and marks(tmp_path / "out"):
            for snapshot_id, force in ((taken, False), (taken, True), (other, True)):
                with pytest.raises(RestoreError, match="another restore is writing into") as caught:
                    restore_snapshot(store, snapshot_id, tmp_path / "out", force=force)
                told.append(caught.value.next_step)

    restore_snapshot(store, taken, tmp_path / "out", progress=again)
    assert len(told) >= 3 and "wait" in told[0]
    assert dug_up(tmp_path / "out") == full(TREE)


def test_a_restore_that_failed_goes_on_when_the_cause_is_gone(store: Store, tmp_path: Path) -> None:
    data = [b"one" * 100, b"two" * 100]
    with Store(tmp_path / "else") as elsewhere:
        digests = [bytes.fromhex(elsewhere.put_bytes(one).digest) for one in data]
    store.put_bytes(data[0])
    inner = bytes.fromhex(store.put_bytes(encode_tree([(b"f", b"f", 300, digests[1])])).digest)
    tree = bytes.fromhex(store.put_bytes(encode_tree([(b"d", b"d", 0, inner), (b"l", b"l", 1, b"d")])).digest)
    snapshot_id = store.put_bytes(encode_root(Root(tree, 1, 300))).digest
    for _ in range(2):
        with pytest.raises(ObjectMissing, match=digests[1].hex()):
            restore_snapshot(store, snapshot_id, tmp_path / "out")
    assert len(marks(tmp_path / "out")) == 1
    store.put_bytes(data[1])
    restore_snapshot(store, snapshot_id, tmp_path / "out")
    assert dug_up(tmp_path / "out") == full({b"l": ("link", b"d"), b"d": {b"f": data[1]}})


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "none", disk]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("no right to mount a small file system")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("what", ["small", "large", "many"])
def test_a_restore_that_filled_the_disk_goes_on_when_there_is_room(
    store: Store, source: Path, small_disk: Path, what: str
) -> None:
    trees: dict[str, Tree] = {
        "small": {b"%d" % at: os.urandom(100_000) for at in range(50)},
        "large": {b"first": b"1", b"large": os.urandom(6 << 20)},
        "many": {b"d%d" % at: {b"%d" % file: os.urandom(3000) for file in range(60)} for at in range(20)},
    }
    taken = take_snapshot(plant(source, trees[what]), store).snapshot_id
    for _ in range(2):
        with pytest.raises(DiskFull, match="no space left") as caught:
            restore_snapshot(store, taken, small_disk / "out")
        assert "run the same command again" in caught.value.next_step
    before = inodes(small_disk / "out")
    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    restore_snapshot(store, taken, small_disk / "out")
    assert dug_up(small_disk / "out") == full(trees[what])
    kept = [name for name, found in inodes(small_disk / "out").items() if found == before.get(name)]
    assert what == "large" or len(kept) >= len(before) * 0.9
