"""Runs whose logs are kept by their growth travel, are erased and verified like all others."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from recorded_make import recorded, workspace
from test_bundle import MANIFEST, carried, packed, unpacked

from onrecord import Run, Workspace
from onrecord.bundle import BadBundle
from onrecord.capture import Capture
from onrecord.exporting import export_runs
from onrecord.importing import import_bundle
from onrecord.ledger.events import RunCompleted
from onrecord.verification import verify

LOOKS = 30
PIECES = [os.urandom(4_000) for _ in range(LOOKS)]
LOG = b"".join(PIECES)


def with_log(found: Workspace, pieces: list[bytes]) -> Run:
    """A run that has ended, and whose log was looked at after each of some pieces."""
    run = recorded(found, end=False)
    outputs = found.layout.run(run.id).work / "outputs"
    outputs.mkdir(parents=True)
    capture = Capture(outputs.parent, found.store, lambda events: found.journal.append(run.id, events))
    for piece in pieces:
        with (outputs / "train.log").open("ab") as file:
            file.write(piece)
        capture.look(final=True)
    found.journal.append(run.id, [RunCompleted()], seal=True)
    return run


def states(run: Run) -> list[bytes]:
    return [run.read_file("outputs/train.log", version=row.version) for row in run.file_versions("outputs/train.log")]


EXPECTED = [LOG[: 4_000 * number] for number in range(1, LOOKS + 1)]


@pytest.fixture
def origin(tmp_path: Path) -> Workspace:
    return workspace(tmp_path / "a")


def test_a_log_travels_with_all_its_states_in_little_more_than_its_size(origin: Workspace, tmp_path: Path) -> None:
    run, b, c = with_log(origin, PIECES), workspace(tmp_path / "b"), workspace(tmp_path / "c")
    carried(origin, b, tmp_path / "one")
    assert (tmp_path / "one").stat().st_size < 2 * len(LOG)
    carried(b, c, tmp_path / "two")
    for found in (b, c):
        assert states(found.get_run(run.id)) == EXPECTED
        assert verify(found).findings == []
        assert len(found.store.in_parts()) == LOOKS - 1


def test_what_is_here_as_a_whole_needs_no_parts(origin: Workspace, tmp_path: Path) -> None:
    run, b = with_log(origin, PIECES), workspace(tmp_path / "b")
    b.store.put_bytes(LOG)
    carried(origin, b, tmp_path / "one")
    assert states(b.get_run(run.id)) == EXPECTED
    assert verify(b).findings == []


def _bomb(found: dict[str, Any]) -> None:
    (digest, size), grown = found["objects"][0], []
    for _ in range(40):
        grown.append([os.urandom(32).hex(), 2 * size, [[digest, size], [digest, size]]])
        digest, size = grown[-1][0], 2 * size
    found["grown"] = sorted(grown)


def _longer(found: dict[str, Any]) -> None:
    found["grown"][3][1] += 1


def _other_parts(found: dict[str, Any]) -> None:
    *_, parts = max(found["grown"], key=lambda entry: len(entry[2]))
    parts[1], parts[2] = parts[2], parts[1]


def _unknown_part(found: dict[str, Any]) -> None:
    found["grown"][0][2][0][0] = "00" * 32


def _left_out(found: dict[str, Any]) -> None:
    del found["grown"][5]


def _too_many(found: dict[str, Any]) -> None:
    (one, size), (other, more) = found["objects"][:2]
    found["grown"] = sorted([*found["grown"], ["ab" * 32, size + more, [[one, size], [other, more]]]])


@pytest.mark.parametrize("change", [_bomb, _longer, _other_parts, _unknown_part, _left_out, _too_many])
def test_parts_that_do_not_make_what_they_should_are_refused(
    origin: Workspace, tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    run = with_log(origin, PIECES)
    export_runs(origin, [run.id], tmp_path / "good")
    members = unpacked(tmp_path / "good")
    manifest = json.loads(members[MANIFEST])
    change(manifest)
    members[MANIFEST] = (json.dumps(manifest, sort_keys=True, separators=(",", ":")) + "\n").encode()
    packed(members, tmp_path / "bad", mend=False)
    target = workspace(tmp_path / "b")
    with pytest.raises(BadBundle):
        import_bundle(target, tmp_path / "bad")
    assert target.query.runs() == []


def test_an_erased_log_leaves_no_byte_and_what_another_run_shares_stays(origin: Workspace) -> None:
    run = with_log(origin, PIECES)
    other = with_log(origin, PIECES[:10])
    run.erase(files=True)
    assert states(other) == EXPECTED[:10]
    assert verify(origin).findings == []
    kept = [path.read_bytes() for path in (origin.layout.objects / "packs").iterdir()]
    assert not any(PIECES[20] in data for data in kept)
    other.erase(files=True)
    kept = [path.read_bytes() for path in (origin.layout.objects / "packs").iterdir()]
    assert not any(piece in data for data in kept for piece in PIECES)
    assert origin.store.in_parts() == []
