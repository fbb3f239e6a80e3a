"""The scan at large: several processes, a warm cache that is kept in parts, hostile and very large sources."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from snapshot_trees import disk_bytes, dug_up, full, plant, slow_id

from onrecord.snapshot import intake, processes, stamps, survey
from onrecord.snapshot.descend import Descent
from onrecord.snapshot.errors import SourceError
from onrecord.snapshot.manifest import walk_snapshot
from onrecord.snapshot.restore import restore_snapshot
from onrecord.snapshot.take import take_snapshot

PAST_A_TICK = 0.06


def paths(store, snapshot_id: str) -> list[bytes]:
    return [entry.path for entry in walk_snapshot(store, snapshot_id)]


# What helping processes do is tested with more files than one process reads alone.
MANY = 1500


def many(chance: random.Random, files: int = MANY) -> dict[bytes, object]:
    """Files in nested folders: text, noise, equal content under many names, one too large for a pack."""
    tree: dict[bytes, object] = {}
    for at in range(files):
        here = tree
        for part in (at // 300, at // 25):
            here = here.setdefault(b"d%d" % part, {})
        content = [b"%d " % at * 40, chance.randbytes(600), b"same" * 100, b""][at % 4]
        here[b"f%d" % at] = (content, at % 7 == 0)
    tree[b"large"] = (chance.randbytes(4 << 20), False)
    return tree


def children() -> set[str]:
    """Process ids of our children."""
    return {
        child for task in Path(f"/proc/{os.getpid()}/task").glob("*/children") for child in task.read_text().split()
    }


def test_many_files_are_read_by_several_processes_and_come_back(store, source, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "helpers", lambda: 2)
    tree = many(random.Random(1))
    plant(source, tree)
    before = children()
    taken = take_snapshot(source, store, cache=tmp_path / "cache")
    assert taken.snapshot_id == slow_id(tree)
    assert len(list((store.folder / "packs").iterdir())) > 1
    assert children() == before and list((store.folder / "tmp").iterdir()) == []
    assert list(store.verify()) == []
    restore_snapshot(store, taken.snapshot_id, tmp_path / "out")
    assert dug_up(tmp_path / "out") == full(tree)
    again = take_snapshot(source, store, cache=tmp_path / "other")
    assert (again.snapshot_id, again.bytes_stored) == (taken.snapshot_id, 0)


def test_the_same_content_is_stored_once_whichever_process_reads_it(store, source, monkeypatch):
    monkeypatch.setattr(processes, "helpers", lambda: 2)
    content = os.urandom(20_000)
    plant(source, {b"d%d" % folder: {b"%d" % at: content for at in range(100)} for folder in range(12)})
    taken = take_snapshot(source, store)
    assert taken.bytes == 1200 * 20_000
    assert disk_bytes(store.folder / "packs") < 60_000


@pytest.mark.parametrize("how", ["no core", "not started", "dies at once", "dies after an answer"])
def test_without_helping_processes_the_snapshot_is_the_same(store, source, tmp_path, monkeypatch, how):
    tree = many(random.Random(2))
    plant(source, tree)
    monkeypatch.setattr(processes, "helpers", lambda: 0 if how == "no core" else 2)
    if how == "not started":
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python-that-is-not-there"))
    if how == "dies at once":
        monkeypatch.setattr(intake, "_MAIN", "raise SystemExit(1)")
    if how == "dies after an answer":
        real, seen = intake.received, []

        def received(fd: int) -> object:
            answer = real(fd)
            seen.append(answer)
            if len(seen) == 2:
                for child in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split():
                    os.kill(int(child), signal.SIGKILL)
            return answer

        monkeypatch.setattr(intake, "received", received)
    taken = take_snapshot(source, store)
    assert taken.snapshot_id == slow_id(tree)
    assert list(store.verify()) == [] and list((store.folder / "tmp").iterdir()) == []


def test_a_file_that_no_process_can_read_is_named(store, source, monkeypatch):
    monkeypatch.setattr(processes, "helpers", lambda: 1)
    plant(source, {b"d%d" % folder: {b"%d" % at: b"1" for at in range(100)} for folder in range(12)})
    real = os.open

    def refuse(path: object, *args: object, **kwargs: object) -> int:
        if path == b"77" and kwargs.get("dir_fd") is not None:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(SourceError, match=r"cannot read d[0-9]+/77"):
        take_snapshot(source, store)
    assert list((store.folder / "tmp").iterdir()) == []


def test_a_warm_cache_is_looked_through_by_several_processes(store, source, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "helpers", lambda: 2)
    monkeypatch.setattr(survey, "_HELP_FROM", 100)
    monkeypatch.setattr(survey, "_HEAD_START", 100)
    tree = many(random.Random(3))
    plant(source, tree)
    cache = tmp_path / "cache"
    first = take_snapshot(source, store, cache=cache)
    time.sleep(PAST_A_TICK)
    take_snapshot(source, store, cache=cache)
    for folder, name in ((b"d0/d3", b"f80"), (b"d4/d59", b"f1490"), (b"d2/d30", b"new")):
        time.sleep(PAST_A_TICK)
        again = take_snapshot(source, store, cache=cache)
        assert (again.snapshot_id, again.bytes_stored) == (slow_id(dug_up(source)), 0)
        (source / os.fsdecode(folder) / os.fsdecode(name)).write_bytes(b"changed")
        changed = take_snapshot(source, store, cache=cache)
        assert changed.snapshot_id == slow_id(dug_up(source)) != again.snapshot_id
        assert changed.bytes_stored < 10_000
    assert first.files == MANY + 1
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python-that-is-not-there"))
    assert take_snapshot(source, store, cache=cache).snapshot_id == slow_id(dug_up(source))


def test_what_is_unchanged_with_all_below_it_is_not_entered(store, source, tmp_path, monkeypatch):
    plant(source, {b"a": {b"b": {b"c": b"1"}}, b"d": {b"e": {b"f": b"2"}}})
    time.sleep(PAST_A_TICK)
    cache = tmp_path / "cache"
    take_snapshot(source, store, cache=cache)
    (source / "d" / "e" / "f").write_bytes(b"3")
    entered = []
    real = Descent.enter
    monkeypatch.setattr(Descent, "enter", lambda self, name: entered.append(name) or real(self, name))
    assert take_snapshot(source, store, cache=cache).snapshot_id == slow_id(dug_up(source))
    assert entered == [b"d", b"e"]


def test_a_folder_that_becomes_a_link_to_its_like_is_seen(store, source, tmp_path):
    plant(source, {b"a": {b"b": {b"c": b"1"}}})
    time.sleep(PAST_A_TICK)
    cache = tmp_path / "cache"
    take_snapshot(source, store, cache=cache)
    stamp = source.stat()
    (source / "a").rename(tmp_path / "elsewhere")
    (source / "a").symlink_to(tmp_path / "elsewhere")
    os.utime(source, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    taken = take_snapshot(source, store, cache=cache)
    assert paths(store, taken.snapshot_id) == [b"a"]


def test_warnings_and_skipped_entries_are_told_in_one_order_whatever_was_kept(store, source, tmp_path):
    plant(source, {b"z": ("link", b"/z"), b"a": {b"m": ("link", b"/m"), b"b": {b"x": ("link", b"/x")}}, b"c": {}})
    for name in ("a/b/fifo", "c/fifo", "fifo"):
        os.mkfifo(source / name)
    time.sleep(PAST_A_TICK)
    cache = tmp_path / "cache"
    first = take_snapshot(source, store, cache=cache)
    for step in (lambda: None, (source / "c" / "new").touch, (source / "new").touch, (source / "a" / "new").touch):
        step()
        again = take_snapshot(source, store, cache=cache)
        assert (again.skipped, again.warnings) == (first.skipped, first.warnings)
        time.sleep(PAST_A_TICK)
    assert [entry.path for entry in first.skipped] == ["fifo", "a/b/fifo", "c/fifo"]


def test_an_ignore_file_that_ignores_itself_is_watched(store, source, tmp_path):
    plant(source, {b"d": {b".gitignore": b".gitignore\na\n", b"a": b"1", b"b": b"2"}})
    time.sleep(PAST_A_TICK)
    cache = tmp_path / "cache"
    for _ in range(2):
        assert paths(store, take_snapshot(source, store, cache=cache).snapshot_id) == [b"d", b"d/b"]
    (source / "d" / ".gitignore").write_bytes(b".gitignore\nb\n")
    for _ in range(2):
        assert paths(store, take_snapshot(source, store, cache=cache).snapshot_id) == [b"d", b"d/a"]
        time.sleep(PAST_A_TICK)


def test_stamps_that_fit_no_64_bits_count_as_unknown():
    assert stamps.packed([(1, 2**63, 3, 4, 5, 6)]) == b""
    assert stamps.unpacked(b"", 2) == [stamps.UNKNOWN] * 2
    seen = [(1, -2, 3, 2**64 - 1, 5, 6), (7, 8, 9, 10, 11, 12)]
    assert stamps.unpacked(stamps.packed(seen), 2) == seen


COUNTED = """
import sys; from pathlib import Path
from onrecord.snapshot.store import Store
from onrecord.snapshot.take import take_snapshot
store = Store(Path(sys.argv[2])); store.identity
print("begin", flush=True, file=sys.stderr)
take_snapshot(Path(sys.argv[1]), store)
print("end", flush=True, file=sys.stderr)
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace counts the flushes")
@pytest.mark.parametrize("tree", ["many", "large"])
def test_a_first_snapshot_flushes_fewer_than_eight_times_however_many_files(source, tmp_path, tree):
    if tree == "many":
        plant(source, many(random.Random(4), 800))
    else:
        plant(source, {b"%d" % at: os.urandom(4 << 20) for at in range(9)})
    trace = tmp_path / "trace"
    watched = "trace=fsync,fdatasync,syncfs,sync,write"
    command = ["strace", "-f", "-e", watched, "-o", trace, sys.executable, "-c", COUNTED, source, tmp_path / "objects"]
    subprocess.run(command, check=True, capture_output=True)
    lines = trace.read_text().partition('"begin')[2].partition('"end')[0].splitlines()
    flushes = [line for line in lines if "sync" in line.partition("(")[0] or "sync resumed" in line]
    assert 2 < len(flushes) < 8, flushes


@pytest.mark.long
def test_a_hundred_thousand_files_in_one_folder(store, source, tmp_path):
    for at in range(100_000):
        (source / f"{at:06}").write_bytes(b"%d" % (at % 1000))
    time.sleep(PAST_A_TICK)
    taken = take_snapshot(source, store, cache=tmp_path / "cache")
    again = take_snapshot(source, store, cache=tmp_path / "cache")
    assert (taken.files, again.snapshot_id, again.bytes_stored) == (100_000, taken.snapshot_id, 0)
    (source / "000007").write_bytes(b"new")
    assert take_snapshot(source, store, cache=tmp_path / "cache").bytes_stored > 0
    assert restore_snapshot(store, taken.snapshot_id, tmp_path / "out") == 100_000


@pytest.mark.parametrize("size", [40_000_000, pytest.param(10_000_000_000, marks=pytest.mark.long)])
def test_a_sparse_file_costs_the_store_next_to_nothing_and_stays_sparse(store, source, tmp_path, size):
    with (source / "sparse").open("wb") as file:
        file.write(b"begin")
        file.seek(size // 2)
        file.write(b"middle")
        file.truncate(size)
    taken = take_snapshot(source, store)
    restore_snapshot(store, taken.snapshot_id, tmp_path / "out")
    (kept,) = (store.folder / "loose").iterdir()
    for copy in (kept, tmp_path / "out" / "sparse"):
        assert copy.stat().st_size == size
        assert copy.stat().st_blocks * 512 <= 20 << 20


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_devices_are_skipped_by_name(store, source):
    for name, kind, number in (("null", stat.S_IFCHR, (1, 3)), ("loop", stat.S_IFBLK, (7, 99))):
        try:
            os.mknod(source / name, 0o600 | kind, os.makedev(*number))
        except PermissionError:
            pytest.skip("no right to make devices")
    taken = take_snapshot(source, store)
    assert [(entry.path, entry.reason) for entry in taken.skipped] == [
        ("loop", "a block device"),
        ("null", "a character device"),
    ]
    assert taken.snapshot_id == slow_id({})
