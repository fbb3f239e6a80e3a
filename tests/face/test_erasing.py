"""An erased run leaves nothing of itself in any file of the workspace, and everything of the others."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from face_make import LONG_SECONDS, project, run_to_end, start, submit, wait_until

from onrecord import Run, Workspace
from onrecord.erasure import erase_runs
from onrecord.errors import OnRecordError
from onrecord.ledger.errors import RunNotEnded
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
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if secret in path.name or (path.is_file() and secret.encode() in path.read_bytes())
    )


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


def test_a_file_that_another_run_has_too_stays_until_both_are_erased(tmp_path: Path) -> None:
    first, second = secretive_run(tmp_path), secretive_run(tmp_path)
    assert first.get_snapshot_id() == second.get_snapshot_id()
    first.erase(files=True)
    assert verify(second.workspace).findings == []
    assert second.read_file(f"outputs/{SECRET}") == SECRET.encode()
    second.restore_snapshot(tmp_path / "restored")
    second.erase(files=True)
    assert files_with(second.workspace.layout.root) == []
    second.workspace.close()


def test_runs_that_are_erased_together_are_no_reason_for_one_another_to_keep_a_file(tmp_path: Path) -> None:
    runs = [secretive_run(tmp_path), secretive_run(tmp_path)]
    done = erase_runs(runs[0].workspace, [run.id for run in runs], files=True)
    assert all(done.events.values())
    assert done.objects > 4
    assert files_with(tmp_path / ".onrecord") == []


def test_the_source_can_be_submitted_again_after_its_run_was_erased(tmp_path: Path) -> None:
    first = run_to_end(tmp_path, PLAIN)
    first.erase(files=True)
    second = submit(tmp_path)
    second.wait_for_completion()
    assert verify(second.workspace).findings == []
    assert second.read_file("outputs/shared.txt").startswith(b"the same")


def test_a_run_that_has_not_ended_is_refused_and_nothing_of_the_others_is_erased(tmp_path: Path) -> None:
    ended = run_to_end(tmp_path, PLAIN)
    project(tmp_path, {"train.py": "import time\ntime.sleep(100)\n"})
    living = submit(tmp_path)
    with pytest.raises(RunNotEnded):
        erase_runs(ended.workspace, [ended.id, living.id], files=True)
    assert ended.get_file_names()
    living.cancel()
    living.wait_for_completion()
    living.erase(files=True)
    assert living.status == "Canceled"


def test_erasing_again_does_nothing_more_and_says_which_files_can_not_be_found(tmp_path: Path) -> None:
    run = run_to_end(tmp_path, PLAIN)
    run.erase()
    again = erase_runs(run.workspace, [run.id], files=True)
    assert again.events == {run.id: 0}
    assert "not known any more" in again.problems[0]
    twice = secretive_run(tmp_path)
    twice.erase(files=True)
    assert erase_runs(run.workspace, [twice.id], files=True).problems == []


def test_an_erasure_that_was_killed_on_the_way_is_finished_by_the_next_one(tmp_path: Path) -> None:
    other, run = run_to_end(tmp_path, PLAIN), secretive_run(tmp_path)
    workspace = run.workspace
    program = f"""
import os, sys
from onrecord import Workspace
from onrecord.snapshot.store import Store
def die(*arguments): os._exit(9)
Store.remove = die
Workspace({str(tmp_path)!r}).get_run({run.id!r}).erase(files=True)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 9
    assert workspace.query.run(run.id).erased
    assert list(workspace.layout.erasing.iterdir())
    assert files_with(workspace.layout.root)
    other.erase()
    assert list(workspace.layout.erasing.iterdir()) == []
    assert files_with(workspace.layout.root) == []
    assert verify(workspace).findings == []


def test_an_erasure_that_was_killed_before_it_began_takes_nothing(tmp_path: Path) -> None:
    run = run_to_end(tmp_path, PLAIN)
    workspace = run.workspace
    workspace.layout.erasing.mkdir()
    digests = [row.digest for row in workspace.query.files(run.id)]
    (workspace.layout.erasing / "a.json").write_text(json.dumps({"objects": digests, "runs": [run.id]}))
    (workspace.layout.erasing / "b.json").write_text('{"objec')
    other = run_to_end(tmp_path, PLAIN)
    other.erase()
    assert list(workspace.layout.erasing.iterdir()) == []
    assert run.read_file("outputs/shared.txt").startswith(b"the same")
    assert workspace.layout.run(run.id).path.exists()


def test_a_damaged_neighbour_stops_the_erasure_of_files_before_anything_has_gone(tmp_path: Path) -> None:
    project(tmp_path, {"other.py": PLAIN})
    neighbour = submit(tmp_path, "other.py")
    neighbour.wait_for_completion()
    run = secretive_run(tmp_path)
    workspace = run.workspace
    with workspace.store.in_use(alone=True):
        workspace.store.remove([str(neighbour.get_snapshot_id())])
    with pytest.raises(OnRecordError):
        run.erase(files=True)
    assert not workspace.query.run(run.id).erased
    assert run.read_file(f"outputs/{SECRET}") == SECRET.encode()


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
