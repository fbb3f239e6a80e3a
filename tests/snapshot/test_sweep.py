"""What nothing needs goes when it is old; what something needs, or what is young, stays, whatever happens."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import pytest
from blake3 import blake3
from killed import killed_at
from snapshot_trees import disk_bytes, grown_log, plant

from onrecord.snapshot.errors import NotSwept, ObjectMissing
from onrecord.snapshot.growth import Part
from onrecord.snapshot.manifest import objects_of
from onrecord.snapshot.restore import restore_snapshot
from onrecord.snapshot.store import Store
from onrecord.snapshot.sweep import Swept, Wanted
from onrecord.snapshot.take import take_snapshot

LARGE = 5 << 20
OLD, YOUNG = 1_000_000.0, 3_000_000.0
BETWEEN = 2_000_000.0


def aged(store: Store, seconds: float = OLD) -> None:
    """Let everything in the store be this old."""
    for folder in ("packs", "loose"):
        for path in (store.folder / folder).iterdir():
            os.utime(path, (seconds, seconds))


def sweep(store: Store, wanted: Wanted = Wanted(), before: float = BETWEEN, **options: bool) -> Swept:  # noqa: B008
    return store.sweep(lambda: wanted, before=before, **options)


def packed_together(store: Store, pieces: Iterable[bytes]) -> list[str]:
    with store.writer() as writer:
        digests = [writer.add(piece).hex() for piece in pieces]
        writer.commit()
    return digests


def files_of(store: Store) -> list[str]:
    return sorted(path.name for folder in ("packs", "loose") for path in (store.folder / folder).iterdir())


def test_what_nothing_needs_goes_and_the_report_has_its_bytes(store: Store, source: Path) -> None:
    plant(source, {b"a": os.urandom(500), b"sub": {b"big": os.urandom(LARGE)}})
    kept = take_snapshot(source, store).snapshot_id
    content = store.put_bytes(os.urandom(700)).digest
    plant(source / "more", {b"b": os.urandom(900), b"big": os.urandom(LARGE)})
    gone = set(objects_of(store, take_snapshot(source, store).snapshot_id)) - set(objects_of(store, kept))
    aged(store)
    wanted = Wanted([kept], [content, "no address", "ab" * 32])
    told = sweep(store, wanted, dry_run=True)
    before = disk_bytes(store.folder / "packs") + disk_bytes(store.folder / "loose")
    assert store.has(gone) == gone
    done = sweep(store, wanted)
    assert done == told
    assert done.removed_objects == len(gone)
    assert done.removed_bytes == before - disk_bytes(store.folder / "packs") - disk_bytes(store.folder / "loose")
    assert done.needed_objects == len(set(objects_of(store, kept)) | {content})
    assert (done.young_objects, done.waiting_objects) == (0, 0)
    assert store.has(gone) == set()
    assert list(store.verify()) == []
    assert restore_snapshot(store, kept, source.parent / "out") == 2
    again = sweep(store, wanted)
    assert (again.removed_objects, again.removed_bytes) == (0, 0)


def test_within_the_grace_period_a_snapshot_stays_whole_though_its_parts_are_old(store: Store, source: Path) -> None:
    plant(source, {b"sub": {b"a": os.urandom(500)}})
    take_snapshot(source, store)
    old = store.put_bytes(b"old").digest
    aged(store)
    plant(source / "more", {b"b": b"new"})
    snapshot = take_snapshot(source, store).snapshot_id
    done = sweep(store)
    assert store.has([old]) == set()
    assert store.has(objects_of(store, snapshot)) == set(objects_of(store, snapshot))
    assert done.young_objects == len(set(objects_of(store, snapshot)))
    aged(store)
    sweep(store)
    assert files_of(store) == []


def test_a_snapshot_that_is_taken_again_is_as_young_as_if_it_were_new(store: Store, source: Path) -> None:
    plant(source, {b"a": b"content"})
    snapshot = take_snapshot(source, store).snapshot_id
    aged(store)
    store.freshen(snapshot)
    assert sweep(store).removed_objects == 0
    large = store.put_bytes(os.urandom(LARGE)).digest
    aged(store)
    store.freshen(large)
    sweep(store)
    assert store.has([large, snapshot]) == {large}
    with pytest.raises(ObjectMissing):
        store.freshen(snapshot)


def test_copying_what_stays_makes_it_no_younger(store: Store) -> None:
    first, second = packed_together(store, [os.urandom(300), os.urandom(300)])
    aged(store)
    sweep(store, Wanted(contents=[second]))
    assert store.has([first, second]) == {second}
    sweep(store)
    assert store.has([second]) == set()


def test_a_pack_that_is_mostly_of_use_waits_until_more_of_it_can_go(store: Store) -> None:
    digests = packed_together(store, [os.urandom(1000) for _ in range(10)])
    aged(store)
    before = files_of(store)
    done = sweep(store, Wanted(contents=digests[1:]))
    assert (done.removed_objects, done.waiting_objects) == (0, 1)
    assert 1000 < done.waiting_bytes < 1100
    assert files_of(store) == before
    assert store.has(digests) == set(digests)
    done = sweep(store, Wanted(contents=digests[3:]))
    assert (done.removed_objects, done.waiting_objects) == (3, 0)
    assert disk_bytes(store.folder / "packs") < 7500
    assert list(store.verify()) == []


def test_what_may_be_an_address_keeps_what_it_may_name(store: Store, source: Path) -> None:
    plant(source, {b"sub": {b"a": os.urandom(500)}})
    snapshot = take_snapshot(source, store).snapshot_id
    lookalike = packed_together(store, [b"onrecord tree 1\nbut a file", b"onrecord snapshot 1\nbut a file"])
    content = store.put_bytes(b"onrecord tree 1\n" + os.urandom(LARGE)).digest
    aged(store)
    possible = [snapshot, *lookalike, content, "cd" * 32]
    assert sweep(store, Wanted(possible=possible)).removed_objects == 0
    aged(store)
    assert sweep(store, Wanted(possible=[snapshot])).removed_objects == 3


def test_where_a_listing_is_lost_nothing_goes_and_the_snapshot_is_named(store: Store, source: Path) -> None:
    plant(source, {b"sub": {b"a": os.urandom(500)}})
    snapshot = take_snapshot(source, store).snapshot_id
    other = store.put_bytes(b"of no use").digest
    with store.in_use(alone=True):
        store.remove([next(one for one in objects_of(store, snapshot) if one != snapshot)])
    aged(store)
    with pytest.raises(NotSwept, match=snapshot) as caught:
        sweep(store, Wanted([snapshot]))
    assert caught.value.why and "onrecord verify" in caught.value.next_step
    assert pickle.loads(pickle.dumps(caught.value)).digest == snapshot  # noqa: S301
    assert store.has([other]) == {other}
    # As a young snapshot that nobody refers to it keeps what can still be read of it.
    store.freshen(snapshot)
    sweep(store)
    assert store.has([other, snapshot]) == {snapshot}


def test_files_that_the_index_does_not_know_go_unless_something_is_missing(store: Store) -> None:
    kept = store.put_bytes(b"kept").digest
    stray = store.folder / "packs" / ("0" * 16 + ".pack")
    large = store.folder / "loose" / ("ab" * 32)
    for path in (stray, large, store.folder / "packs" / "a user's note"):
        path.write_bytes(b"x" * 100)
    assert sweep(store, Wanted(contents=[kept])).removed_bytes == 0
    aged(store)
    assert sweep(store, Wanted(contents=[kept, "cd" * 32])).removed_bytes == 0
    assert sweep(store, Wanted(contents=[kept]), dry_run=True).removed_bytes == 200
    assert stray.exists()
    assert sweep(store, Wanted(contents=[kept])).removed_bytes == 200
    assert (stray.exists(), large.exists()) == (False, False)
    assert len(files_of(store)) == 2


def test_what_came_to_be_needed_while_the_sweep_marked_stays(store: Store, source: Path) -> None:
    plant(source, {b"a": os.urandom(100)})
    snapshot = take_snapshot(source, store).snapshot_id
    content = store.put_bytes(b"content").digest
    gone = store.put_bytes(b"gone").digest
    aged(store)
    answers = [Wanted(), Wanted([snapshot], [content])]
    assert store.sweep(lambda: answers.pop(0) if answers else Wanted(), before=BETWEEN).removed_objects == 1
    assert store.has([gone, content, snapshot]) == {content, snapshot}


def test_what_a_log_is_read_through_stays_and_goes_with_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onrecord.snapshot.sweep._ROUND_BYTES", 1000)
    states = grown_log(store, 20)
    other = grown_log(store, 20)
    aged(store)
    content = store.read(states[-1])
    needed = store.with_parts([states[-1]])
    assert sweep(store, Wanted(contents=[states[-1]])).needed_objects == len(needed) < 41
    assert {place.digest.hex() for page in store._index.all_places() for place in page} == needed
    assert store.read(states[-1]) == content
    assert list(store.verify()) == []
    assert store.has(other) == set()
    # Within the grace period it needs no reference.
    store.freshen(states[-1])
    assert (sweep(store).removed_objects, store.read(states[-1])) == (0, content)
    aged(store)
    sweep(store)
    assert files_of(store) == []


def test_parts_that_lie_before_what_is_read_through_them_end_no_sweep_early(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onrecord.snapshot.sweep._ROUND_BYTES", 1)
    first, _, kept = packed_together(store, [os.urandom(600), os.urandom(600), os.urandom(300)])
    tail = store.put_bytes(os.urandom(50)).digest
    whole = store.read(first) + store.read(tail)
    with store.writer() as writer:
        # In one pack with something that stays, behind the pack of its part.
        also = writer.add(os.urandom(100))
        writer.add_parts(blake3(whole).digest(), [Part(bytes.fromhex(first), 600), Part(bytes.fromhex(tail), 50)])
        writer.commit()
    aged(store)
    sweep(store, Wanted(contents=[kept, also.hex()]))
    assert {place.digest.hex() for page in store._index.all_places() for place in page} == {kept, also.hex()}


def test_where_the_list_of_a_log_is_damaged_nothing_goes(store: Store) -> None:
    states = grown_log(store, 2)
    other = store.put_bytes(b"of no use").digest
    place = store.place(bytes.fromhex(states[-1]))
    path = store.folder / "packs" / f"{store._index.pack_name(place.pack or 0)}.pack"
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[place.offset + 30] ^= 1
    path.write_bytes(data)
    aged(store)
    with Store(store.folder) as again, pytest.raises(NotSwept, match=states[-1]):
        sweep(again, Wanted(contents=[states[-1]]))
    assert store.has([other]) == {other}


def test_rounds_let_others_in_and_tell_how_far_they_are(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onrecord.snapshot.sweep._ROUND_BYTES", 1000)
    kept = set()
    for _ in range(4):
        first, second = packed_together(store, [os.urandom(600), os.urandom(600)])
        kept.add(first)
        assert second
    aged(store)
    told: list[tuple[int, int]] = []
    asked = 0

    def wanted() -> Wanted:
        nonlocal asked
        asked += 1
        return Wanted(contents=kept)

    done = store.sweep(wanted, before=BETWEEN, progress=lambda *values: told.append(values))
    assert (done.removed_objects, asked) == (4, 5)
    assert [total for _, total in told] == [told[0][1]] * 4
    assert sorted(told) == told and told[-1][0] == told[-1][1]
    assert store.has(kept) == kept and list(store.verify()) == []


def made(folder: Path) -> tuple[Store, Wanted, set[str], set[str]]:
    """A store with needed and useless objects of all kinds, in shared packs; what stays and what goes."""
    source = plant(folder / "source", {b"a": b"1" * 300, b"sub": {b"b": b"2" * 300}})
    store = Store(folder / "objects")
    snapshot = take_snapshot(source, store).snapshot_id
    useless = {store.put_bytes(bytes([at]) * LARGE).digest for at in range(2)} | {store.put_bytes(b"alone").digest}
    kept, gone = packed_together(store, [b"kept" * 50, b"gone" * 50])
    large = store.put_bytes(b"k" * LARGE).digest
    aged(store)
    return store, Wanted([snapshot], [kept, large]), {*objects_of(store, snapshot), kept, large}, {*useless, gone}


def test_killed_at_any_line_nothing_that_is_needed_has_gone_and_the_next_sweep_ends_it(
    tmp_path: Path, long_form: bool
) -> None:
    line, step, seen = 1, 1 if long_form else 23, set()
    files = ("sweep.py", "gc.py", "leftovers.py", "index.py", "marking.py")
    while True:
        store, wanted, stays, goes = made(tmp_path / str(line))
        store.close()
        killed = killed_at(line, files, partial(sweep, store, wanted))
        left = store.has(goes)
        seen.add((killed, bool(left)))
        assert store.has(stays) == stays
        assert list(store.verify()) == []
        sweep(store, wanted)
        assert store.has(goes) == set()
        assert store.has(stays) == stays
        assert list(store.verify()) == []
        assert list((store.folder / "tmp").iterdir()) == []
        assert len(files_of(store)) == 3
        store.close()
        shutil.rmtree(tmp_path / str(line))
        if not killed:
            break
        line += step
    assert seen == {(True, True), (True, False), (False, False)}


SUBMITTER = """
import os, random, sys, time
from pathlib import Path
from onrecord.snapshot.store import Store
from onrecord.snapshot.take import take_snapshot
base, number, until = Path(sys.argv[1]), sys.argv[2], time.time() + float(sys.argv[3])
store, dice = Store(base / "objects"), random.Random(number)
source = base / f"source{number}"
count = 0
while time.time() < until:
    # The same few states over and over: most of them are stored already, and nobody refers to most of them.
    for place in range(4):
        (source / f"d{place}").mkdir(parents=True, exist_ok=True)
        (source / f"d{place}" / "file").write_bytes(b"%d" % dice.randrange(3) * 1000)
    with store.in_use():
        snapshot = take_snapshot(source, store, cache=base / f"cache{number}").snapshot_id
        if dice.random() < 0.3:
            # The reference is there before the block is left, as a submission's is.
            with open(base / "references", "a") as file:
                file.write(snapshot + "\\n")
    count += 1
    time.sleep(dice.random() * 0.02)
print(count)
"""

COLLECTOR = """
import sys, time
from pathlib import Path
from onrecord.snapshot.store import Store
from onrecord.snapshot.sweep import Wanted
base, until = Path(sys.argv[1]), time.time() + float(sys.argv[2])
store, rounds, removed, seen = Store(base / "objects"), 0, 0, 0
def wanted():
    return Wanted((base / "references").read_text().split())
while time.time() < until:
    # No grace at all: what protects a submission is only that it is at work.
    done = store.sweep(wanted, before=time.time() + 1000)
    rounds, removed = rounds + 1, removed + done.removed_objects
print(rounds, removed)
"""


def test_processes_that_snapshot_overlapping_trees_lose_nothing_to_a_sweep_beside_them(
    tmp_path: Path, long_form: bool
) -> None:
    writers, seconds = (8, 60) if long_form else (4, 3)
    (tmp_path / "references").touch()
    start: Callable[..., subprocess.Popen[str]] = lambda *words: subprocess.Popen(  # noqa: E731
        [sys.executable, "-c", *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    collector = start(COLLECTOR, tmp_path, seconds)
    submitters = [start(SUBMITTER, tmp_path, number, seconds) for number in range(writers)]
    victim = start(COLLECTOR, tmp_path, seconds)
    time.sleep(seconds / 2)
    victim.send_signal(signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL
    victim.communicate()
    said = [process.communicate() for process in (collector, *submitters)]
    assert [error for _, error in said if error] == []
    rounds, removed = map(int, said[0][0].split())
    assert rounds >= 2 and removed > 0
    with Store(tmp_path / "objects") as store:
        references = set((tmp_path / "references").read_text().split())
        assert references
        needed = {digest for snapshot in references for digest in objects_of(store, snapshot)}
        assert list(store.verify()) == []
        store.sweep(lambda: Wanted(references), before=time.time() + 1000)
        assert {place.digest.hex() for page in store._index.all_places() for place in page} == needed
        assert list(store.verify()) == []
        assert list((store.folder / "tmp").iterdir()) == []
        packs = {path.stem for path in (store.folder / "packs").iterdir()}
        assert packs == set(store._index.pack_names().values())
