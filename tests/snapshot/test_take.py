from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from snapshot_trees import disk_bytes, dug_up, full, plant, slow_id

from onrecord.snapshot import statcache
from onrecord.snapshot.errors import FileChanging, SourceError
from onrecord.snapshot.ignore import Rules
from onrecord.snapshot.manifest import objects_of, walk_snapshot
from onrecord.snapshot.restore import restore_snapshot
from onrecord.snapshot.store import Store
from onrecord.snapshot.take import take_snapshot

PAST_A_TICK = 0.06


def paths(store: Store, snapshot_id: str) -> list[bytes]:
    return [entry.path for entry in walk_snapshot(store, snapshot_id)]


def test_a_snapshot_restored_is_the_tree_that_was_taken(store, source, tmp_path):
    tree = {b"train.py": b"print(1)\n", b"run.sh": (b"#!/bin/sh\n", True), b"empty": {}, b"a": {b"b": {b"c": b""}}}
    plant(source, tree)
    taken = take_snapshot(source, store)
    assert (taken.files, taken.bytes) == (3, 19)
    assert restore_snapshot(store, taken.snapshot_id, tmp_path / "out") == 3
    assert dug_up(tmp_path / "out") == full(tree)
    assert taken.snapshot_id == slow_id(tree)


def test_an_unchanged_tree_stores_nothing(store, source, tmp_path):
    plant(source, {b"a": b"1" * 5000, b"d": {b"b": b"2"}})
    first = take_snapshot(source, store, cache=tmp_path / "cache")
    before = disk_bytes(store.folder)
    assert first.bytes_stored > 0
    for _ in range(3):
        again = take_snapshot(source, store, cache=tmp_path / "cache")
        assert (again.snapshot_id, again.bytes_stored) == (first.snapshot_id, 0)
    assert take_snapshot(source, store).bytes_stored == 0
    assert disk_bytes(store.folder) == before


def test_only_what_changed_is_stored(store, source):
    plant(source, {b"big": os.urandom(1 << 20), b"d": {b"small": b"1"}})
    take_snapshot(source, store)
    (source / "d" / "small").write_bytes(b"2")
    assert 0 < take_snapshot(source, store).bytes_stored < 1000


def test_the_same_content_under_many_names_is_stored_once(store, source):
    content = os.urandom(100_000)
    plant(source, {str(at).encode(): content for at in range(20)})
    assert take_snapshot(source, store).bytes_stored < 110_000


def test_an_empty_folder_is_a_snapshot_too(store, source):
    taken = take_snapshot(source, store)
    assert (taken.files, taken.bytes, paths(store, taken.snapshot_id)) == (0, 0, [])
    assert taken.snapshot_id == slow_id({})


NAMES = st.one_of(
    st.text(min_size=1, max_size=8).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(min_size=1, max_size=12),
    st.sampled_from([b"a", b"b", b"-", b" ", b"\xff", b"a\nb", "é".encode(), b"a" * 255]),
).filter(
    lambda name: (
        name not in (b".", b"..", b".onrecord", b".gitignore", b".amlignore")
        and not {0, 47} & set(name)
        and len(name) < 256
    )
)
FILES = st.tuples(st.binary(max_size=300), st.booleans())
LINKS = st.tuples(st.just("link"), st.binary(min_size=1, max_size=40).filter(lambda target: 0 not in target))
TREES = st.recursive(
    st.dictionaries(NAMES, st.one_of(FILES, LINKS), max_size=4),
    lambda inner: st.dictionaries(NAMES, st.one_of(FILES, LINKS, inner), max_size=4),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(tree=TREES)
def test_any_tree_comes_back_and_has_the_id_of_the_slow_implementation(tree, tmp_path_factory):
    base = tmp_path_factory.mktemp("any")
    plant(base / "source", tree)
    with Store(base / "objects") as store:
        taken = take_snapshot(base / "source", store, rules=Rules(defaults=False), cache=base / "cache")
        assert taken.snapshot_id == slow_id(tree)
        again = take_snapshot(base / "source", store, rules=Rules(defaults=False), cache=base / "cache")
        assert (again.snapshot_id, again.bytes_stored) == (taken.snapshot_id, 0)
        restore_snapshot(store, taken.snapshot_id, base / "out")
        assert dug_up(base / "out") == full(tree)
        assert list(store.verify()) == []


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(trees=st.lists(TREES, min_size=2, max_size=4), wait=st.booleans())
def test_a_cache_never_changes_the_id(trees, wait, tmp_path_factory):
    base = tmp_path_factory.mktemp("cached")
    source = plant(base / "source", {})
    with Store(base / "objects") as store:
        for tree in trees:
            subprocess.run(["find", str(source), "-mindepth", "1", "-delete"], check=True)
            plant(source, tree)
            if wait:
                time.sleep(PAST_A_TICK)
            for _ in range(2):
                taken = take_snapshot(source, store, rules=Rules(defaults=False), cache=base / "cache")
                assert taken.snapshot_id == slow_id(tree)


def test_every_kind_of_change_is_seen_through_a_warm_cache(store, source, tmp_path):
    tree = {b"a": b"1", b"d": {b"b": b"2", b"e": {b"f": b"3"}}, b"l": ("link", b"a")}
    plant(source, tree)

    def check() -> None:
        time.sleep(PAST_A_TICK)
        for _ in range(2):
            taken = take_snapshot(source, store, cache=tmp_path / "cache")
            assert taken.snapshot_id == slow_id(dug_up(source))

    check()
    deep = source / "d" / "e"
    steps = [
        lambda: (deep / "f").write_bytes(b"4"),
        lambda: (deep / "new").write_bytes(b"5"),
        lambda: (deep / "new").chmod(0o755),
        (deep / "f").unlink,
        lambda: (source / "a").rename(source / "z"),
        lambda: ((source / "l").unlink(), (source / "l").symlink_to("z")),
        lambda: ((source / "z").unlink(), (source / "z").mkdir()),
        lambda: deep.rename(source / "e"),
        lambda: (source / "d" / "b").replace(source / "e" / "new"),
        (source / "d").rmdir,
    ]
    for step in steps:
        step()
        check()


def test_a_change_that_keeps_size_and_mtime_is_seen(store, source, tmp_path):
    file = source / "f"
    file.write_bytes(b"old")
    stamp = file.stat()
    time.sleep(PAST_A_TICK)
    first = take_snapshot(source, store, cache=tmp_path / "cache")
    file.write_bytes(b"new")
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert take_snapshot(source, store, cache=tmp_path / "cache").snapshot_id != first.snapshot_id


def test_a_file_written_twice_within_one_tick_is_read_again(store, source, tmp_path):
    for round_ in range(200):
        (source / "f").write_bytes(b"%03d" % round_)
        taken = take_snapshot(source, store, cache=tmp_path / "cache")
        assert taken.snapshot_id == slow_id({b"f": b"%03d" % round_})


def test_the_racy_rule_knows_clocks_of_whole_seconds():
    second, now = 1_000_000_000, 1_700_000_000_900_000_000
    assert statcache.is_racy(now - second // 100, now - second // 100, now)
    assert not statcache.is_racy(now - second // 5 - 1, now - second // 5 - 1, now)
    whole = now // second * second
    assert statcache.is_racy(whole - second, whole - second, now)
    assert not statcache.is_racy(now + 3600 * second, now - 3600 * second, now)


@pytest.mark.parametrize("damage", ["truncate", "flip", "garbage", "empty", "folder"])
def test_a_damaged_cache_is_ignored(store, source, tmp_path, damage):
    plant(source, {b"a": b"1"})
    cache = tmp_path / "cache"
    time.sleep(PAST_A_TICK)
    first = take_snapshot(source, store, cache=cache)
    data = cache.read_bytes()
    if damage == "folder":
        cache.unlink()
        cache.mkdir()
    else:
        flipped = data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]
        cache.write_bytes({"truncate": data[:-9], "flip": flipped, "garbage": b"x" * 99, "empty": b""}[damage])
    assert take_snapshot(source, store, cache=cache).snapshot_id == first.snapshot_id


def test_a_cache_that_was_never_finished_is_removed_later(store, source, tmp_path):
    old, young = tmp_path / "cache.0000", tmp_path / "cache.1111"
    for partial, age in ((old, 3600), (young, 0)):
        partial.write_bytes(b"half")
        os.utime(partial, (time.time() - age, time.time() - age))
    take_snapshot(source, store, cache=tmp_path / "cache")
    assert (old.exists(), young.exists()) == (False, True)


def test_a_cache_says_nothing_about_another_store(source, tmp_path):
    plant(source, {b"a": b"1"})
    time.sleep(PAST_A_TICK)
    with Store(tmp_path / "one") as one, Store(tmp_path / "two") as two:
        take_snapshot(source, one, cache=tmp_path / "cache")
        taken = take_snapshot(source, two, cache=tmp_path / "cache")
        assert two.has(objects_of(two, taken.snapshot_id)) == set(objects_of(two, taken.snapshot_id))


def test_other_rules_make_a_warm_cache_look_again(store, source, tmp_path):
    plant(source, {b"a": b"1", b"x.pyc": b"2", b"d": {b"a": b"3"}})
    time.sleep(PAST_A_TICK)
    cache = tmp_path / "cache"
    taken = take_snapshot(source, store, cache=cache)
    assert paths(store, taken.snapshot_id) == [b"a", b"d", b"d/a"]
    taken = take_snapshot(source, store, cache=cache, rules=Rules(defaults=False))
    assert b"x.pyc" in paths(store, taken.snapshot_id)
    (source / ".gitignore").write_text("a\n")
    for _ in range(2):
        time.sleep(PAST_A_TICK)
        taken = take_snapshot(source, store, cache=cache)
        assert paths(store, taken.snapshot_id) == [b".gitignore", b"d"]
    (source / ".gitignore").write_text("b\n")
    taken = take_snapshot(source, store, cache=cache)
    assert paths(store, taken.snapshot_id) == [b".gitignore", b"a", b"d", b"d/a"]


def test_rehash_reads_what_the_cache_believes_unchanged(store, source, tmp_path):
    plant(source, {b"a": b"1"})
    time.sleep(PAST_A_TICK)
    first = take_snapshot(source, store, cache=tmp_path / "cache")
    again = take_snapshot(source, store, cache=tmp_path / "cache", rehash=True)
    assert (again.snapshot_id, again.bytes_stored) == (first.snapshot_id, 0)


def test_fifos_sockets_and_devices_are_skipped_by_name(store, source, tmp_path):
    plant(source, {b"a": b"1", b"d": {}})
    os.mkfifo(source / "d" / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(source)
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)
        for _ in range(2):
            time.sleep(PAST_A_TICK)
            taken = take_snapshot(source, store, cache=tmp_path / "cache")
            assert [(entry.path, entry.reason) for entry in taken.skipped] == [
                ("socket", "a socket"),
                ("d/fifo", "a FIFO"),
            ]
            assert taken.snapshot_id == slow_id({b"a": b"1", b"d": {}})


def test_links_are_kept_and_never_followed(store, source, tmp_path):
    (tmp_path / "secret").write_text("secret")
    tree = {
        b"self": ("link", b"self"),
        b"up": ("link", b"."),
        b"gone": ("link", b"nowhere"),
        b"d": {b"in": ("link", b"../a"), b"out": ("link", b"../../secret")},
        b"etc": ("link", b"/etc"),
        b"a": b"1",
    }
    plant(source, tree)
    for _ in range(2):
        time.sleep(PAST_A_TICK)
        taken = take_snapshot(source, store, cache=tmp_path / "cache")
        assert taken.snapshot_id == slow_id(tree)
        assert sorted(warning.split(":")[0] for warning in taken.warnings) == [
            "d/out points out of the source, to ../../secret",
            "etc points out of the source, to /etc",
        ]


def test_names_that_are_not_utf8_and_unicode_twins_stay_as_they_are(store, source, tmp_path):
    tree = {
        b"\xff\xfe": b"1",
        unicodedata.normalize("NFC", "é").encode(): b"2",
        unicodedata.normalize("NFD", "é").encode(): b"3",
    }
    plant(source, tree)
    taken = take_snapshot(source, store)
    assert taken.snapshot_id == slow_id(tree)
    restore_snapshot(store, taken.snapshot_id, tmp_path / "out")
    assert dug_up(tmp_path / "out") == full(tree)


def test_a_path_longer_than_any_system_call_takes(store, source, tmp_path):
    """2,500 folders deep, 12,500 bytes of path: more than PATH_MAX, than the recursion limit, than open files."""
    depth = 2500
    fd = os.open(source, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("dddd", dir_fd=fd)
        below = os.open("dddd", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    with os.fdopen(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=fd), "wb") as file:
        file.write(b"deep")
    os.close(fd)
    try:
        taken = take_snapshot(source, store, cache=tmp_path / "cache")
        assert restore_snapshot(store, taken.snapshot_id, tmp_path / "out") == 1
        for folder in (source, tmp_path / "out"):
            again = take_snapshot(folder, store, cache=tmp_path / "cache")
            assert (again.snapshot_id, again.bytes_stored) == (taken.snapshot_id, 0)
        last = list(walk_snapshot(store, taken.snapshot_id))[-1]
        assert (last.path, last.size) == (b"dddd/" * depth + b"file", 4)
    finally:
        subprocess.run(["rm", "-rf", source, tmp_path / "out"], check=True)


def test_thousands_of_files_in_one_folder(store, source, tmp_path):
    tree = {b"%05d" % at: b"%d" % (at % 7) for at in range(5000)}
    plant(source, tree)
    assert take_snapshot(source, store).snapshot_id == slow_id(tree)


@pytest.mark.parametrize("kind", ["missing", "file", "loop"])
def test_a_source_that_is_no_folder_is_a_clear_error(store, tmp_path, kind):
    path = tmp_path / "it"
    if kind == "file":
        path.write_text("x")
    if kind == "loop":
        path.symlink_to(path)
    with pytest.raises(SourceError, match=r"cannot take a snapshot of .*it") as caught:
        take_snapshot(path, store)
    assert caught.value.path == str(path)
    assert "next: give the folder" in str(caught.value)


AS_NOBODY = """
import os, sys
from pathlib import Path
from onrecord.snapshot.store import Store
from onrecord.snapshot.take import take_snapshot
from onrecord.snapshot.errors import SnapshotError
if os.geteuid() == 0: os.setegid(65534); os.seteuid(65534)
try: take_snapshot(Path(sys.argv[1]), Store(Path(sys.argv[2])))
except SnapshotError as error: print(error)
"""


@pytest.mark.parametrize("name", ["d/secret.txt", "d", "."])
def test_what_cannot_be_read_is_named(tmp_path, name):
    import tempfile

    with tempfile.TemporaryDirectory() as base:
        Path(base).chmod(0o755)
        plant(Path(base) / "source", {b"d": {b"secret.txt": b"1"}})
        (Path(base) / "store").mkdir()
        (Path(base) / "store").chmod(0o777)
        (Path(base) / "source" / name).chmod(0o000)
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, f"{base}/source", f"{base}/store/objects"],
            check=False,
            capture_output=True,
            text=True,
        )
        (Path(base) / "source" / name).chmod(0o755)
    assert done.stderr == ""
    assert f"cannot read {name}" in done.stdout or (name == "." and "do not allow" in done.stdout)


def test_a_store_that_may_not_be_written_is_a_clear_error(tmp_path):
    import tempfile

    with tempfile.TemporaryDirectory() as base:
        Path(base).chmod(0o755)
        plant(Path(base) / "source", {b"a": b"1"})
        command = [sys.executable, "-c", AS_NOBODY, f"{base}/source", f"{base}/objects"]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.stderr == "" and "cannot be used" in done.stdout and "Permission denied" in done.stdout


@pytest.mark.parametrize("changes", [1, 2, 3])
def test_a_file_that_changes_while_it_is_read_is_read_again_three_times_at_most(store, source, monkeypatch, changes):
    file = source / "busy.log"
    file.write_bytes(b"x" * 1000)
    real, reads = os.read, 0

    def read(fd: int, size: int) -> bytes:
        nonlocal reads
        reads += 1
        data = real(fd, size)
        if reads <= changes:
            file.write_bytes(b"%d" % reads * 1000)
        return data

    monkeypatch.setattr(os, "read", read)
    if changes < 3:
        taken = take_snapshot(source, store)
        assert taken.snapshot_id == slow_id({b"busy.log": b"%d" % changes * 1000})
    else:
        with pytest.raises(FileChanging, match=r"busy\.log changed each of the 3 times") as caught:
            take_snapshot(source, store)
        assert caught.value.path == "busy.log"


def test_a_large_file_that_changes_leaves_no_torn_copy(store, source, monkeypatch):
    file = source / "big"
    file.write_bytes(os.urandom(5 << 20))
    real = os.readv

    def readv(fd, buffers):
        with file.open("ab") as out:
            out.write(b"more")
        return real(fd, buffers)

    monkeypatch.setattr(os, "readv", readv)
    with pytest.raises(FileChanging):
        take_snapshot(source, store)
    assert list((store.folder / "tmp").iterdir()) == list((store.folder / "loose").iterdir()) == []


def test_a_large_snapshot_warns_and_names_its_largest_entries(store, source):
    plant(source, {b"data": {b"raw": {}}, b"train.py": b"1"})
    for name, size in (("data/raw/x.bin", 200_000_000), ("y.bin", 150_000_000)):
        with (source / name).open("wb") as file:
            file.truncate(size)
    (warning,) = take_snapshot(source, store).warnings
    assert warning.split("\n") == [
        "the snapshot holds 3 files and 350 MB; the largest entries:",
        "  data/raw/x.bin      200.0 MB",
        "  y.bin               150.0 MB",
        "  train.py              0.0 MB",
        "name what the run does not need in .amlignore or .gitignore",
    ]


def test_the_workspace_is_never_entered_whatever_the_rules_say(source, tmp_path):
    plant(
        source,
        {
            b"a": b"1",
            b"ws": {b"ledger.db": b"", b"objects": {}, b"x": b"2"},
            b".onrecord": {b"b": b"3"},
            b".gitignore": b"!.onrecord\n",
        },
    )
    with Store(source / "ws" / "objects") as store:
        taken = take_snapshot(source, store, rules=Rules(defaults=False))
        assert paths(store, taken.snapshot_id) == [b".gitignore", b"a"]


def test_defaults_leave_out_caches_and_environments_but_a_negation_brings_them_back(store, source, tmp_path):
    tree = {
        b"outputs": {b"m": b"1"},
        b"logs": {b"l": b"1"},
        b"a": {b"outputs": {b"m": b"1"}},
        b"__pycache__": {b"x": b"1"},
        b"env": {b"pyvenv.cfg": b"", b"lib": {b"y": b""}},
        b"node_modules": {b"z": b""},
        b".git": {b"HEAD": b"x"},
        b"t.py": b"1",
    }
    plant(source, tree)
    cache = tmp_path / "cache"
    everything = paths(store, take_snapshot(source, store, rules=Rules(defaults=False)).snapshot_id)
    assert len(everything) == len(list(source.rglob("*")))
    for _ in range(2):
        taken = take_snapshot(source, store, cache=cache)
        assert paths(store, taken.snapshot_id) == [b"a", b"a/outputs", b"a/outputs/m", b"t.py"]
        time.sleep(PAST_A_TICK)
    (source / "env" / "pyvenv.cfg").unlink()
    assert b"env/lib/y" in paths(store, take_snapshot(source, store, cache=cache).snapshot_id)
    (source / "env" / "pyvenv.cfg").touch()
    assert b"env/lib/y" not in paths(store, take_snapshot(source, store, cache=cache).snapshot_id)
    (source / ".gitignore").write_text("!outputs/\n!env/\n!.git\n")
    found = paths(store, take_snapshot(source, store, cache=cache).snapshot_id)
    assert {b"outputs/m", b"env/pyvenv.cfg", b".git/HEAD"} <= set(found) and b"logs" not in found


def test_importing_the_package_stays_cheap():
    code = (
        "import sys; before = set(sys.modules); import onrecord.snapshot.take, onrecord.snapshot.restore;"
        "bad = {'asyncio', 'multiprocessing', 'concurrent.futures', 'subprocess', 'zlib_', 'cattrs', 'watchdog'};"
        "print(sorted(bad & (set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
