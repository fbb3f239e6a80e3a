"""Objects that are removed are gone from every file of the store, and everything else stays, whatever happens."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest
from killed import killed_at
from snapshot_trees import plant

from onrecord.snapshot.errors import ObjectMissing
from onrecord.snapshot.gc import needed_by
from onrecord.snapshot.manifest import objects_of
from onrecord.snapshot.store import Store
from onrecord.snapshot.take import take_snapshot

LARGE = 5 << 20
SECRET = os.urandom(60)


def remove(store: Store, *digests: str) -> tuple[int, int]:
    with store.in_use(alone=True):
        return store.remove(digests)


def files_with(folder: Path, secret: bytes) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and secret in path.read_bytes()]


def packed_together(store: Store, *pieces: bytes) -> list[str]:
    """Objects of one pack."""
    with store.writer() as writer:
        digests = [writer.add(piece).hex() for piece in pieces]
        writer.commit()
    return digests


def test_a_removed_object_leaves_no_byte_and_its_pack_keeps_the_others(store: Store) -> None:
    secret, other, third = packed_together(store, SECRET, b"other " * 40, os.urandom(300))
    contents = {digest: store.read(digest) for digest in (other, third)}
    assert files_with(store.folder, SECRET)
    objects, freed = remove(store, secret)
    assert objects == 1
    assert freed > len(SECRET)
    assert files_with(store.folder, SECRET) == []
    assert files_with(store.folder, bytes.fromhex(secret)) == []
    assert {digest: store.read(digest) for digest in contents} == contents
    assert list(store.verify()) == []
    with pytest.raises(ObjectMissing):
        store.read(secret)
    assert store.put_bytes(SECRET).bytes_stored > 0
    assert store.read(secret) == SECRET


def test_a_large_object_and_a_whole_pack_go_with_their_files(store: Store) -> None:
    large = store.put_bytes(SECRET + bytes(LARGE)).digest
    small = store.put_bytes(b"alone").digest
    kept = store.put_bytes(b"kept").digest
    assert remove(store, large, small)[0] == 2
    assert [path.name for path in (store.folder / "loose").iterdir()] == []
    assert len(list((store.folder / "packs").iterdir())) == 1
    assert list((store.folder / "tmp").iterdir()) == []
    assert store.has([large, small, kept]) == {kept}


def test_removing_what_is_not_there_changes_nothing(store: Store) -> None:
    kept = store.put_bytes(b"kept").digest
    identity = store.identity
    assert remove(store, "ab" * 32) == (0, 0)
    assert store.identity == identity
    assert store.read(kept) == b"kept"


def test_a_reader_of_another_process_that_knew_the_old_packs_reads_on(tmp_path: Path, store: Store) -> None:
    gone, kept = packed_together(store, SECRET, b"kept " * 50)
    second, also = packed_together(store, os.urandom(100), b"also " * 50)
    with Store(store.folder) as reader:
        assert reader.read(kept) == b"kept " * 50
        place = reader.place(bytes.fromhex(kept))
        remove(store, gone)
        remove(store, second)
        packed_together(store, b"takes the number of a pack that is gone" * 9)
        assert reader.read(kept) == reader.fetch(place) == b"kept " * 50
        assert reader.read(also) == b"also " * 50
        assert reader.copy_to(kept, tmp_path / "copy") == 250
        assert list(reader.verify()) == []
        with pytest.raises(ObjectMissing):
            reader.read(gone)


def test_the_next_snapshot_of_an_unchanged_folder_stores_again_what_was_removed(
    store: Store, source: Path, tmp_path: Path
) -> None:
    plant(source, {b"a": b"one", b"sub": {b"b": SECRET}})
    with Store(store.folder) as elsewhere:
        for path in source.rglob("*"):
            os.utime(path, (1, 1))
        take_snapshot(source, elsewhere, cache=tmp_path / "cache")
        first = take_snapshot(source, elsewhere, cache=tmp_path / "cache")
        remove(store, *objects_of(store, first.snapshot_id))
        again = take_snapshot(source, elsewhere, cache=tmp_path / "cache")
    assert again.snapshot_id == first.snapshot_id
    assert again.bytes_stored > 0
    assert list(store.verify(objects_of(store, again.snapshot_id))) == []


def test_what_snapshots_need_is_each_listing_and_each_content_once(store: Store, source: Path) -> None:
    plant(source, {b"a": b"one", b"sub": {b"b": b"two", b"link": ("link", b"../a")}})
    first = take_snapshot(source, store).snapshot_id
    plant(source / "more", {b"c": b"three"})
    second = take_snapshot(source, store).snapshot_id
    assert needed_by(store, [first]) == set(objects_of(store, first))
    assert needed_by(store, [first, second]) == {*objects_of(store, first), *objects_of(store, second)}
    assert needed_by(store, []) == set()


def test_removing_waits_for_those_who_rely_on_what_nothing_refers_to_yet(store: Store) -> None:
    digest = store.put_bytes(SECRET).digest
    remover = threading.Thread(target=remove, args=(Store(store.folder), digest))
    with store.in_use():
        assert store.put_bytes(SECRET).bytes_stored == 0
        remover.start()
        remover.join(0.3)
        assert remover.is_alive()
        assert store.read(digest) == SECRET
    remover.join()
    assert store.has([digest]) == set()


def test_a_writer_that_found_an_object_stored_commits_before_it_can_go(store: Store) -> None:
    digest = store.put_bytes(SECRET).digest
    with store.writer() as writer:
        writer.add(SECRET)
        writer.add(os.urandom(10))
        remover = threading.Thread(target=remove, args=(Store(store.folder), digest))
        remover.start()
        remover.join(0.2)
        assert remover.is_alive()
        writer.commit()
    remover.join()
    assert store.put_bytes(SECRET).bytes_stored > 0


def test_killed_at_any_line_all_or_nothing_of_it_has_gone_and_nothing_else(tmp_path: Path, long_form: bool) -> None:
    line, step = 1, 1 if long_form else 19
    outcomes = set()
    while True:
        folder = tmp_path / str(line)
        with Store(folder) as store:
            gone, kept = packed_together(store, SECRET, b"kept " * 30)
            large = store.put_bytes(SECRET + bytes(LARGE)).digest
            alone = store.put_bytes(SECRET + b"alone").digest
            other = store.put_bytes(os.urandom(LARGE)).digest
            store.close()
            work = partial(remove, Store(folder), gone, large, alone)
            killed = killed_at(line, ("gc.py", "leftovers.py", "index.py"), work)
            # The next writer clears up, or the next removal.
            if line % 2:
                late = store.put_bytes(b"late").digest
            else:
                late = kept
                remove(store, "ab" * 32)
            left = store.has([gone, large, alone])
            assert left in (set(), {gone, large, alone})
            assert bool(files_with(folder, SECRET)) == bool(left)
            assert store.has([kept, other, late]) == {kept, other, late}
            assert list(store.verify()) == []
            assert list((folder / "tmp").iterdir()) == []
        outcomes.add((killed, bool(left)))
        if not killed:
            break
        line += step
    assert outcomes == {(True, True), (True, False), (False, False)}


def _may_mount() -> bool:
    return sys.platform == "linux" and os.geteuid() == 0 and os.path.exists("/usr/bin/unshare")  # noqa: PTH110


@pytest.mark.skipif(not _may_mount(), reason="a small disk of its own takes the right to mount one")
def test_without_room_for_what_stays_nothing_is_removed(tmp_path: Path) -> None:
    program = """
import os, sys, pathlib
from onrecord.snapshot.errors import DiskFull
from onrecord.snapshot.store import Store
folder = pathlib.Path(sys.argv[1])
with Store(folder / "objects") as store:
    with store.writer() as writer:
        kept = [writer.add(os.urandom(500_000)).hex() for _ in range(3)]
        gone = writer.add(b"secret").hex()
        writer.commit()
    with (folder / "filler").open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)) == 4096: pass
        except OSError:
            pass
    try:
        with store.in_use(alone=True):
            store.remove([gone])
    except DiskFull:
        pass
    else:
        raise SystemExit("there was room")
    assert store.read(gone) == b"secret"
    (folder / "filler").unlink()
    with store.in_use(alone=True):
        assert store.remove([gone])[0] == 1
    assert list(store.verify()) == []
    assert store.has(kept) == set(kept)
"""
    shell = 'mount -t tmpfs -o size=4m none "$0" && exec "$@"'
    command = ["unshare", "-m", "sh", "-c", shell, str(tmp_path), sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
