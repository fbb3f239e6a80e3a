from __future__ import annotations

import os
import resource
import shutil
import stat
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest
from snapshot_trees import dug_up, full, plant

from onrecord.snapshot.errors import ManifestError, ObjectCorrupt, ObjectMissing, RestoreError
from onrecord.snapshot.manifest import read_root
from onrecord.snapshot.restore import restore_snapshot
from onrecord.snapshot.store import Store
from onrecord.snapshot.take import take_snapshot
from onrecord.snapshot.tree import Root, encode_root, encode_tree

TREE = {
    b"a": b"1",
    b"x": (b"#!", True),
    b"big": b"0123456789" * 500_000,
    b"d": {b"b": b"2", b"e": {}},
    b"l": ("link", b"d"),
}
# So many files that threads write them, some of them in one folder, some alone, some alike.
MANY = {
    b"flat": {b"%d" % at: b"%d " % (at % 700) * (at % 90) for at in range(900)},
    **{b"d%d" % at: {b"f": b"text %d\n" % at * 400, b"e": {b"x": (os.urandom(3000), True)}} for at in range(150)},
    b"noise": os.urandom(3 << 20),
    b"large": os.urandom((5 << 20) + 3),
    b"larger": b"0123456789" * 900_000,
}


@pytest.fixture
def snapshot_id(store, source):
    return take_snapshot(plant(source.parent / "planted", TREE), store).snapshot_id


def snapshot_of(store, nodes) -> str:
    """A snapshot written by hand, as a hostile store could hold it."""
    tree = bytes.fromhex(store.put_bytes(encode_tree(nodes)).digest)
    return store.put_bytes(encode_root(Root(tree, 0, 0))).digest


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    base = tmp_path_factory.mktemp("many")
    with Store(base / "objects") as store:
        yield store, take_snapshot(plant(base / "source", MANY), store).snapshot_id


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


def test_many_files_are_written_by_threads_and_are_the_same(many, tmp_path):
    store, snapshot_id = many
    before = threading.active_count()
    assert restore_snapshot(store, snapshot_id, tmp_path / "out") == 1203
    assert threading.active_count() == before
    assert dug_up(tmp_path / "out") == full(MANY)
    assert {path.stat().st_nlink for path in (tmp_path / "out").rglob("*") if path.is_file()} == {1}
    assert list(store.verify()) == []


def test_a_snapshot_comes_back_on_another_file_system(many):
    """Where the kernel cannot move bytes between the two, they pass through memory."""
    store, snapshot_id = many
    other = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    try:
        restore_snapshot(store, snapshot_id, other / "out")
        assert dug_up(other / "out") == full(MANY)
    finally:
        shutil.rmtree(other)


def test_the_caller_hears_how_far_it_has_come(many, tmp_path):
    store, snapshot_id = many
    heard: list[tuple[int, int]] = []
    speakers: set[int] = set()

    def listen(files: int, size: int) -> None:
        heard.append((files, size))
        speakers.add(threading.get_ident())

    for at in range(2):
        heard.clear()
        restore_snapshot(store, snapshot_id, tmp_path / f"out{at}", progress=listen)
        root = read_root(store, snapshot_id)
        assert heard == sorted(heard) and heard[-1] == (root.files, root.size)
    assert speakers == {threading.get_ident()}


def test_a_caller_who_gives_up_leaves_no_thread_behind(many, tmp_path):
    store, snapshot_id = many
    before = threading.active_count()

    def interrupt(files: int, size: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore_snapshot(store, snapshot_id, tmp_path / "out", progress=interrupt)
    assert threading.active_count() == before
    restore_snapshot(store, snapshot_id, tmp_path / "out")
    assert dug_up(tmp_path / "out") == full(MANY)


@pytest.mark.parametrize("folder", ["packs", "loose"])
def test_threads_tell_of_damaged_content(many, tmp_path, folder):
    sound, snapshot_id = many
    before = threading.active_count()
    shutil.copytree(sound.folder, tmp_path / "objects")
    path = min((tmp_path / "objects" / folder).iterdir())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    with Store(tmp_path / "objects") as store, pytest.raises(ObjectCorrupt):
        restore_snapshot(store, snapshot_id, tmp_path / "out")
    assert threading.active_count() == before


def test_objects_read_together_are_found_where_another_process_has_moved_them(tmp_path):
    contents = [b"%d " % at * 50 for at in range(20)]
    plant(tmp_path / "files", {b"%02d" % at: data for at, data in enumerate([*contents, b"goes"])})
    with Store(tmp_path / "objects") as store, Store(tmp_path / "objects") as other:
        stored = store.put_files(sorted((tmp_path / "files").iterdir()))
        places = [store.place(bytes.fromhex(one.digest)) for one in stored[:20]]
        assert list(store.reader.fetch_many(places)) == contents
        with other.in_use(alone=True):
            other.remove([stored[20].digest])
        assert list(store.reader.fetch_many(places)) == contents
        assert store.place(places[0].digest) != places[0]
        store.close()
        assert list(store.reader.fetch_many(places[::-1])) == contents[::-1]


def listed(fd):
    with os.scandir(fd) as entries:
        return sorted(entry.name for entry in entries)


def test_paths_longer_than_the_system_allows_come_back_with_few_descriptors(store, tmp_path):
    """A comb 600 folders deep (9,000 bytes of path) with a file and a side folder on every level."""
    content = bytes.fromhex(store.put_bytes(b"deep").digest)
    side = bytes.fromhex(store.put_bytes(encode_tree([(b"s", b"f", 4, content)])).digest)
    tree = side
    with store.writer() as writer:
        for _ in range(600):
            tree = writer.add(
                encode_tree([(b"a", b"d", 0, side), (b"f", b"f", 4, content), (b"m" * 14, b"d", 0, tree)])
            )
        writer.commit()
    snapshot = store.put_bytes(encode_root(Root(tree, 10**6, 0))).digest
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    try:
        assert restore_snapshot(store, snapshot, tmp_path / "out") == 1201
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    at = os.open(tmp_path / "out", os.O_RDONLY)
    for _ in range(600):
        assert listed(at) == ["a", "f", "m" * 14]
        deeper = os.open("m" * 14, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = deeper
    assert listed(at) == ["s"]
    os.close(at)
    subprocess.run(["rm", "-rf", tmp_path / "out"], check=True)


@pytest.mark.parametrize("stored", ["as a hole", "as zeros"])
def test_a_sparse_file_stays_sparse(store, source, tmp_path, stored):
    with (source / "sparse").open("wb") as out:
        out.seek(40 << 20)
        out.write(b"middle")
        out.truncate((90 << 20) + 5)
    if stored == "as zeros":
        with store.writer() as writer, (source / "sparse").open("rb") as file:
            writer.add_pieces(iter(lambda: file.read(1 << 20), b""))
            writer.commit()
    restore_snapshot(store, take_snapshot(source, store).snapshot_id, tmp_path / "out")
    restored = tmp_path / "out" / "sparse"
    assert restored.read_bytes() == (source / "sparse").read_bytes()
    # Where blocks are shared with the store they cost nothing, zeros or not.
    kept = [path.stat().st_blocks for path in (store.folder / "loose").iterdir()]
    assert restored.stat().st_blocks * 512 <= 8 << 20 or (stored == "as zeros" and [restored.stat().st_blocks] == kept)


def test_names_that_mean_something_to_other_systems_are_kept(store, source, tmp_path):
    names = [b"NUL", b"con.txt", b"aux", b"COM1", b"a.", b"a ", b"c:\\x", b"\\\\?\\x", b"a\nb", b"\xff", b"-rf", b"~"]
    tree = {name: name for name in names} | {b"LPT1": {b"PRN": b"1"}}
    restore_snapshot(store, take_snapshot(plant(source, tree), store).snapshot_id, tmp_path / "out")
    assert dug_up(tmp_path / "out") == full(tree)


CLASHES = [
    {b"Readme": b"1", b"readme": b"2"},
    {b"Data": {b"x": b"1"}, b"data": {b"y": b"2"}},
    {b"Data": b"1", b"data": {b"y": b"2"}},
    {b"Link": ("link", b"/"), b"link": {b"etc": b"1"}},
    {b"Link": ("link", b"/etc"), b"link": b"1"},
]


def folds(folder):
    (folder / "probe").touch()
    return (folder / "PROBE").exists()


@pytest.fixture
def folding(tmp_path):
    """A folder that takes names for one that differ in letter case only: as tmp_path is on macOS, or NTFS."""
    if folds(tmp_path):
        return tmp_path
    disk, folder = tmp_path / "disk", tmp_path / "folding"
    folder.mkdir()
    with disk.open("wb") as out:
        out.truncate(16 << 20)
    for command in (["mkntfs", "-F", "-q", disk], ["lowntfs-3g", "-o", "ignore_case", disk, folder]):
        if not shutil.which(command[0]) or subprocess.run(command, check=False, capture_output=True).returncode:
            pytest.skip("no file system here that folds letter case (ntfs-3g would bring one)")
    return folder


@pytest.fixture
def unfolding(folding, tmp_path):
    yield folding
    if folding != tmp_path:
        subprocess.run(["umount", folding], check=True)


@pytest.mark.parametrize("clash", CLASHES)
@pytest.mark.parametrize("how", ["new", "forced", "resumed"])
def test_names_that_a_file_system_takes_for_one_are_an_error_that_names_both(store, unfolding, tmp_path, clash, how):
    content = {data: bytes.fromhex(store.put_bytes(data).digest) for data in (b"1", b"2")}
    snapshot = snapshot_of(store, [_node(store, content, name, what) for name, what in clash.items()])
    out = unfolding / "out"
    if how == "forced":
        plant(out, {b"mine": b"x"})
    for _ in range(2 if how == "resumed" else 1):
        with pytest.raises(RestoreError, match=r"cannot write both .* and .*: here they are one name") as caught:
            restore_snapshot(store, snapshot, out, force=how == "forced")
        assert all(name.decode() in str(caught.value) for name in clash)
    assert not (out / "etc").exists() or how == "forced"


def _node(store, content, name, what):
    if isinstance(what, dict):
        inner = [_node(store, content, inner_name, inner) for inner_name, inner in what.items()]
        return name, b"d", 0, bytes.fromhex(store.put_bytes(encode_tree(inner)).digest)
    if isinstance(what, tuple):
        return name, b"l", len(what[1]), what[1]
    return name, b"f", len(what), content[what]


def test_names_that_differ_in_case_only_come_back_where_the_file_system_can(store, tmp_path):
    if folds(tmp_path):
        return
    tree = {b"A": b"1", b"a": b"2", "\u00e9".encode(): b"3", "e\u0301".encode(): b"4", b"D": {}, b"d": {b"x": b"5"}}
    restore_snapshot(store, take_snapshot(plant(tmp_path / "planted", tree), store).snapshot_id, tmp_path / "out")
    assert dug_up(tmp_path / "out") == full(tree)


def test_links_planted_while_it_runs_lead_nothing_outside(many, tmp_path):
    store, snapshot_id = many
    victim = tmp_path / "victim"
    victim.mkdir()
    done = threading.Event()

    def plant_links() -> None:
        at = 0
        while not done.is_set():
            at += 1
            name = tmp_path / "out" / ("flat" if at % 5 == 0 else f"d{at % 150}")
            try:
                if name.is_dir() and not name.is_symlink():
                    name.rename(tmp_path / f"aside{at}")
                name.symlink_to(victim)
            except OSError:
                time.sleep(0.0005)

    attacker = threading.Thread(target=plant_links)
    attacker.start()
    stopped = 0
    try:
        for _ in range(8):
            try:
                restore_snapshot(store, snapshot_id, tmp_path / "out")
            except RestoreError:
                stopped += 1
            shutil.rmtree(tmp_path / "out", ignore_errors=True)
    finally:
        done.set()
        attacker.join()
    assert stopped and list(victim.iterdir()) == []
