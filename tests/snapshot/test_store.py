from __future__ import annotations

import errno
import os
import pickle
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3
from snapshot_trees import disk_bytes, plant, slow_id

from onrecord.snapshot.digest import from_hex
from onrecord.snapshot.encoding import RAW, ZLIB, decode, encode
from onrecord.snapshot.errors import (
    DiskFull,
    ObjectCorrupt,
    ObjectMissing,
    SnapshotError,
    SourceError,
    StoreError,
    shown,
)
from onrecord.snapshot.index import Index
from onrecord.snapshot.manifest import objects_of
from onrecord.snapshot.restore import restore_snapshot
from onrecord.snapshot.store import Store, Stored
from onrecord.snapshot.take import take_snapshot

LARGE = 5 << 20


def run(code: str, *args: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", code, *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.parametrize("data", [b"", b"x", b"text " * 1000, os.urandom(100_000), os.urandom(LARGE), bytes(LARGE)])
def test_bytes_come_back_and_are_stored_once(store, data):
    first = store.put_bytes(data)
    assert (first.digest, first.size) == (blake3(data).hexdigest(), len(data))
    assert 0 < first.bytes_stored <= len(data) + 100
    assert store.put_bytes(data) == Stored(first.digest, len(data), 0)
    assert store.read(first.digest) == data
    assert list(store.verify()) == list(store.verify([first.digest])) == []


@pytest.mark.parametrize("size", [0, 10, 100_000, LARGE])
def test_a_file_is_stored_and_copied_back(store, tmp_path, size):
    file = tmp_path / "file"
    file.write_bytes(os.urandom(size))
    stored = store.put_file(file)
    (tmp_path / "copy").write_text("in the way")
    assert store.copy_to(stored.digest, tmp_path / "copy") == size
    assert (tmp_path / "copy").read_bytes() == file.read_bytes()
    assert not list(tmp_path.glob(".*partial"))


def test_many_files_keep_their_order_and_count_shared_content_once(store, tmp_path):
    contents = [b"a" * 200, b"b" * LARGE, b"a" * 200, b"", b"c", b"b" * LARGE]
    files = []
    for at, content in enumerate(contents):
        (tmp_path / str(at)).write_bytes(content)
        files.append(tmp_path / str(at))
    stored = store.put_files(files)
    assert [entry.digest for entry in stored] == [blake3(content).hexdigest() for content in contents]
    assert [entry.bytes_stored > 0 for entry in stored] == [True, True, False, True, True, False]
    assert len(list((store.folder / "packs").iterdir())) == len(list((store.folder / "loose").iterdir())) == 1
    assert store.put_files([]) == []


def test_a_sparse_file_stays_sparse(store, tmp_path):
    file = tmp_path / "sparse"
    with file.open("wb") as out:
        out.write(b"start")
        out.truncate(64 << 20)
    stored = store.put_file(file)
    store.copy_to(stored.digest, tmp_path / "copy")
    for path in (store.folder / "loose" / stored.digest, tmp_path / "copy"):
        status = path.stat()
        assert status.st_size == 64 << 20 and status.st_blocks * 512 < 20 << 20
    assert blake3((tmp_path / "copy").read_bytes()).hexdigest() == stored.digest


def test_text_is_compressed_and_noise_is_not(store):
    assert store.put_bytes(b"some text, again and again\n" * 4000).bytes_stored < 3000
    assert encode(os.urandom(200_000))[0] == RAW
    encoding, kept = encode(b"abc" * 1000)
    assert encoding == ZLIB and decode(ZLIB, kept, 3000) == b"abc" * 1000


def test_an_unknown_encoding_says_that_the_store_is_newer():
    with pytest.raises(StoreError, match="encoding 9"):
        decode(9, b"", 0)


def test_has_answers_for_many_at_once(store):
    stored = {store.put_bytes(b"%d" % at).digest for at in range(5)}
    strange = {blake3(b"no %d" % at).hexdigest() for at in range(2000)}
    assert store.has(stored | strange) == stored
    assert store.has([]) == set()


def test_the_folder_is_made_on_first_use(tmp_path):
    store = Store(tmp_path / "a" / "b" / "objects")
    assert not (tmp_path / "a").exists()
    assert store.has(["0" * 64]) == set()
    store.close()


@pytest.mark.parametrize("digest", ["", "zz", "0" * 63, "0" * 65, "g" * 64, "00 " * 32])
def test_an_address_that_is_none_is_refused(store, digest):
    with pytest.raises(SnapshotError, match="is not an object's address"):
        store.read(digest)


def test_a_missing_object_is_named(store, tmp_path):
    digest = "0" * 64
    for ask in (store.read, lambda digest: store.copy_to(digest, tmp_path / "out")):
        with pytest.raises(ObjectMissing, match=digest) as caught:
            ask(digest)
        assert pickle.loads(pickle.dumps(caught.value)).digest == digest  # noqa: S301
    assert [(fault.digest, fault.problem) for fault in store.verify([digest])] == [
        (digest, "missing: the store does not know it")
    ]
    assert not (tmp_path / "out").exists()


def spoil(path: Path, how: str) -> None:
    path.chmod(0o644)
    data = path.read_bytes()
    if how == "flip":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif how == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:
        path.unlink()


@pytest.mark.parametrize("how", ["flip", "cut", "gone"])
@pytest.mark.parametrize(
    "data", [b"noise" + os.urandom(500), b"text" * 500, os.urandom(LARGE)], ids=["raw", "zlib", "loose"]
)
def test_damage_is_found_by_every_way_of_reading(store, tmp_path, data, how):
    good = store.put_bytes(b"good").digest
    bad = store.put_bytes(data).digest
    folder = "packs" if len(data) < LARGE else "loose"
    spoil(max((store.folder / folder).iterdir(), key=lambda path: path.stat().st_size), how)
    store.close()
    for ask in (store.read, lambda digest: store.copy_to(digest, tmp_path / "out")):
        with pytest.raises(ObjectCorrupt, match=bad) as caught:
            ask(bad)
        assert caught.value.digest == bad
    assert not (tmp_path / "out").exists()
    assert [fault.digest for fault in store.verify()] == [bad]
    assert [fault.digest for fault in store.verify([good, bad])] == [bad]
    assert store.read(good) == b"good"


@pytest.mark.parametrize("kind", ["missing", "folder", "link", "fifo"])
def test_only_regular_files_are_stored(store, tmp_path, kind):
    path = tmp_path / "it"
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("/etc/passwd")
    elif kind == "fifo":
        os.mkfifo(path)
    with pytest.raises(SourceError, match=r"cannot store .*it") as caught:
        store.put_files([path])
    assert caught.value.path == str(path)


def test_a_store_of_a_newer_version_is_refused(tmp_path):
    with Store(tmp_path / "objects") as store:
        store.put_bytes(b"x")
    connection = sqlite3.connect(tmp_path / "objects" / "index.db")
    connection.execute("PRAGMA user_version=2")
    connection.close()
    with pytest.raises(StoreError, match="has format 2; this version knows 1"):
        Store(tmp_path / "objects").put_bytes(b"y")


def test_a_damaged_index_is_a_clear_error(tmp_path):
    with Store(tmp_path / "objects") as store:
        store.put_bytes(b"x")
    (tmp_path / "objects" / "index.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreError, match="cannot be used"):
        Store(tmp_path / "objects").put_bytes(b"y")


def test_a_pack_alone_says_what_it_holds(store):
    """The index could be lost: every object in a pack stands behind its address, encoding and sizes."""
    contents = {blake3(data).digest(): data for data in (b"a" * 5000, os.urandom(300), b"")}
    plant(store.folder.parent / "files", {str(at).encode(): data for at, data in enumerate(contents.values())})
    store.put_files(sorted((store.folder.parent / "files").iterdir()))
    (pack,) = (store.folder / "packs").iterdir()
    data = pack.read_bytes()
    assert data.startswith(b"onrecord pack 1\n")
    at, found = 16, {}
    while at < len(data):
        digest, encoding = data[at : at + 32], data[at + 32]
        kept, size = int.from_bytes(data[at + 33 : at + 37], "big"), int.from_bytes(data[at + 37 : at + 41], "big")
        found[digest] = decode(encoding, data[at + 41 : at + 41 + kept], size)
        at += 41 + kept
    assert found == contents


def test_threads_share_one_store(store):
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for at in range(15):
                digest = store.put_bytes(b"%d %d" % (number % 2, at) * 50).digest
                assert store.read(digest)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert list(store.verify()) == []


def test_a_forked_child_can_hash_what_is_large(store):
    """The hash function's own threads do not survive a fork."""
    store.put_bytes(b"1" * LARGE)
    child, pipe = in_child(lambda _: [store.put_bytes(b"2" * LARGE), store.put_bytes(b"3" * LARGE)])
    os.close(pipe)
    assert os.waitpid(child, 0)[1] == 0


def test_a_forked_child_opens_its_own_connection_and_nothing_is_lost(store):
    before = store.put_bytes(b"before").digest
    children = []
    for number in range(4):
        child = os.fork()
        if child == 0:
            store.put_bytes(b"child %d" % number)
            os._exit(0 if store.read(before) == b"before" else 1)
        children.append(child)
        store.put_bytes(b"parent %d" % number)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    store.close()
    wanted = [b"before", *(b"%s %d" % (who, at) for who in (b"child", b"parent") for at in range(4))]
    assert len(store.has(blake3(data).hexdigest() for data in wanted)) == 9
    assert list(store.verify()) == []


TAKE = """
import sys; from pathlib import Path
from onrecord.snapshot.store import Store
from onrecord.snapshot.take import take_snapshot
go = Path(sys.argv[3])
import time
while not go.exists(): time.sleep(0.002)
print(take_snapshot(Path(sys.argv[1]), Store(Path(sys.argv[2])), cache=None).snapshot_id)
"""


@pytest.mark.parametrize("size", [200, 60_000], ids=["small", "bulk"])
def test_eight_processes_that_take_the_same_first_snapshot_write_it_once(tmp_path, size):
    source = plant(tmp_path / "source", {b"%d" % at: os.urandom(size) for at in range(100)})
    with Store(tmp_path / "alone") as alone:
        wanted = take_snapshot(source, alone).snapshot_id
    takers = [run(TAKE, source, tmp_path / "objects", tmp_path / "go") for _ in range(8)]
    time.sleep(0.3)
    (tmp_path / "go").touch()
    results = [taker.communicate() for taker in takers]
    assert [(out.decode().strip(), err) for out, err in results] == [(wanted, b"")] * 8
    with Store(tmp_path / "objects") as store:
        assert list(store.verify()) == []
        assert restore_snapshot(store, wanted, tmp_path / "out") == 100
    assert disk_bytes(tmp_path / "objects") <= 1.1 * disk_bytes(tmp_path / "alone")
    assert list((tmp_path / "objects" / "tmp").iterdir()) == []


CHURN = """
import sys, os; from pathlib import Path
from onrecord.snapshot.store import Store
number = int(sys.argv[2])
store = Store(Path(sys.argv[1]))
for at in range(40):
    data = b"%d " % (at * (number % 3)) * 100
    assert store.read(store.put_bytes(data).digest) == data
    if at % 10 == 0: store.close()
"""


def test_eight_processes_write_and_read_at_once(tmp_path):
    workers = [run(CHURN, tmp_path / "objects", number) for number in range(8)]
    assert [worker.communicate() for worker in workers] == [(b"", b"")] * 8
    with Store(tmp_path / "objects") as store:
        assert list(store.verify()) == []
        assert len(store.has(blake3(b"%d " % at * 100).hexdigest() for at in range(40))) == 40


def in_child(work: Callable[[int], None]) -> tuple[int, int]:
    """Fork a process that runs `work(pipe)`; its id and the end of the pipe to read from."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reading)
            work(writing)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    return child, reading


def put_for_ever(base: Path, pipe: int) -> None:
    store = Store(base / "objects")
    (base / "big").write_bytes(os.urandom(LARGE))
    while True:
        seed = os.urandom(8).hex().encode()
        names = [base / str(at) for at in range(30)]
        for at, name in enumerate(names):
            name.write_bytes(seed + b" %d" % at * 40_000)
        with (base / "big").open("r+b") as out:
            out.write(seed)
        for stored in store.put_files([*names, base / "big"]):
            os.write(pipe, bytes.fromhex(stored.digest))


def test_kill_at_any_moment_loses_nothing_that_was_acknowledged(tmp_path):
    acknowledged: set[str] = set()
    for round_ in range(20):
        child, pipe = in_child(lambda pipe: put_for_ever(tmp_path, pipe))
        with os.fdopen(pipe, "rb") as answers:
            out = answers.read(32) if round_ % 2 else b""
            time.sleep(0.003 * round_)
            os.kill(child, signal.SIGKILL)
            out += answers.read()
        os.waitpid(child, 0)
        acknowledged |= {out[at : at + 32].hex() for at in range(0, len(out), 32)}
        with Store(tmp_path / "objects") as store:
            assert store.has(acknowledged) == acknowledged
    with Store(tmp_path / "objects") as store:
        assert list(store.verify()) == []
        store.put_bytes(b"the next writer clears up")
        assert list((tmp_path / "objects" / "tmp").iterdir()) == []
        packs = {path.stem for path in (tmp_path / "objects" / "packs").iterdir()}
        loose = {path.name for path in (tmp_path / "objects" / "loose").iterdir()}
        with store._index.reading() as connection:
            assert packs == {name for (name,) in connection.execute("SELECT name FROM packs")}
        assert store.has(loose) == loose
    assert acknowledged


def take_and_crash_at(source: Path, objects: Path, wanted: int) -> None:
    """Take a snapshot, killed before or after the step of this number, if there are that many."""
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        if steps == wanted:
            os.kill(os.getpid(), signal.SIGKILL)

    def watched(call: Callable[..., object]) -> Callable[..., object]:
        def crashing(*args: object, **kwargs: object) -> object:
            step()
            result = call(*args, **kwargs)
            step()
            return result

        return crashing

    for holder, name in ((os, "fsync"), (os, "write"), (Path, "rename"), (Path, "unlink"), (Index, "add")):
        setattr(holder, name, watched(getattr(holder, name)))
    take_snapshot(source, Store(objects))


def test_a_crash_before_or_after_each_step_leaves_only_what_the_next_run_removes(tmp_path):
    noise = {b"noise": os.urandom(2_200_000), b"more": os.urandom(2_200_000)}
    tree = {b"small": b"1" * 1000, b"big": os.urandom((4 << 20) + 1), b"d": noise}
    source = plant(tmp_path / "source", tree)
    for step in range(1, 200):
        objects = tmp_path / f"objects{step}"
        child, pipe = in_child(lambda _, objects=objects, step=step: take_and_crash_at(source, objects, step))
        os.close(pipe)
        died = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert died in (0, -signal.SIGKILL)
        with Store(objects) as store:
            taken = take_snapshot(source, store)
            assert taken.snapshot_id == slow_id(tree)
            assert list(store.verify()) == []
            assert store.has(objects_of(store, taken.snapshot_id)) == set(objects_of(store, taken.snapshot_id))
            store.put_bytes(b"one more write, in case the snapshot was whole already")
            assert list((objects / "tmp").iterdir()) == []
            assert len(list((objects / "loose").iterdir())) == 1
            assert len(list((objects / "packs").iterdir())) == 2
        shutil.rmtree(objects)
        if died == 0:
            break
    assert died == 0 and step > 15


def test_a_full_disk_says_so_and_loses_nothing(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", disk], check=False, capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("no right to mount a small file system")
    try:
        store = Store(disk / "objects")
        kept = store.put_bytes(b"kept" + os.urandom(1000)).digest
        source = plant(tmp_path / "source", {b"%d" % at: os.urandom(100_000) for at in range(50)})
        (tmp_path / "large").write_bytes(os.urandom(LARGE))
        for fill in (
            lambda: take_snapshot(source, store),
            lambda: store.put_file(tmp_path / "large"),
            lambda: store.put_bytes(os.urandom(3_500_000)),
        ):
            with pytest.raises(DiskFull, match="no space left") as caught:
                fill()
            assert "free space" in caught.value.next_step
            assert list((disk / "objects" / "tmp").iterdir()) == []
        assert store.read(kept) and list(store.verify()) == []
        with Store(tmp_path / "roomy") as roomy:
            large = roomy.put_file(tmp_path / "large")
            with pytest.raises(DiskFull):
                roomy.copy_to(large.digest, disk / "copy")
            taken = take_snapshot(source, roomy)
            with pytest.raises(DiskFull):
                restore_snapshot(roomy, taken.snapshot_id, disk / "out")
        assert not (disk / "copy").exists()
        store.close()
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_write_that_is_given_up_leaves_nothing(store, tmp_path):
    (tmp_path / "large").write_bytes(os.urandom(LARGE))
    with pytest.raises(SourceError):
        store.put_files([tmp_path / "large", tmp_path / "missing"])
    assert list((store.folder / "tmp").iterdir()) == list((store.folder / "loose").iterdir()) == []


def test_objects_of_names_everything_once(store, source):
    plant(
        source,
        {b"a": b"1", b"b": b"1", b"d": {b"a": b"1", b"l": ("link", b"a")}, b"e": {b"a": b"1", b"l": ("link", b"a")}},
    )
    taken = take_snapshot(source, store)
    found = list(objects_of(store, taken.snapshot_id))
    assert len(found) == len(set(found)) == 4
    assert store.has(found) == set(found)
    with store._index.reading() as connection:
        assert connection.execute("SELECT count(*) FROM objects").fetchone() == (4,)


def test_errors_show_any_path_as_printable_text():
    assert shown(b"a\xff\x1b[31m\n") == "a\\xff\\x1b[31m\\n"
    assert from_hex("00" * 32) == bytes(32)
    assert errno.ENOSPC in {28}
