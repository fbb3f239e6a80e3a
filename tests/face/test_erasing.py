"""An erased run leaves nothing of itself in any file of the workspace, and everything of the others."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from face_make import LONG_SECONDS, project, run_to_end, start, submit, wait_until
from recorded_make import killed_at, recorded, workspace

from onrecord import Run, Workspace
from onrecord.conductor_process import take_lock
from onrecord.erasure import erase_runs
from onrecord.errors import OnRecordError
from onrecord.ledger.errors import ErasureUnfinished, RunNotEnded
from onrecord.verification import verify

SECRET = "s3cr3t-horse-battery"  # noqa: S105
SCRIPT = f"""
# {SECRET} in the source
import pathlib, sys
import onrecord
run = onrecord.Run.get_context()
run.log("metric-" + sys.argv[1], 0.5)
run.log("text", sys.argv[1])
pathlib.Path("outputs/weights.bin").write_text(sys.argv[1] * 300_000)
pathlib.Path("outputs/" + sys.argv[1]).write_text(sys.argv[1])
pathlib.Path("outputs/shared.txt").write_text("the same in every run" * 20)
pathlib.Path("left-behind.txt").write_text(sys.argv[1])
print("a line with", sys.argv[1])
raise ValueError(sys.argv[1])
"""
PLAIN = """
import pathlib
pathlib.Path("outputs/shared.txt").write_text("the same in every run" * 20)
"""


def files_with(folder: Path, secret: str = SECRET) -> list[str]:
    # In a process of its own: opening and closing the ledger here would drop the locks that SQLite holds for us.
    said = subprocess.run(["grep", "-rlaF", "-e", secret, folder], capture_output=True, text=True, check=False)
    assert said.returncode in (0, 1), said.stderr
    found = {Path(line) for line in said.stdout.splitlines()}
    found |= {path for path in folder.rglob("*") if secret in path.name}
    return sorted(str(path.relative_to(folder)) for path in found)


def secretive_run(folder: Path) -> Run:
    (folder / "secret").mkdir(parents=True, exist_ok=True)
    project(folder / "secret", {"train.py": SCRIPT, f"{SECRET}.txt": SECRET, "shared.cfg": "shared = 1\n" * 20})
    from onrecord import Experiment, ScriptRunConfig

    workspace = Workspace.create(folder, exist_ok=True)
    config = ScriptRunConfig(folder / "secret", "train.py", arguments=[SECRET])
    run = Experiment(workspace, "tests").submit(config, tags={f"tag-{SECRET}": SECRET})
    run.wait_for_completion(raise_on_error=False)
    run.tag("later", SECRET)
    run.add_properties({f"property-{SECRET}": SECRET})
    assert run.get_metrics()[f"metric-{SECRET}"] == 0.5
    return run


def test_with_its_files_no_byte_of_an_erased_run_is_left(tmp_path: Path) -> None:
    plain = run_to_end(tmp_path, PLAIN)
    run = secretive_run(tmp_path)
    workspace = run.workspace
    assert len(files_with(workspace.layout.root)) > 5
    run.erase(files=True, reason="a token was in it")
    workspace.close()
    assert files_with(workspace.layout.root) == []
    assert not workspace.layout.run(run.id).path.exists()
    assert verify(workspace).findings == []
    assert plain.read_file("outputs/shared.txt") == b"the same in every run" * 20
    assert run.status == "Failed"
    assert run.get_file_names() == []
    assert run.get_metrics() == run.get_tags() == run.get_properties() == {}
    workspace.journal.rebuild()
    assert verify(workspace).findings == []


def test_without_its_files_only_the_files_are_left(tmp_path: Path) -> None:
    run = secretive_run(tmp_path)
    root = run.workspace.layout.root
    run.erase()
    left = files_with(root)
    folder = f"runs/{run.id}/"
    assert [
        name for name in left if not name.startswith(("objects/", f"{folder}work", f"{folder}logs", "cache/"))
    ] == []
    assert any(name.startswith("objects/") for name in left)
    assert run.get_metrics() == {}
    assert verify(run.workspace).findings == []


SHARED = {"outputs/shared.txt": b"the same in every run" * 20}


def with_secret(found: Workspace) -> Run:
    """A run with the secret in its files and in its source, and with a file that the others have too."""
    files = {**SHARED, f"outputs/{SECRET}": SECRET.encode() * 9, "outputs/large": SECRET.encode() * 300_000}
    return recorded(found, files=files, source={f"{SECRET}.py": SECRET.encode(), "shared.cfg": b"shared = 1"})


def left_of(found: Workspace) -> list[str]:
    """What holds the secret, but for the source folder itself."""
    return files_with(found.layout.root)


def test_a_file_that_another_run_has_too_stays_until_both_are_erased(tmp_path: Path) -> None:
    found = workspace(tmp_path / "a")
    first, second = with_secret(found), with_secret(found)
    assert first.get_snapshot_id() == second.get_snapshot_id()
    first.erase(files=True)
    assert verify(found).findings == []
    assert second.read_file(f"outputs/{SECRET}") == SECRET.encode() * 9
    second.restore_snapshot(tmp_path / "restored")
    second.erase(files=True)
    assert left_of(found) == []


def test_runs_that_are_erased_together_are_no_reason_for_one_another_to_keep_a_file(tmp_path: Path) -> None:
    found = workspace(tmp_path / "a")
    runs = [with_secret(found).id for _ in range(3)]
    done = erase_runs(found, runs, files=True)
    assert list(done.events) == runs
    assert all(done.events.values())
    assert done.objects > 4
    assert left_of(found) == []


def test_the_source_can_be_submitted_again_after_its_run_was_erased(tmp_path: Path) -> None:
    first = run_to_end(tmp_path, PLAIN)
    first.erase(files=True)
    second = submit(tmp_path)
    second.wait_for_completion()
    assert verify(second.workspace).findings == []
    assert second.read_file("outputs/shared.txt").startswith(b"the same")


def test_a_run_that_has_not_ended_is_refused_and_nothing_of_the_others_is_erased(tmp_path: Path) -> None:
    found = workspace(tmp_path / "a")
    ended = with_secret(found)
    project(found.path, {"train.py": "import time\ntime.sleep(100)\n"})
    living = submit(found.path)
    with pytest.raises(RunNotEnded):
        erase_runs(found, [ended.id, living.id], files=True)
    assert ended.get_file_names()
    living.cancel()
    living.wait_for_completion()
    living.erase(files=True)
    assert living.status == "Canceled"


def test_erasing_again_does_nothing_more_and_says_which_files_can_not_be_found(tmp_path: Path) -> None:
    found = workspace(tmp_path / "a")
    run, twice = with_secret(found), with_secret(found)
    run.erase()
    again = erase_runs(found, [run.id], files=True)
    assert again.events == {run.id: 0}
    assert "not known any more" in again.problems[0]
    twice.erase(files=True)
    assert erase_runs(found, [twice.id], files=True).problems == []


def test_an_erasure_that_was_killed_on_the_way_is_finished_by_the_next_one(tmp_path: Path, long_form: bool) -> None:
    outcomes, line = set(), 1
    while True:
        found = workspace(tmp_path / str(line))
        other, run = recorded(found, files=SHARED), with_secret(found)
        found.close()
        files = ("onrecord/erasure.py", "ledger/erasure.py", "snapshot/gc.py")
        killed = killed_at(line, files, partial(_erase_there, found.path, run.id))
        erased = found.query.run(run.id).erased
        outcomes.add((killed, erased))
        if erased:
            other.erase()
            assert left_of(found) == []
        else:
            assert run.read_file("outputs/large") == SECRET.encode() * 300_000
            run.erase(files=True)
            assert left_of(found) == []
            assert other.read_file("outputs/shared.txt") == SHARED["outputs/shared.txt"]
        assert list(found.layout.erasing.iterdir()) == []
        assert verify(found).findings == []
        if not killed:
            break
        line += 1 if long_form else 43
    assert outcomes == {(True, False), (True, True), (False, True)}


def _erase_there(folder: Path, run_id: str) -> None:
    Workspace(folder).get_run(run_id).erase(files=True)


def test_a_task_that_was_written_in_part_or_never_begun_takes_nothing(tmp_path: Path) -> None:
    found = workspace(tmp_path / "a")
    run, other = recorded(found, files=SHARED), with_secret(found)
    found.layout.erasing.mkdir()
    digests = [row.digest for row in found.query.files(run.id)]
    (found.layout.erasing / "a.json").write_text(json.dumps({"objects": digests, "runs": [run.id]}))
    (found.layout.erasing / "b.json").write_text('{"objec')
    found.layout.run(run.id).path.mkdir()
    other.erase()
    assert list(found.layout.erasing.iterdir()) == []
    assert run.read_file("outputs/shared.txt") == SHARED["outputs/shared.txt"]
    assert found.layout.run(run.id).path.exists()


def test_a_damaged_neighbour_stops_the_erasure_of_files_before_anything_has_gone(tmp_path: Path) -> None:
    found = workspace(tmp_path / "a")
    neighbour, run = recorded(found), with_secret(found)
    with found.store.in_use(alone=True):
        found.store.remove([str(neighbour.get_snapshot_id())])
    with pytest.raises(OnRecordError):
        run.erase(files=True)
    assert not found.query.run(run.id).erased
    assert run.read_file(f"outputs/{SECRET}") == SECRET.encode() * 9


def test_what_a_damaged_source_hides_is_said(tmp_path: Path) -> None:
    found = workspace(tmp_path / "a")
    run = with_secret(found)
    with found.store.in_use(alone=True):
        found.store.remove([str(run.get_snapshot_id())])
    done = erase_runs(found, [run.id], files=True)
    assert "parts may be left" in done.problems[0]
    assert found.query.run(run.id).erased


def test_a_conductor_that_is_still_at_work_is_waited_for_and_then_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = workspace(tmp_path / "a")
    run = recorded(found)
    monkeypatch.setattr("onrecord.erasure._CONDUCTOR_SECONDS", 0.1)
    lock = take_lock(found.layout.run(run.id).lock)
    assert lock is not None
    with pytest.raises(RunNotEnded) as refusal:
        run.erase()
    assert "conductor" in refusal.value.what
    os.close(lock)
    run.erase()


def test_a_file_system_reader_in_the_way_is_said_and_the_command_can_be_repeated(tmp_path: Path) -> None:
    found = workspace(tmp_path / "a")
    run = with_secret(found)
    reader = sqlite3.connect(found.layout.ledger, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM events").fetchone()
    with pytest.raises(ErasureUnfinished):
        erase_runs(found, [run.id], files=True, wait_seconds=0.1)
    assert found.query.run(run.id).erased
    reader.close()
    erase_runs(found, [run.id], files=True)
    assert left_of(found) == []


def test_folders_that_a_script_made_unwritable_go_too(tmp_path: Path) -> None:
    run = run_to_end(tmp_path, "import os\nos.makedirs('outputs/a/b')\nos.chmod('outputs/a', 0o500)\n")
    run.erase(files=True)
    assert not run.workspace.layout.run(run.id).path.exists()


def test_submissions_beside_erasures_of_the_same_files_lose_none_of_theirs(tmp_path: Path) -> None:
    runs: list[Any] = [run_to_end(tmp_path, PLAIN) for _ in range(3)]
    workspace = runs[0].workspace
    others = [start("run", "-e", "beside", "train.py", cwd=tmp_path) for _ in range(3)]
    for run in runs:
        run.erase(files=True)
    for other in others:
        assert other.wait(LONG_SECONDS) == 0, other.communicate()
        other.communicate()
    assert wait_until(lambda: not workspace.query.unfinished())
    assert verify(workspace).findings == []
    assert len(workspace.query.runs(experiment="beside")) == 3
