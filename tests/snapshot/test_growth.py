"""A log that grows is stored by its growth, and read, checked, restored and removed like everything else."""

from __future__ import annotations

import os
import pickle
import random
from pathlib import Path

import pytest
from blake3 import blake3
from snapshot_trees import disk_bytes

from onrecord.snapshot import collect as collecting
from onrecord.snapshot.collect import Before, Request, Rewritten, Taken, collect
from onrecord.snapshot.errors import FileChanging, ObjectCorrupt, SourceError
from onrecord.snapshot.growth import MOST, Part, decode_parts, encode_parts, leaves
from onrecord.snapshot.index import Place
from onrecord.snapshot.restore import restore_snapshot
from onrecord.snapshot.store import Store
from onrecord.snapshot.take import take_snapshot

LARGE = 5 << 20


def taken(store: Store, path: Path, before: Before | None = None, **how: bool) -> Taken:
    [result] = collect(store, [Request(path, before, **how)])
    assert isinstance(result, Taken), result
    return result


def grown(store: Store, path: Path, pieces: list[bytes], **how: bool) -> list[Taken]:
    """What each look at a growing file made of it; the file holds all the pieces afterwards."""
    looks: list[Taken] = []
    path.write_bytes(b"")
    for piece in pieces:
        with path.open("ab") as file:
            file.write(piece)
        looks.append(taken(store, path, looks[-1].now if looks else None, **how))
    return looks


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "train.log"


@pytest.mark.parametrize("growing", [False, True], ids=["at rest", "being written"])
def test_fifty_looks_at_a_growing_log_store_little_more_than_the_log(store: Store, log: Path, growing: bool) -> None:
    pieces = [os.urandom(random.Random(number).randrange(5_000, 60_000)) for number in range(50)]
    looks = grown(store, log, pieces, growing=growing)
    whole = log.read_bytes()
    assert disk_bytes(store.folder / "packs") <= 1.1 * len(whole)
    assert sum(look.bytes_stored for look in looks) <= 1.1 * len(whole)
    end = 0
    for look, piece in zip(looks, pieces, strict=True):
        end += len(piece)
        assert look.now.digest == blake3(whole[:end]).hexdigest()
        assert store.read(look.now.digest) == whole[:end]
    assert list(store.verify()) == list(store.verify([look.now.digest for look in looks])) == []


def test_every_way_to_read_gives_the_whole_content(store: Store, log: Path, tmp_path: Path) -> None:
    look = grown(store, log, [os.urandom(3_000), os.urandom(LARGE), b"end\n" * 900])[-1]
    whole, digest = log.read_bytes(), look.now.digest
    assert store.read(digest) == whole
    assert b"".join(store.pieces(digest)) == whole
    assert store.copy_to(digest, tmp_path / "copy") == len(whole)
    assert (tmp_path / "copy").read_bytes() == whole
    # A source that holds the same content finds it stored, and comes back from there.
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "data.log").write_bytes(whole)
    snapshot = take_snapshot(folder, store)
    assert snapshot.bytes_stored < 1000
    restore_snapshot(store, snapshot.snapshot_id, tmp_path / "restored")
    assert (tmp_path / "restored/data.log").read_bytes() == whole


def test_a_log_of_many_looks_is_read_through_few_lists(store: Store, log: Path) -> None:
    looks = grown(store, log, [b"x" * 1100] + [f"line {number}\n".encode() for number in range(200)])
    place = store.place(bytes.fromhex(looks[-1].now.digest))
    assert len(leaves(store, place)) == 201
    lists = [place for place in store.in_parts() if len(store.parts(place)) > MOST]
    assert lists == []
    assert store.read(looks[-1].now.digest) == log.read_bytes()


def test_only_what_is_wrong_is_named_when_a_part_is_damaged(store: Store, log: Path) -> None:
    looks = grown(store, log, [os.urandom(5_000) for _ in range(20)])
    hurt = leaves(store, store.place(bytes.fromhex(looks[-1].now.digest)))[12]
    pack = store.folder / "packs" / f"{store._index.pack_name(hurt.pack or 0)}.pack"
    data = bytearray(pack.read_bytes())
    data[hurt.offset + 20] ^= 1
    pack.chmod(0o644)
    pack.write_bytes(data)
    faults = {fault.digest for fault in store.verify()}
    assert faults == {hurt.digest.hex(), *(look.now.digest for look in looks[12:])}
    assert store.read(looks[11].now.digest) == log.read_bytes()[: looks[11].now.size]
    with pytest.raises(ObjectCorrupt):
        store.read(looks[12].now.digest)


def test_a_list_that_was_changed_is_told(store: Store, log: Path) -> None:
    look = grown(store, log, [os.urandom(5_000), os.urandom(5_000)])[-1]
    place = store.place(bytes.fromhex(look.now.digest))
    kept = encode_parts(store.parts(place))
    for wrong in (kept[:-1], kept[:20] + b"x" + kept[21:], b"", encode_parts([Part(place.digest, place.size)])):
        with pytest.raises(ObjectCorrupt):
            decode_parts(wrong, place)


def test_verifying_many_states_of_a_log_reads_it_once(store: Store, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grown(store, log, [os.urandom(5_000) for _ in range(60)])
    read: list[int] = []
    pieces_at = Store.pieces_at

    def counted(self: Store, place: Place) -> object:
        read.append(place.size)
        return pieces_at(self, place)

    monkeypatch.setattr(Store, "pieces_at", counted)
    assert list(store.verify()) == []
    assert sum(read) == log.stat().st_size


def test_a_file_that_was_rewritten_is_stored_as_a_whole(store: Store, log: Path) -> None:
    first = grown(store, log, [b"a" * 5_000])[-1]
    log.write_bytes(b"b" * 6_000)
    second = taken(store, log, first.now)
    assert store.read(second.now.digest) == b"b" * 6_000
    log.write_bytes(b"c" * 5_500)
    assert store.read(taken(store, log, second.now).now.digest) == b"c" * 5_500
    assert store.in_parts() == []


def test_a_file_that_is_being_rewritten_is_left_alone(store: Store, log: Path) -> None:
    first = grown(store, log, [b"a" * 5_000])[-1]
    log.write_bytes(b"b" * 6_000)
    [result] = collect(store, [Request(log, first.now, growing=True)])
    assert isinstance(result, Rewritten)
    assert repr(pickle.loads(pickle.dumps(result))) == repr(result)  # noqa: S301 - our own bytes


def test_a_long_log_is_not_read_again_while_it_grows_and_is_when_it_rests(
    store: Store, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "_REMEMBERED_FROM", 1 << 20)
    looks = grown(store, log, [os.urandom(3 << 20), os.urandom(9_000)], growing=True)
    assert looks[-1].now.memory is not None
    with log.open("ab") as file:
        file.write(b"more\n" * 1000)
    again = taken(store, log, looks[-1].now, growing=True)
    assert store.read(again.now.digest) == log.read_bytes()
    assert list(store.verify()) == []
    # A change between the samples is not seen while it grows, and is once it rests.
    with log.open("r+b") as file:
        file.seek(100_000)
        file.write(b"changed")
        file.seek(0, os.SEEK_END)
        file.write(b"more\n")
    rest = taken(store, log, again.now)
    assert store.read(rest.now.digest) == log.read_bytes()


def test_what_others_are_read_through_is_not_removed(store: Store, log: Path) -> None:
    looks = grown(store, log, [os.urandom(5_000) for _ in range(30)])
    whole = log.read_bytes()
    with store.in_use(alone=True):
        assert store.remove([look.now.digest for look in looks[:-1]])[0] < len(looks)
    assert store.read(looks[-1].now.digest) == whole
    everything = store.with_parts([looks[-1].now.digest])
    with store.in_use(alone=True):
        store.remove(everything)
    left = store.folder / "packs"
    assert not any(
        whole[5_000 * number :][:100] in path.read_bytes() for path in left.iterdir() for number in range(30)
    )
    assert list(store.verify()) == []


def test_one_bad_file_costs_only_itself(store: Store, tmp_path: Path) -> None:
    good = [tmp_path / f"good {number}" for number in range(3)]
    for path in good:
        path.write_text(path.name)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    unreadable = Path("/proc/self/mem")
    paths = [good[0], tmp_path / "gone", good[1], fifo, unreadable, good[2]]
    for how in ({}, {"growing": True}, {"last": True, "movable": True}):
        results = collect(store, [Request(path, **how) for path in paths])
        kinds = [type(result) for result in results]
        assert kinds[:4:2] == [Taken, Taken] == [kinds[0], kinds[5]]
        assert kinds[1] is type(None)
        assert isinstance(results[3], SourceError)
        # A file that says it is empty, and fails when it is read.
        assert isinstance(results[4], Taken if how.get("growing") else SourceError)


def test_a_file_that_never_stands_still_is_kept_as_it_stands_when_there_is_no_later_chance(
    store: Store, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.write_bytes(b"start\n")
    read_whole = collecting.read_whole

    def restless(fd: int, status: os.stat_result) -> bytes:
        data = read_whole(fd, status)
        with log.open("ab") as file:
            file.write(b"more\n")
        return data

    monkeypatch.setattr(collecting, "read_whole", restless)
    [result] = collect(store, [Request(log)])
    assert isinstance(result, FileChanging)
    result = taken(store, log, last=True)
    assert result.torn
    assert store.read(result.now.digest) == log.read_bytes()
