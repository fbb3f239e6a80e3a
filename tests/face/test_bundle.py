"""Runs that travel from workspace to workspace in a file, whole and proven, or not at all."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from face_make import start
from recorded_make import killed_at, recorded, workspace

from onrecord import Workspace
from onrecord.bundle import MANIFEST, BadBundle, Bundle
from onrecord.exporting import BundleExists, export_runs, with_descendants
from onrecord.importing import import_bundle
from onrecord.ledger import merkle
from onrecord.ledger.errors import BadRun, NewerLedger, RunDiffers, RunNotEnded
from onrecord.ledger.event_lines import event_lines, parse_event_lines
from onrecord.ledger.events import RunEvidence, RunMetrics, RunTagged, Series, Unknown
from onrecord.ledger.history import History
from onrecord.ledger.ids import decode
from onrecord.ledger.imports import check_run
from onrecord.ledger.origin import origin_of, root_of_events, stored_events
from onrecord.ledger.receipt import check
from onrecord.ledger.stored_event import StoredEvent
from onrecord.snapshot.digest import digest_bytes
from onrecord.snapshot.errors import ObjectCorrupt, ObjectMissing
from onrecord.verification import verify

Members = dict[str, bytes]


def facts(found: Workspace, run_id: str) -> list[Any]:
    """What must be the same in every ledger, of the events that are not about an import."""
    events = stored_events(found.journal, run_id)
    return [event._replace(seq=0) for event in events if not event.type.startswith(("run.imported", "run.evidence"))]


def state_of(found: Workspace) -> object:
    """Everything that an import could write."""
    files = sorted((str(path), path.stat().st_size) for path in found.layout.root.rglob("*") if "-shm" not in path.name)
    return found.journal.size(), [name for name in files if "ledger.db" not in name[0] and "index.db" not in name[0]]


def carried(origin: Workspace, target: Workspace, path: Path, *runs: str) -> Any:
    export_runs(origin, runs or [row.run_id for row in origin.query.runs()], path, overwrite=True)
    return import_bundle(target, path)


def test_runs_go_from_a_to_b_to_c_with_the_same_bytes_and_commitments(tmp_path: Path) -> None:
    a, b, c = (workspace(tmp_path / name) for name in "abc")
    runs = [recorded(a), recorded(a, source={"other.py": b"x" * (5 << 20)}, files={"outputs/big": bytes(6 << 20)})]
    recorded(b, experiment="exp")
    for origin, target in ((a, b), (b, c)):
        done = carried(origin, target, tmp_path / "bundle", *(run.id for run in runs))
        assert sorted(done.imported) == sorted(run.id for run in runs)
        for run in runs:
            assert facts(target, run.id) == facts(a, run.id)
            assert target.get_run(run.id).read_file(run.get_file_names()[0]) == run.read_file(run.get_file_names()[0])
            assert target.query.tags(run.id) == a.query.tags(run.id)
            assert target.get_run(run.id).get_metrics() == {"loss": [0.5, 0.25]}
            restored = target.get_run(run.id).restore_snapshot(target.path / run.id)
            assert sorted(path.name for path in restored.iterdir())
        assert verify(target).findings == []
        before = target.query.runs()
        target.journal.rebuild()
        assert target.query.runs() == before
        assert verify(target).findings == []
        assert target.recover() == []
    origins = [one.event.origin for one in c.journal.read(runs[0].id) if one.type == "run.imported"]  # type: ignore[union-attr]
    assert origins == [origin_of(a.journal), origin_of(b.journal)]
    assert [row.number for row in b.query.runs(experiment="exp")] == [3, 2, 1]


def test_the_same_runs_make_the_same_bytes_in_whatever_order_they_are_named(tmp_path: Path) -> None:
    found = workspace(tmp_path / "a")
    runs = [recorded(found).id, recorded(found).id]
    export_runs(found, runs, tmp_path / "one")
    export_runs(found, [*reversed(runs), runs[0]], tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_any_tar_program_can_unpack_a_bundle(tmp_path: Path) -> None:
    found = workspace(tmp_path / "a")
    run = recorded(found)
    export_runs(found, [run.id], tmp_path / "bundle")
    with tarfile.open(tmp_path / "bundle") as archive:
        names = archive.getnames()
        assert names[:3] == [MANIFEST, f"runs/{run.id}/events.jsonl", f"runs/{run.id}/receipt.txt"]
        for name in names[3:]:
            member = archive.extractfile(name)
            assert member is not None
            assert digest_bytes(member.read()) == name.removeprefix("objects/")
    assert all(len(name) == 72 for name in names[3:])


def test_a_ledger_that_begins_with_an_import_has_a_name_of_its_own(tmp_path: Path) -> None:
    a, b, c = (workspace(tmp_path / name) for name in "abc")
    recorded(a)
    carried(a, b, tmp_path / "one")
    carried(b, c, tmp_path / "two")
    assert len({origin_of(one.journal) for one in (a, b, c)}) == 3
    name = origin_of(b.journal)
    recorded(b)
    carried(a, b, tmp_path / "one")
    assert origin_of(b.journal) == name


def test_importing_twice_adds_nothing_and_says_so(tmp_path: Path) -> None:
    a, b = workspace(tmp_path / "a"), workspace(tmp_path / "b")
    run = recorded(a)
    carried(a, b, tmp_path / "bundle")
    b.get_run(run.id).tag("later", "here")
    before = state_of(b)
    done = import_bundle(b, tmp_path / "bundle")
    assert (done.imported, done.present, done.events, done.objects) == ([], [run.id], 0, 0)
    assert state_of(b) == before
    assert carried(a, a, tmp_path / "bundle").present == [run.id]
    # Back where it came from, with nothing but its travels added.
    c = workspace(tmp_path / "c")
    carried(a, c, tmp_path / "bundle")
    assert carried(c, a, tmp_path / "back").present == [run.id]


def test_a_run_that_is_here_with_another_history_is_refused_and_nothing_else_is_taken_in(tmp_path: Path) -> None:
    a, b = workspace(tmp_path / "a"), workspace(tmp_path / "b")
    run = recorded(a)
    carried(a, b, tmp_path / "bundle")
    a.get_run(run.id).tag("later", "there")
    recorded(a)
    before = state_of(b)
    with pytest.raises(RunDiffers) as refusal:
        carried(a, b, tmp_path / "bundle")
    assert "1 later events" in refusal.value.why
    b.get_run(run.id).tag("later", "here")
    with pytest.raises(RunDiffers) as refusal:
        import_bundle(b, tmp_path / "bundle")
    assert "and then differ" in refusal.value.why
    assert len(b.query.runs()) == 1
    assert state_of(b) == (before[0] + 1, before[1])  # type: ignore[index]


def test_erased_runs_travel_and_importing_does_not_bring_back_what_was_erased(tmp_path: Path) -> None:
    a, b, c = (workspace(tmp_path / name) for name in "abc")
    secret, other = recorded(a, files={"outputs/secret": b"s3cr3t" * 20}), recorded(a)
    carried(a, b, tmp_path / "before")
    digest = a.query.files(secret.id)[0].digest
    b.get_run(secret.id).erase(files=True)
    assert import_bundle(b, tmp_path / "before").present == [run.id for run in sorted((secret, other), key=_id)]
    assert b.store.has([digest]) == set()
    recorded(a)
    assert len(carried(a, b, tmp_path / "after").imported) == 1
    assert b.store.has([digest]) == set()
    assert b.query.run(secret.id).erased
    carried(b, c, tmp_path / "erased")
    assert c.query.run(secret.id).erased
    assert (c.query.run(secret.id).experiment, c.query.run(secret.id).number) == ("exp", 1)
    assert facts(c, secret.id) == facts(b, secret.id)
    for found in (b, c):
        assert verify(found).findings == []
        rows = found.query.runs()
        found.journal.rebuild()
        assert found.query.runs() == rows


def _id(run: Any) -> str:
    return str(run.id)


def test_an_import_among_erased_runs_gives_numbers_that_a_rebuild_gives_too(tmp_path: Path) -> None:
    a, b = workspace(tmp_path / "a"), workspace(tmp_path / "b")
    runs = [recorded(a) for _ in range(4)]
    runs[0].erase(experiment_too=True)
    runs[2].erase()
    local = [recorded(b) for _ in range(2)]
    local[0].erase(experiment_too=True)
    carried(a, b, tmp_path / "bundle")
    b.get_run(runs[3].id).erase()
    recorded(b)
    rows = b.query.runs()
    assert sorted(row.number for row in rows if row.experiment) == [2, 3, 4, 5, 6]
    b.journal.rebuild()
    assert b.query.runs() == rows
    assert verify(b).findings == []


def test_facts_that_came_after_the_seal_travel_too(tmp_path: Path) -> None:
    a, b = workspace(tmp_path / "a"), workspace(tmp_path / "b")
    run = recorded(a)
    run.tag("late", "1")
    a.journal.append(run.id, [], seal=True)
    run.tag("later", "2")
    carried(a, b, tmp_path / "bundle")
    b.journal.append(run.id, [RunTagged(tags={"there": "3"})], seal=True)
    assert b.query.tags(run.id)[run.id] == {"team": "ä", "late": "1", "later": "2", "there": "3"}
    c = workspace(tmp_path / "c")
    carried(b, c, tmp_path / "bundle")
    assert verify(b).findings == verify(c).findings == []


def test_runs_that_have_not_ended_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    found = workspace(tmp_path / "a")
    ended, living, open_ended = recorded(found), recorded(found, end=False), recorded(found, seal=False)
    with pytest.raises(RunNotEnded) as refusal:
        export_runs(found, [ended.id, living.id, open_ended.id], tmp_path / "bundle")
    assert living.id in refusal.value.what
    assert open_ended.id in refusal.value.what
    assert ended.id not in refusal.value.what
    assert not (tmp_path / "bundle").exists()


def test_a_file_that_is_there_is_not_replaced_unasked(tmp_path: Path) -> None:
    found = workspace(tmp_path / "a")
    run = recorded(found)
    (tmp_path / "bundle").write_text("precious")
    with pytest.raises(BundleExists):
        export_runs(found, [run.id], tmp_path / "bundle")
    assert (tmp_path / "bundle").read_text() == "precious"
    export_runs(found, [run.id], tmp_path / "bundle", overwrite=True)
    assert import_bundle(found, tmp_path / "bundle").present == [run.id]


def test_what_the_store_has_lost_or_damaged_cannot_be_exported(tmp_path: Path) -> None:
    found = workspace(tmp_path / "a")
    lost = recorded(found)
    large = recorded(found, files={"outputs/big": os.urandom(5 << 20)})
    (loose,) = (found.layout.objects / "loose").iterdir()
    loose.chmod(0o600)
    with loose.open("r+b") as file:
        file.write(b"damage")
    with pytest.raises(ObjectCorrupt):
        export_runs(found, [large.id], tmp_path / "bundle")
    with found.store.in_use(alone=True):
        found.store.remove([str(lost.get_snapshot_id())])
    with pytest.raises(ObjectMissing):
        export_runs(found, [lost.id], tmp_path / "bundle")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_descendants_are_found_at_every_depth(tmp_path: Path) -> None:
    found = workspace(tmp_path / "a")
    root = recorded(found)
    child = recorded(found, parent=root.id)
    grandchild, other = recorded(found, parent=child.id), recorded(found)
    assert set(with_descendants(found, [root.id])) == {root.id, child.id, grandchild.id}
    assert with_descendants(found, [other.id]) == [other.id]


def test_a_receipt_travels_with_its_run(tmp_path: Path) -> None:
    a, b = workspace(tmp_path / "a"), workspace(tmp_path / "b")
    run = recorded(a)
    export_runs(a, [run.id], tmp_path / "bundle")
    import_bundle(b, tmp_path / "bundle")
    *_, last = b.journal.read(run.id)
    assert isinstance(last.event, RunEvidence)
    # It proves what it did where it was made, and fits the run's own receipt here.
    before = check(last.event.text)
    assert before.checkpoint.origin == origin_of(a.journal)
    here = check(str(History(b.journal).receipt(run.id)))
    assert (here.run_root, here.run.status) == (before.run_root, before.run.status)
    assert here.checkpoint.origin == origin_of(b.journal)


def test_a_receipt_that_does_not_hold_or_is_not_of_the_run_is_refused(tmp_path: Path) -> None:
    a, other = workspace(tmp_path / "a"), workspace(tmp_path / "other")
    run, second, foreign = recorded(a), recorded(a), recorded(other)
    good = str(History(a.journal).receipt(run.id))
    forged = {
        "it does not hold": good.replace("run.completed", "run.failed"),
        "it is the receipt of another run": str(History(a.journal).receipt(second.id)),
        "it does not hold: line": "onrecord/receipt@v1\n",
        "the receipt of another run": str(History(other.journal).receipt(foreign.id)),
    }
    for number, (why, text) in enumerate(forged.items()):
        export_runs(a, [run.id], tmp_path / f"forged{number}", receipts={run.id: text})
        found = workspace(tmp_path / f"c{number}")
        with pytest.raises(BadBundle, match=why):
            import_bundle(found, tmp_path / f"forged{number}")
        assert found.journal.size() == 0


def test_a_receipt_of_another_ledger_that_has_the_run_too_is_refused(tmp_path: Path) -> None:
    a, b = workspace(tmp_path / "a"), workspace(tmp_path / "b")
    run = recorded(a)
    carried(a, b, tmp_path / "one")
    theirs = str(History(b.journal).receipt(run.id))
    export_runs(a, [run.id], tmp_path / "forged", receipts={run.id: theirs})
    with pytest.raises(BadBundle, match="not from the ledger that the bundle names"):
        import_bundle(workspace(tmp_path / "c"), tmp_path / "forged")


def test_payloads_that_were_taken_out_on_the_way_are_refused(good: tuple[Path, str, str], tmp_path: Path) -> None:
    def stripped(events: list[StoredEvent]) -> list[StoredEvent]:
        return [one._replace(salt=None, payload=None) if one.type == "run.metrics" else one for one in events]

    found, run_id = Workspace(good[0].parent / "a"), good[1]
    with pytest.raises(BadRun, match="no event says that it was erased"):
        events = stripped(stored_events(found.journal, run_id))
        check_run(run_id, events, str(root_of_events(events, decode(run_id), [one.seq for one in events])))


# ---- forgeries -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A bundle of two runs, the first of them with the first event of its ledger; and their ids."""
    folder = tmp_path_factory.mktemp("good")
    found = workspace(folder / "a")
    runs = [recorded(found).id, recorded(found).id]
    export_runs(found, runs, folder / "bundle")
    return folder / "bundle", *sorted(runs)  # type: ignore[return-value]


def unpacked(path: Path) -> Members:
    with tarfile.open(path) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


def packed(members: Members, path: Path, *, mend: bool = True) -> Path:
    """A bundle of these members; `mend`: with a list of contents that says what they are, as a forger would."""
    manifest = json.loads(members[MANIFEST])
    if mend:
        for run in manifest["runs"]:
            lines = members.get(f"runs/{run['run_id']}/events.jsonl")
            if lines is None:
                continue
            run["size"] = len(lines)
            try:
                events = parse_event_lines(lines)
            except ValueError:
                continue
            run["events"] = len(events)
            run["root"] = root_of_events(events, decode(run["run_id"]), [event.seq for event in events]) or run["root"]
        names = [name.removeprefix("objects/") for name in members if name.startswith("objects/")]
        manifest["objects"] = sorted([name, len(members[f"objects/{name}"])] for name in names)
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":")) + "\n"
    order = [MANIFEST, *sorted((name for name in members if name != MANIFEST), key=lambda name: name[0] != "r")]
    path.write_bytes(archive_bytes(members, text, order))
    return path


def archive_bytes(members: Members, manifest: str, order: list[str]) -> bytes:
    out = io.BytesIO()
    for name in order:
        data = manifest.encode() if name == MANIFEST else members[name]
        info = tarfile.TarInfo(name)
        info.size = len(data)
        out.write(info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512))
    return out.getvalue() + bytes(1024)


def refused(path: Path, folder: Path) -> BadBundle:
    """The reason why a bundle is refused, once it is sure that nothing of it was written."""
    target = Workspace(folder) if (folder / ".onrecord").exists() else workspace(folder)
    target.store.put_bytes(b"make the store")
    before = state_of(target)
    with pytest.raises(BadBundle) as refusal:
        import_bundle(target, path)
    assert state_of(target) == before
    assert refusal.value.path == path
    target.close()
    return refusal.value


def test_packing_what_was_unpacked_gives_the_bundle_again(good: tuple[Path, str, str], tmp_path: Path) -> None:
    path, *_ = good
    assert packed(unpacked(path), tmp_path / "again").read_bytes() == path.read_bytes()
    import_bundle(workspace(tmp_path / "a"), path)


Change = Callable[[list[StoredEvent]], list[StoredEvent]]


def _other_payload(events: list[StoredEvent]) -> list[StoredEvent]:
    payload = (events[0].payload or b"").replace(b"train.py", b"drain.py")
    return [events[0]._replace(payload=payload), *events[1:]]


def _committed(events: list[StoredEvent]) -> list[StoredEvent]:
    first = _other_payload(events)[0]
    commitment = merkle.payload_commitment(first.salt or b"", first.payload or b"")
    return [first._replace(commitment=commitment), *events[1:]]


def _renumbered(events: list[StoredEvent]) -> list[StoredEvent]:
    return [event._replace(version=version) for version, event in enumerate(events, 1)]


FORGED: dict[str, Change] = {
    "another payload": _other_payload,
    "another payload, committed to": _committed,
    "another salt": lambda events: [events[0]._replace(salt=bytes(16)), *events[1:]],
    "a payload erased, and its commitment changed": lambda events: [
        events[0]._replace(salt=None, payload=None, commitment=bytes(32)), *events[1:]
    ],
    "an event left out": lambda events: [*events[:3], *events[4:]],
    "an event left out, and the rest renumbered": lambda events: _renumbered([*events[:3], *events[4:]]),
    "the first event left out": lambda events: _renumbered(events[1:]),
    "two events in the other order": lambda events: _renumbered([*events[:3], events[4], events[3], *events[5:]]),
    "two numbers in the other order": lambda events: [
        *events[:3], events[3]._replace(seq=events[4].seq), events[4]._replace(seq=events[3].seq), *events[5:]
    ],
    "the seal left out": lambda events: events[:-1],
    "the end left out": lambda events: _renumbered([*events[:-2], events[-1]]),
    "nothing but the start": lambda events: events[:1],
    "no event at all": lambda events: [],
    "another time": lambda events: [*events[:2], events[2]._replace(at=events[2].at + 1), *events[3:]],
    "another type": lambda events: [*events[:2], events[2]._replace(type="run.of_tomorrow"), *events[3:]],
    "a type that cannot be stored": lambda events: [*events, events[-1]._replace(type="", version=len(events) + 1)],
    "other numbers": lambda events: [event._replace(seq=event.seq + 1) for event in events],
    "numbers that no ledger gives": lambda events: [event._replace(seq=event.seq - 100) for event in events],
    "a second end": lambda events: _renumbered([*events[:-1], events[-2], events[-1]]),
    "a false import behind it": lambda events: [*events, _import(events)],
}  # fmt: skip


def _import(events: list[StoredEvent]) -> StoredEvent:
    payload = b'{"origin":"onrecord/00","root":"' + b"00" * 32 + b'","seqs":[1],"v":1}'
    last = events[-1]
    salt = bytes(16)
    commitment = merkle.payload_commitment(salt, payload)
    return StoredEvent(last.seq + 1, last.version + 1, "run.imported", last.at, salt, payload, commitment)


@pytest.mark.parametrize("forgery", FORGED)
@pytest.mark.parametrize("which", [0, 1], ids=["first run", "second run"])
def test_a_bundle_with_forged_events_is_refused_whole(
    good: tuple[Path, str, str], tmp_path: Path, forgery: str, which: int
) -> None:
    path, *runs = good
    members = unpacked(path)
    name = f"runs/{runs[which]}/events.jsonl"
    members[name] = event_lines(FORGED[forgery](parse_event_lines(members[name])))
    refused(packed(members, tmp_path / "forged"), tmp_path / "a")


def _manifest(members: Members, change: Callable[[dict[str, Any]], None]) -> Members:
    manifest = json.loads(members[MANIFEST])
    change(manifest)
    return {**members, MANIFEST: (json.dumps(manifest, sort_keys=True, separators=(",", ":")) + "\n").encode()}


def _objects(members: Members) -> list[str]:
    return [name for name in members if name.startswith("objects/")]


def _swap(members: Members) -> Members:
    one, other = _objects(members)[:2]
    return {**members, one: members[other], other: members[one]}


REPACKED: dict[str, Callable[[Members], Members]] = {
    "an object of other bytes": lambda members: {**members, _objects(members)[0]: b"x"},
    "an object of other bytes of the same size": lambda members: {
        **members, _objects(members)[-1]: bytes(len(members[_objects(members)[-1]]))
    },
    "two objects that changed places": _swap,
    "an object too many": lambda members: {**members, f"objects/{digest_bytes(b'more')}": b"more"},
    "an object that is not there": lambda members: {k: v for k, v in members.items() if k != _objects(members)[0]},
    "a folder that is not there": lambda members: {
        k: v for k, v in members.items() if not v.startswith(b"onrecord tree")
    },
    "a snapshot that is not there": lambda members: {
        k: v for k, v in members.items() if not v.startswith(b"onrecord snapshot")
    },
    "lines that are none": lambda members: {
        k: v + b"{}\n" if k.endswith(".jsonl") else v for k, v in members.items()
    },
    "a line that is cut short": lambda members: {k: v[:-9] if k.endswith(".jsonl") else v for k, v in members.items()},
    "lines spelled otherwise": lambda members: {
        k: v.replace(b'{"at":', b'{ "at":') if k.endswith(".jsonl") else v for k, v in members.items()
    },
    "another ledger's name": lambda members: _manifest(
        members, lambda found: found.update(origin="onrecord/" + "0" * 32)
    ),
    "a ledger's name that is a path": lambda members: _manifest(members, lambda found: found.update(origin="../../x")),
    "no runs": lambda members: _manifest(members, lambda found: found.update(runs=[])),
    "a run twice": lambda members: _manifest(members, lambda found: found["runs"].append(found["runs"][0])),
    "a run's name that is a path": lambda members: _manifest(
        members, lambda found: found["runs"][0].update(run_id="../../../../etc/x")
    ),
    "something more in the list": lambda members: _manifest(members, lambda found: found.update(more=1)),
    "a later form": lambda members: _manifest(members, lambda found: found.update(bundle="onrecord/bundle@v2")),
}  # fmt: skip


@pytest.mark.parametrize("forgery", REPACKED)
def test_a_bundle_with_other_contents_is_refused_whole(
    good: tuple[Path, str, str], tmp_path: Path, forgery: str
) -> None:
    members = REPACKED[forgery](unpacked(good[0]))
    refused(packed(members, tmp_path / "forged"), tmp_path / "a")


@pytest.mark.parametrize(
    ("what", "count"),
    [("size", 1 << 62), ("size", 2**63), ("size", -1), ("size", 10**400), ("size", True), ("size", 1.5), ("events", 7)],
)
def test_sizes_that_are_not_so_are_refused_before_anything_is_read(
    good: tuple[Path, str, str], tmp_path: Path, what: str, count: Any
) -> None:
    members = _manifest(unpacked(good[0]), lambda found: found["runs"][0].update({what: count}))
    refused(packed(members, tmp_path / "forged", mend=False), tmp_path / "a")
    if what == "size" and type(count) is int:
        more = _manifest(unpacked(good[0]), lambda found: found["objects"][0].__setitem__(1, count))
        refused(packed(more, tmp_path / "forged", mend=False), tmp_path / "a")


def test_a_list_of_contents_that_is_larger_than_the_file_is_not_read(
    good: tuple[Path, str, str], tmp_path: Path
) -> None:
    info = tarfile.TarInfo(MANIFEST)
    info.size = 1 << 60
    (tmp_path / "forged").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + b"{}")
    assert "longer than the file" in refused(tmp_path / "forged", tmp_path / "a").why


@pytest.mark.parametrize(
    "member",
    [
        ("../outside", tarfile.REGTYPE, ""),
        ("/tmp/outside", tarfile.REGTYPE, ""),
        ("objects/link", tarfile.SYMTYPE, "/etc/passwd"),
        ("objects/link", tarfile.LNKTYPE, "../../../etc/passwd"),
        ("objects/device", tarfile.CHRTYPE, ""),
        ("objects", tarfile.DIRTYPE, ""),
    ],
)
@pytest.mark.parametrize("instead", [True, False], ids=["instead of an object", "behind the last"])
def test_members_of_other_kinds_and_places_are_refused(
    good: tuple[Path, str, str], tmp_path: Path, member: tuple[str, bytes, str], instead: bool
) -> None:
    data = good[0].read_bytes()
    info = tarfile.TarInfo(member[0])
    info.type, info.linkname = member[1], member[2]
    strange = info.tobuf(tarfile.GNU_FORMAT)
    place = data.index(b"objects/", 2048) if instead else len(data) - 1024
    forged = data[:place] + strange + data[place + (512 if instead else 0) :]
    (tmp_path / "forged").write_bytes(forged)
    refused(tmp_path / "forged", tmp_path / "a")
    assert not (tmp_path / "outside").exists()


def test_a_file_that_is_cut_short_anywhere_or_goes_on_is_refused(good: tuple[Path, str, str], tmp_path: Path) -> None:
    data = good[0].read_bytes()
    for length in [0, 1, 511, 512, 513, *range(1000, len(data), 1777), len(data) - 1]:
        (tmp_path / "forged").write_bytes(data[:length])
        refused(tmp_path / "forged", tmp_path / "a")
    for more in (b"\0", bytes(512), b"x", data):
        (tmp_path / "forged").write_bytes(data + more)
        refused(tmp_path / "forged", tmp_path / "a")


def test_a_change_of_any_byte_is_refused(good: tuple[Path, str, str], tmp_path: Path, long_form: bool) -> None:
    data = good[0].read_bytes()
    for place in range(0, len(data), 1 if long_form else 61):
        changed = bytes([data[place] ^ 1])
        (tmp_path / "forged").write_bytes(data[:place] + changed + data[place + 1 :])
        refused(tmp_path / "forged", tmp_path / "a")


def _bomb(kind: str) -> bytes:
    """A chunk of a few hundred kilobytes that unpacks to some hundred megabytes."""
    packer = zlib.compressobj(9)
    column = b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(300)), packer.flush()])
    entry = {"name": "loss", "kind": kind, "count": 1, "sizes": [len(column), 0, 0]}
    text = json.dumps({"series": [entry], "spool": [0, 1], "v": 1}, sort_keys=True, separators=(",", ":")).encode()
    return b"RLM\x01" + len(text).to_bytes(4, "big") + text + column


@pytest.mark.parametrize("kind", ["float64", "json"])
def test_points_that_unpack_to_a_mass_are_refused_whoever_sealed_them(tmp_path: Path, kind: str) -> None:
    a = workspace(tmp_path / "a")
    run = recorded(a)
    a.journal.append(run.id, [Unknown("run.metrics", _bomb(kind))], seal=True)
    export_runs(a, [run.id], tmp_path / "bundle")
    assert "unpack to more" in refused(tmp_path / "bundle", tmp_path / "b").why


def test_many_points_that_pack_well_are_no_mass(tmp_path: Path) -> None:
    a, b = workspace(tmp_path / "a"), workspace(tmp_path / "b")
    run = recorded(a)
    count = 300_000
    series = Series("flat", "float64", [0.5] * count, [None] * count, [7] * count)
    noise = Series("text", "json", [os.urandom(100_000).hex()], [None], [7])
    a.journal.append(run.id, [RunMetrics(series=[series, noise], spool_end=20)], seal=True)
    carried(a, b, tmp_path / "bundle")
    assert b.get_run(run.id).get_metrics("flat")["flat"] == [0.5] * count


def test_a_ledger_that_cannot_be_written_takes_nothing_in(good: tuple[Path, str, str], tmp_path: Path) -> None:
    found = workspace(tmp_path / "a")
    found.close()
    connection = sqlite3.connect(found.layout.ledger)
    connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(NewerLedger):
        import_bundle(found, good[0])
    assert found.journal.size() == 0
    assert not (found.layout.objects / "index.db").exists()


def test_two_who_import_the_same_at_once_take_it_in_once(good: tuple[Path, str, str], tmp_path: Path) -> None:
    found = workspace(tmp_path / "a")
    others = [start("import", str(good[0]), "--json", cwd=found.path) for _ in range(3)]
    done = [json.loads(other.communicate(timeout=100)[0]) for other in others]
    assert sum(one["events"] for one in done) == found.journal.size() == 22
    assert len(found.query.runs()) == 2
    assert verify(found).findings == []


def test_an_import_that_is_killed_anywhere_has_taken_in_whole_runs_and_can_be_repeated(
    good: tuple[Path, str, str], tmp_path: Path, long_form: bool
) -> None:
    step, seen = 1 if long_form else 173, set()
    for line in range(1, 6000, step):
        found = workspace(tmp_path / str(line))
        found.close()
        killed = killed_at(
            line, ("imports.py", "importing.py"), lambda folder=found.path: _import_there(folder, good[0])
        )
        assert found.journal.size() in (0, 11, 22)
        assert verify(found).findings == []
        assert sorted(run_id for part in import_bundle(found, good[0])[1:3] for run_id in part) == list(good[1:])
        assert verify(found).findings == []
        seen.add(killed)
        if not killed:
            break
    assert seen == {True, False}


def _import_there(folder: Path, path: Path) -> None:
    import_bundle(Workspace(folder), path)


@pytest.mark.parametrize("text", [b"", b"no bundle", b"\x1f\x8b\x08" + bytes(2000), b"SQLite format 3\0" + bytes(4000)])
def test_a_file_of_another_kind_is_no_bundle(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "forged").write_bytes(text)
    refused(tmp_path / "forged", tmp_path / "a")


def test_a_file_that_shrinks_while_it_is_read_is_noticed(good: tuple[Path, str, str], tmp_path: Path) -> None:
    (tmp_path / "bundle").write_bytes(good[0].read_bytes())
    with Bundle(tmp_path / "bundle") as bundle:
        name = f"objects/{bundle.manifest.objects[-1][0]}"
        os.truncate(tmp_path / "bundle", 1024)
        with pytest.raises(BadBundle):
            bundle.read(name)
