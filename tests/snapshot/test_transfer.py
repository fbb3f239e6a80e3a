"""Sending and receiving: only what is lacking travels, each object is checked, and what was cut off goes on."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from remote_places import Place
from snapshot_trees import dug_up, full, grown_log, plant

from onrecord.snapshot.errors import ObjectMissing, RemoteDamaged, RemoteError, RemoteLacks
from onrecord.snapshot.manifest import objects_of
from onrecord.snapshot.receiving import check, receive
from onrecord.snapshot.restore import restore_snapshot
from onrecord.snapshot.shelf import ShelfRemote
from onrecord.snapshot.store import Store
from onrecord.snapshot.take import take_snapshot
from onrecord.snapshot.transfer import Moved, send

LARGE = 5 << 20
TREE = {
    b"train.py": b"print(1)\n" * 50,
    b"empty": b"",
    b"big": os.urandom(LARGE),
    b"sub": {b"a": b"text " * 300, b"deep": {b"noise": (os.urandom(3000), True), b"link": ("link", b"../a")}},
    b"same": {b"deep": {b"x": b"1"}},
    b"\xff odd": b"name",
}


def below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def harmed(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def test_what_was_sent_comes_back_the_same(store: Store, source: Path, place: Place, tmp_path: Path) -> None:
    snapshot = take_snapshot(plant(source, TREE), store).snapshot_id
    file, large = store.put_bytes(b"a file of a run").digest, store.put_bytes(os.urandom(LARGE)).digest
    wanted = {*objects_of(store, snapshot), file, large}
    far = place.open()
    assert far.missing([bytes.fromhex(file)]) == {bytes.fromhex(file)}
    sent = send(store, far, [snapshot], [file, large])
    assert sent.objects == len(wanted)
    assert far.missing([bytes.fromhex(digest) for digest in wanted]) == set()
    far.close()
    far = place.open()
    with Store(tmp_path / "other") as other:
        received = receive(other, far, [snapshot], [file, large])
        assert received == sent
        assert list(other.verify()) == []
        assert other.has(wanted) == wanted
        restore_snapshot(other, snapshot, tmp_path / "out")
    assert dug_up(tmp_path / "out") == full(TREE)
    far.close()


def test_only_what_is_lacking_travels(store: Store, source: Path, place: Place, tmp_path: Path) -> None:
    first = take_snapshot(plant(source, TREE), store).snapshot_id
    far = place.open()
    send(store, far, [first])
    assert send(store, far, [first]) == Moved(0, 0)
    (source / "sub" / "a").write_bytes(b"other")
    second = take_snapshot(source, store).snapshot_id
    new = set(objects_of(store, second)) - set(objects_of(store, first))
    # The content, its folder, the root, and the snapshot.
    assert len(new) == 4
    far.close()
    far = place.open()
    assert send(store, far, [second, first]).objects == 4
    with Store(tmp_path / "other") as other:
        receive(other, far, [first])
        assert receive(other, far, [second]).objects == 4
        assert receive(other, far, [second, first]) == Moved(0, 0)
        assert list(other.verify(objects_of(other, second))) == []
    far.close()


def test_a_log_that_grew_travels_by_its_growth(store: Store, place: Place, tmp_path: Path) -> None:
    states = grown_log(store, 30)
    far = place.open()
    sent = send(store, far, [], [states[-1], states[12]])
    assert send(store, far, [], [states[-1]]) == Moved(0, 0)
    more = send(store, far, [], states)
    assert sent.objects + more.objects == 61
    far.close()
    far = place.open()
    with Store(tmp_path / "other") as other:
        received = receive(other, far, [], [states[-1]])
        assert received.objects < 61
        assert other.read(states[-1]) == store.read(states[-1])
        assert list(other.verify()) == []
        receive(other, far, [], states)
        assert [other.read(state) for state in states] == [store.read(state) for state in states]
        assert list(other.verify()) == []
    far.close()


def test_a_log_whose_growth_is_not_what_it_was_is_not_taken_in(
    store: Store, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    states = grown_log(store, 2)
    place = store.place(bytes.fromhex(states[-1]))
    wrong = os.urandom(32)
    # A list that is in order, under an address that its parts do not have.
    with store.writer() as writer:
        writer.add_parts(wrong, store.parts(place))
        writer.commit()
    far = Place("folder", tmp_path / "far", request).open()
    send(store, far, [], [wrong.hex(), states[-1]])
    with Store(tmp_path / "other") as other:
        with pytest.raises(RemoteDamaged, match=wrong.hex()):
            receive(other, far, [], [wrong.hex()])
        assert other.has([wrong.hex()]) == set()
        receive(other, far, [], [states[-1]])
        assert list(other.verify()) == []


def test_progress_is_told_to_the_end(store: Store, source: Path, place: Place, tmp_path: Path) -> None:
    snapshot = take_snapshot(plant(source, TREE), store).snapshot_id
    far, told = place.open(), list[tuple[int, int]]()
    sent = send(store, far, [snapshot], progress=lambda *values: told.append(values))
    assert told == sorted(told) and told[-1] == (sent.bytes, sent.bytes)
    told.clear()
    with Store(tmp_path / "other") as other:
        receive(other, far, [snapshot], progress=lambda *values: told.append(values))
    assert told == sorted(told) and told[-1][0] == told[-1][1]
    far.close()


def test_what_is_not_there_is_named(store: Store, place: Place) -> None:
    far = place.open()
    for snapshots, contents in ((["ab" * 32], []), ([], ["ab" * 32])):
        with pytest.raises(RemoteLacks, match="ab" * 32) as caught:
            receive(store, far, snapshots, contents)
        assert pickle.loads(pickle.dumps(caught.value)).digest == "ab" * 32  # noqa: S301
        assert caught.value.why and caught.value.next_step
        with pytest.raises(ObjectMissing):
            send(store, far, snapshots, contents)
    far.close()


def test_what_the_store_has_lost_comes_back(store: Store, source: Path, place: Place) -> None:
    snapshot = take_snapshot(plant(source, TREE), store).snapshot_id
    far = place.open()
    send(store, far, [snapshot])
    wanted = set(objects_of(store, snapshot))
    for gone in (sorted(wanted)[::3], [snapshot], sorted(wanted)):
        with store.in_use(alone=True):
            store.remove(gone)
        assert receive(store, far, [snapshot]).objects == len(gone)
        assert store.has(wanted) == wanted
    assert list(store.verify()) == []
    far.close()


CUT = """
import os, signal, sys
from pathlib import Path
from onrecord.snapshot import receiving, shelf, transfer
from onrecord.snapshot.remotes import remote_named
from onrecord.snapshot.store import Store
what, store, remote, snapshot = sys.argv[1:]
shelf._PACK_BYTES = receiving._COMMIT_BYTES = 20_000
left = 15
def told(done, total):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
call = {'send': transfer.send, 'receive': receiving.receive}[what]
call(Store(Path(store)), remote_named(remote), [snapshot], progress=told)
"""


@pytest.mark.parametrize("kind", ["store", "folder", "ssh", "s3"])
def test_killed_on_the_way_both_go_on_where_they_were(
    store: Store, source: Path, tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    place = Place(kind, tmp_path / "far", request)
    if kind == "store":
        Store(place.folder).put_bytes(b"it is a store")
    tree = {b"big": os.urandom(LARGE), **{b"%d" % at: {b"x": os.urandom(4000)} for at in range(40)}}
    snapshot = take_snapshot(plant(source, tree), store).snapshot_id
    wanted = set(objects_of(store, snapshot))

    def cut(what: str, folder: Path) -> int:
        words = [sys.executable, "-c", CUT, what, folder, place.address, snapshot]
        return subprocess.run(words, env={**os.environ, **place.environment}, check=False, timeout=60).returncode

    assert cut("send", store.folder) == -signal.SIGKILL
    far = place.open()
    left = far.missing([bytes.fromhex(digest) for digest in wanted])
    # Something counts already, and where a listing does, all that it names does.
    assert 0 < len(left) < len(wanted)
    assert bytes.fromhex(snapshot) in left
    assert send(store, far, [snapshot]).objects == len(left)
    far.close()
    other = Store(tmp_path / "other")
    assert cut("receive", other.folder) == -signal.SIGKILL
    assert 0 < len(other.has(wanted)) < len(wanted)
    far = place.open()
    assert receive(other, far, [snapshot]).objects < len(wanted)
    assert other.has(wanted) == wanted
    assert list(other.verify()) == []
    assert list((other.folder / "tmp").iterdir()) == []
    if kind in ("folder", "ssh"):
        # What the dead sender left is removed by the next that sends something.
        send(store, far, [], [store.put_bytes(b"more").digest])
        assert list((tmp_path / "far" / "tmp").iterdir()) == []
    far.close()


@pytest.mark.parametrize("kind", ["folder", "ssh"])
@pytest.mark.parametrize("ending", ["pack", "names", ""])
def test_damage_at_the_other_side_is_found_before_anything_is_taken_in(
    store: Store, source: Path, tmp_path: Path, request: pytest.FixtureRequest, kind: str, ending: str
) -> None:
    place = Place(kind, tmp_path / "far", request)
    snapshot = take_snapshot(plant(source, {b"a": os.urandom(500), b"big": os.urandom(LARGE)}), store).snapshot_id
    send(store, place.open(), [snapshot])
    victim = next(path for path in below(tmp_path / "far") if path.suffix == f".{ending}" * bool(ending))
    harmed(victim)
    with Store(tmp_path / "other") as other:
        with pytest.raises(RemoteDamaged) as caught:
            receive(other, place.open(), [snapshot])
        assert pickle.loads(pickle.dumps(caught.value)).name == caught.value.name  # noqa: S301
        assert caught.value.next_step
        assert other.has([snapshot]) == set()
        assert list(other.verify()) == []


@pytest.mark.parametrize("kind", ["store", "folder"])
def test_what_is_sound_comes_although_other_things_are_damaged_or_gone(
    store: Store, source: Path, tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    far = Place(kind, tmp_path / "far", request)
    sound = take_snapshot(plant(source, {b"a": b"1" * 900, b"sub": {b"x": os.urandom(600)}}), store).snapshot_id
    large, gone = store.put_bytes(os.urandom(LARGE)).digest, "ab" * 32
    files = [store.put_bytes(os.urandom(700)).digest for _ in range(3)]
    for wanted in ([[sound], []], [[], [large]], *([[], [file]] for file in files)):
        send(store, far.open(), *wanted)
    victims = [path for path in below(far.folder) if path.stat().st_size > LARGE - 1]
    small = [path for path in below(far.folder) if path.suffix == ".pack" and 700 < path.stat().st_size < 900]
    for victim in [*victims, small[0]]:
        harmed(victim)
    told: list[RemoteError] = []
    with Store(tmp_path / "other") as other:
        receive(other, far.open(), [sound], [large, gone, *files], tell=told.append)
        assert {type(problem) for problem in told} == {RemoteDamaged, RemoteLacks}
        assert other.has(objects_of(other, sound)) == set(objects_of(store, sound))
        lost = {large, gone, *files} - other.has([large, *files])
        assert len(lost) == 3 and {large, gone} < lost
        assert all(any(digest in problem.what for problem in told) for digest in lost)
        assert list(other.verify()) == []
        again: list[RemoteError] = []
        found = check(far.open(), [bytes.fromhex(digest) for digest in (large, gone, *files)], tell=again.append)
        assert (found.objects, {problem.what for problem in again}) == (2, {problem.what for problem in told})


def test_a_snapshot_whose_listing_is_damaged_is_left_out_whole(
    store: Store, source: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    far = Place("folder", tmp_path / "far", request)
    first = take_snapshot(plant(source, {b"a": b"1" * 900}), store).snapshot_id
    send(store, far.open(), [first])
    known = set(below(far.folder))
    (source / "sub").mkdir()
    (source / "sub" / "b").write_bytes(b"2" * 50)
    second = take_snapshot(source, store).snapshot_id
    content = store.put_bytes(b"2" * 50).digest
    send(store, far.open(), [], [content])
    known |= set(below(far.folder))
    send(store, far.open(), [second])
    harmed(next(path for path in set(below(far.folder)) - known if path.suffix == ".names"))
    told: list[RemoteError] = []
    with Store(tmp_path / "other") as other:
        receive(other, far.open(), [first, second], [content], tell=told.append)
        assert other.has([first, second, content]) == {first, content}
        assert list(other.verify()) == []
    assert any(isinstance(problem, RemoteDamaged) for problem in told)
    with pytest.raises(RemoteDamaged):
        send(store, far.open(), [second])


def test_a_log_of_which_a_part_is_lacking_is_left_out(
    store: Store, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    states = grown_log(store, 3)
    far = Place("folder", tmp_path / "far", request)
    part = store.parts(store.place(bytes.fromhex(states[-1])))[-1].digest
    send(store, far.open(), [], [part.hex()])
    with_the_part = below(far.folder)
    send(store, far.open(), [], [states[-1]])
    for path in with_the_part:
        path.unlink()
    told: list[RemoteError] = []
    other_file = store.put_bytes(b"another").digest
    send(store, far.open(), [], [other_file])
    with Store(tmp_path / "other") as other:
        receive(other, far.open(), [], [states[-1], other_file], tell=told.append)
        assert other.has([states[-1], other_file]) == {other_file}
        assert list(other.verify()) == []
    assert any(part.hex() in problem.what for problem in told)


@pytest.mark.parametrize("ending", [".pack", ".names", ""])
def test_what_has_gone_at_the_other_side_is_sent_again(
    store: Store, source: Path, tmp_path: Path, request: pytest.FixtureRequest, ending: str
) -> None:
    place = Place("folder", tmp_path / "far", request)
    snapshot = take_snapshot(plant(source, {b"a": os.urandom(500), b"big": os.urandom(LARGE)}), store).snapshot_id
    send(store, place.open(), [snapshot])
    next(path for path in below(tmp_path / "far") if path.suffix == ending).unlink()
    assert send(store, place.open(), [snapshot]).objects > 0
    with Store(tmp_path / "other") as other:
        receive(other, place.open(), [snapshot])
        assert list(other.verify(objects_of(other, snapshot))) == []


def test_a_pack_that_was_cut_short_does_not_count(store: Store, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    place = Place("folder", tmp_path / "far", request)
    digest = store.put_bytes(os.urandom(900)).digest
    send(store, place.open(), [], [digest])
    pack = next(path for path in below(tmp_path / "far") if path.suffix == ".pack")
    pack.chmod(0o644)
    with pack.open("r+b") as file:
        file.truncate(500)
    far = place.open()
    assert isinstance(far, ShelfRemote)
    assert far.whole() == set()
    assert send(store, far, [], [digest]).objects == 1
    assert pack.stat().st_size > 900


def test_a_folder_of_the_remote_is_a_pack_that_anyone_can_check(
    store: Store, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    from blake3 import blake3

    place = Place("folder", tmp_path / "far", request)
    send(store, place.open(), [], [store.put_bytes(os.urandom(900)).digest, store.put_bytes(os.urandom(LARGE)).digest])
    names = {path.name: blake3(path.read_bytes()).hexdigest() for path in below(tmp_path / "far")}
    assert len(names) == 3
    assert all(name.endswith(".names") or name.removesuffix(".pack") == digest for name, digest in names.items())


def test_nothing_leaves_the_store_while_it_is_sent(
    store: Store, tmp_path: Path, request: pytest.FixtureRequest
) -> None:

    digests = [store.put_bytes(os.urandom(100)).digest for _ in range(3)]
    place, started, done = Place("folder", tmp_path / "far", request), threading.Event(), list[object]()

    def remove() -> None:
        started.set()
        with Store(store.folder) as elsewhere, elsewhere.in_use(alone=True):
            done.append(elsewhere.remove(digests))

    remover = threading.Thread(target=remove)

    def told(count: int, total: int) -> None:
        if not started.is_set():
            remover.start()
            started.wait()
            remover.join(0.2)
        assert not done

    assert send(store, place.open(), [], digests, progress=told).objects == 3
    remover.join()
    assert done
