"""Garbage collection of a workspace: whatever a run refers to stays, in whatever way it refers to it."""

from __future__ import annotations

import io
import json
import os
import time
from pathlib import Path

import pytest
from face_make import run_to_end
from recorded_make import killed_at, recorded, workspace

from onrecord import Workspace
from onrecord.anchors import HistoryChanged
from onrecord.collecting import collect
from onrecord.errors import OnRecordError
from onrecord.ledger.events import SnapshotTaken, Unknown
from onrecord.ledger.references import NAMING, References, references_in
from onrecord.snapshot.manifest import objects_of
from onrecord.verification import verify

# Nothing in a test is older than this, and everything is older than minus this.
ALL = -1000.0


def objects(found: Workspace) -> set[str]:
    return {place.digest.hex() for page in found.store._index.all_places() for place in page}


def test_what_a_real_run_left_stays_and_nothing_else(tmp_path: Path) -> None:
    run = run_to_end(tmp_path, "open('outputs/a', 'w').write('a')\nprint('said')\n")
    before = objects(run.workspace)
    stray = run.workspace.store.put_bytes(b"of no run").digest
    assert collect(run.workspace, grace_seconds=1000.0).removed_objects == 0
    done = collect(run.workspace, grace_seconds=ALL)
    assert (done.removed_objects, done.needed_objects) == (1, len(before))
    assert objects(run.workspace) == before - {stray}
    assert verify(run.workspace).findings == []
    assert run.read_file("outputs/a") == b"a"


def test_what_an_erased_run_left_behind_goes_and_what_others_have_too_stays(tmp_path: Path) -> None:
    found = workspace(tmp_path / "a")
    first = recorded(found, files={"outputs/own": b"own" * 100, "outputs/shared": b"shared" * 100})
    second = recorded(found, files={"outputs/shared": b"shared" * 100})
    left = objects(found)
    first.erase()
    assert objects(found) == left
    assert collect(found, grace_seconds=ALL, dry_run=True).removed_objects == 1
    assert objects(found) == left
    assert collect(found, grace_seconds=ALL).removed_objects == 1
    assert verify(found).findings == []
    assert second.read_file("outputs/shared") == b"shared" * 100


def test_what_an_event_of_a_later_version_may_name_stays(tmp_path: Path) -> None:
    found = workspace(tmp_path / "a")
    run = recorded(found)
    source = recorded(found)
    snapshot = found.query.run(source.id).snapshot_id
    named = [found.store.put_bytes(os.urandom(99)).digest for _ in range(2)]
    later = {"v": 2, "file": {"address": named[0]}}
    found.journal.append(run.id, [Unknown("run.file_recorded", json.dumps(later).encode())])
    found.journal.append(run.id, [Unknown("run.of_the_future", f"its {named[1]} and {snapshot}.".encode())])
    source.erase()
    collect(found, grace_seconds=ALL)
    assert set(named) | set(objects_of(found.store, str(snapshot))) <= objects(found)
    # An erasure keeps it as well.
    source.erase(files=True)
    assert set(named) | set(objects_of(found.store, str(snapshot))) <= objects(found)


def test_every_event_that_names_objects_is_read_the_same_by_all(tmp_path: Path) -> None:
    found = workspace(tmp_path / "a")
    run = recorded(found)
    run.upload_file("given", io.BytesIO(b"given"))
    assert references_in(found.journal, without=[run.id]) == References()
    run.register_model("m", "given")
    run.register_model("m", "given").delete()
    named = references_in(found.journal)
    one_by_one = References()
    for event in found.journal.read():
        one_by_one.take_event(event.event)
    assert named == one_by_one
    assert named.contents and named.snapshots and not named.possible
    assert set(named.models) == {("m", 1)}
    # A snapshot that is taken later is that of a run without one.
    assert {event.type for event in found.journal.read()} | {SnapshotTaken.type} >= NAMING
    taken = References()
    taken.take_event(SnapshotTaken(snapshot_id="ab" * 32))
    assert taken.snapshots == {"ab" * 32}
    result = verify(found)
    assert result.objects == objects(found)


def test_a_damaged_source_stops_it_before_anything_has_gone(tmp_path: Path) -> None:
    found = workspace(tmp_path / "a")
    run = recorded(found)
    snapshot = str(found.query.run(run.id).snapshot_id)
    found.store.put_bytes(b"of no run")
    with found.store.in_use(alone=True):
        found.store.remove([snapshot])
    left = objects(found)
    with pytest.raises(OnRecordError, match=snapshot):
        collect(found, grace_seconds=ALL)
    assert objects(found) == left


def test_a_ledger_that_went_back_behind_its_checkpoint_is_no_reason_to_remove_anything(tmp_path: Path) -> None:
    found = workspace(tmp_path / "a")
    recorded(found)
    found.journal.copy_to(tmp_path / "backup.db")
    lost = recorded(found, files={"outputs/lost": b"lost" * 100})
    assert verify(found).findings == []
    found.close()
    for path in found.layout.root.glob("ledger.db*"):
        path.unlink()
    (tmp_path / "backup.db").rename(found.layout.ledger)
    found = Workspace(found.path)
    left = objects(found)
    for dry_run in (True, False):
        with pytest.raises(HistoryChanged) as caught:
            collect(found, grace_seconds=ALL, dry_run=dry_run)
        assert "--accept" in caught.value.next_step
    assert objects(found) == left and lost


@pytest.mark.parametrize("part", [0, 1, 2])
def test_killed_on_the_way_it_has_taken_nothing_that_a_run_refers_to(
    tmp_path: Path, part: int, long_form: bool
) -> None:
    line, step = 5 + 30 * part, 7 if long_form else 90
    while True:
        found = workspace(tmp_path / str(line))
        recorded(found)
        recorded(found, files={"outputs/own": os.urandom(2000)}).erase()
        found.close()
        files = ("sweep.py", "gc.py", "collecting.py", "references.py")
        killed = killed_at(line, files, lambda found=found: collect(found, grace_seconds=ALL))  # type: ignore[misc]
        assert verify(found).findings == []
        collect(found, grace_seconds=ALL)
        assert verify(found).findings == []
        assert objects(found) == verify(found).objects
        found.close()
        if not killed:
            return
        line += step


def test_a_grace_period_of_two_weeks_is_the_default(tmp_path: Path) -> None:
    found = workspace(tmp_path / "a")
    old, young = found.store.put_bytes(b"old").digest, found.store.put_bytes(b"young").digest
    for digest, days in ((old, 15), (young, 13)):
        name = found.store._index.pack_name(found.store.place(bytes.fromhex(digest)).pack or 0)
        then = time.time() - days * 86400
        os.utime(found.layout.objects / "packs" / f"{name}.pack", (then, then))
    collect(found)
    assert objects(found) == {young}
