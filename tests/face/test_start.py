"""What stands between a submit and the first line of the script."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from face_make import project

from onrecord import Run, ScriptRunConfig, Workspace
from onrecord.ledger.events import CancelRequested, RunPreparing, RunSubmitted
from onrecord.ledger.ids import encode, new_id
from onrecord.submission import snapshot_of

# A run's first conductor, which writes down what it has imported at the moment it starts a supervisor.
CONDUCTOR = """
import sys; sys.path[:] = sys.argv.pop(1).splitlines()
import os
def look(event, arguments):
    if event == "os.posix_spawn":
        with open(sys.argv[1], "w") as file:
            file.write("\\n".join(sys.modules))
sys.addaudithook(look)
from pathlib import Path
from onrecord.conductor import main
from onrecord.conductor_process import FIRST, take_lock
word, speak = os.pipe()
os.write(speak, sys.argv.pop().encode())
os.close(speak)
_, answer = os.pipe()
lock = take_lock(Path(sys.argv[2], "runs", sys.argv[3], "conductor.lock"))
sys.exit(main([sys.argv[2], sys.argv[3], FIRST, str(word), str(answer), str(lock)]))
"""
LATER = ("onrecord.ledger.events", "onrecord.ledger.append", "onrecord.capture", "subprocess", "hashlib")


def recorded(folder: Path, *more: CancelRequested, **config: str) -> Run:
    """A run as submit() puts it on record, whose conductor is still to come."""
    workspace = Workspace.create(folder)
    source = project(folder / "source", {"train.py": "print('here')\n"})
    run_id = encode(new_id(time.time_ns() // 1_000_000, os.urandom(10)))
    submitted = RunSubmitted(
        experiment="tests",
        config={**ScriptRunConfig(source, "train.py").checked().as_document(), **config},
        snapshot_id=snapshot_of(workspace, source).snapshot_id,
    )
    workspace.journal.append(run_id, [submitted, RunPreparing(), *more])
    return Run(workspace, run_id)


def conduct(run: Run, modules: Path, word: str = "g", code: int = 0) -> subprocess.CompletedProcess[bytes]:
    """What submit() starts, to its end; no `word` comes from a submitter that has died."""
    path = "\n".join(name for name in sys.path if name)
    words = [str(modules), str(run.workspace.layout.root), run.id, word]
    done = subprocess.run([sys.executable, "-I", "-S", "-c", CONDUCTOR, path, *words], capture_output=True, check=False)
    assert done.returncode == code, done.stderr
    return done


def test_a_conductor_imports_no_attrs_on_the_way_to_the_start_of_the_script(tmp_path: Path) -> None:
    run, modules = recorded(tmp_path), tmp_path / "modules"
    conduct(run, modules)
    loaded = set(modules.read_text().splitlines())
    assert "onrecord.executors.local" in loaded
    assert [name for name in loaded if name.partition(".")[0] in ("attr", "attrs") or name in LATER] == []
    # Nothing of environments that are built either.
    assert [name for name in loaded if "environment" in name and name != "onrecord.script_environment"] == []
    assert run.status == "Completed"
    assert run.read_file("logs/stdout.txt") == b"here\n"


def test_a_conductor_has_nothing_to_append_before_the_start(tmp_path: Path) -> None:
    run = recorded(tmp_path)
    conduct(run, tmp_path / "modules")
    types = [event.type for event in run.workspace.journal.read(run.id)]
    assert types[:3] == ["run.submitted", "run.preparing", "run.running"]
    assert types.count("run.preparing") == 1


def test_a_conductor_whose_submitter_died_conducts_what_is_on_record(tmp_path: Path) -> None:
    run = recorded(tmp_path)
    conduct(run, tmp_path / "modules", word="")
    assert run.status == "Completed"
    assert [event.type for event in run.workspace.journal.read(run.id)].count("run.preparing") == 1


def test_a_run_that_is_canceled_before_its_first_conductor_looks_never_starts(tmp_path: Path) -> None:
    run = recorded(tmp_path, CancelRequested())
    conduct(run, tmp_path / "modules")
    assert run.status == "Canceled"
    assert not (tmp_path / "modules").exists()
    assert not run.workspace.layout.run(run.id).work.exists()


def test_a_start_that_fails_is_the_end_of_the_run(tmp_path: Path) -> None:
    run = recorded(tmp_path)
    # Where the working copy is to come, something stands that cannot be moved away as a folder is.
    run.workspace.layout.run(run.id).path.mkdir(parents=True)
    run.workspace.layout.run(run.id).work.write_text("in the way")
    conduct(run, tmp_path / "modules")
    assert run.status == "Failed"
    error = run.get_details()["error"]
    assert error["code"] == "PreparationFailed"
    assert "\n" not in error["message"]


def test_a_target_that_is_gone_since_the_submit_is_the_end_of_the_run(tmp_path: Path) -> None:
    run = recorded(tmp_path, target="uninstalled")
    done = conduct(run, tmp_path / "modules", code=1)
    assert b"UnknownTarget" in done.stderr
    assert run.status == "Failed"
    assert "uninstalled" in run.get_details()["error"]["details"]
