"""`Run.get_context()` in a script that was started by hand: a real run in a workspace, one until the end elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from face_make import project
from interactive_make import by_hand, ended_run, ended_runs, outside_of_tests

from onrecord import Run, Workspace
from onrecord.offline_run import OfflineRun
from onrecord.run_errors import NotInARun

CONTEXT = "import os, sys\nfrom onrecord import Run\nrun = Run.get_context()\n"
LOGS = CONTEXT + "run.log('loss', 0.5)\nos.makedirs('outputs', exist_ok=True)\nopen('outputs/m', 'w').write('m')\n"


def left_over() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("onrecord-until-exit-*"))


def test_a_script_in_a_workspace_is_a_run_from_the_first_thing_that_it_logs(tmp_path: Path) -> None:
    Workspace.create(tmp_path)
    code = "print(run.id, run.status, Run.get_context() is run)\nassert not run.workspace.query.unfinished()[1:]\n"
    done = by_hand(tmp_path, LOGS + code + "sys.exit(3)")
    run = ended_run(tmp_path)
    assert done.stdout == f"{run.id} Running True\n"
    assert done.stderr.count(run.id) == 1
    assert (run.status, run.get_details()["exitCode"], run.get_metrics()) == ("Failed", 3, {"loss": 0.5})
    assert run.read_file("outputs/m") == b"m"
    assert run._row().experiment == tmp_path.name
    assert run.get_snapshot_id() is not None


def test_a_script_that_records_nothing_leaves_nothing(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path)
    code = CONTEXT + "print(run.status, run.has_ended(), run.experiment.name, len(run.id))\nrun.complete()\n"
    done = by_hand(tmp_path, code + "with Run.get_context(): pass\nrepr(run), hash(run), run == run\n")
    assert (done.stdout, done.stderr) == (f"Running False {tmp_path.name} 26\n", "")
    assert workspace.query.runs() == []


def test_a_block_or_a_method_ends_a_run_by_hand(tmp_path: Path) -> None:
    Workspace.create(tmp_path)
    by_hand(tmp_path, CONTEXT + "with run:\n    run.log('a', 1)\n    raise ValueError('bad')\n")
    by_hand(tmp_path, CONTEXT + "run.fail('no data')\n")
    runs = ended_runs(tmp_path)
    assert [run.get_details()["error"]["message"] for run in runs] == ["ValueError: bad", "no data"]


WHOLE = """
run.log('loss', 0.5)
run.tag('a', 'b')
run.add_properties({'p': 1})
child = run.child_run('child')
child.log('x', 1)
child.complete()
children = run.create_children(2)
print(run.get_metrics(), run.tags, run.properties, child.status, len(children), run.get_details()['status'])
print(run.number, run.display_name, run.experiment.name, run.get_file_names(), run.get_snapshot_id())
run.complete()
print(run.status, {one.status for one in children})
"""


def test_a_run_without_a_workspace_is_a_whole_run_until_the_process_ends(tmp_path: Path) -> None:
    before = left_over()
    done = by_hand(tmp_path, CONTEXT + WHOLE + "if os.fork() == 0: sys.exit(0)\nos.wait()\nprint(run.tags)\n")
    name = tmp_path.name
    assert done.stdout.splitlines() == [
        "{'loss': 0.5} {'a': 'b'} {'p': '1'} Completed 2 Running",
        f"1 {name}_1 {name} [] None",
        "Completed {'Completed'}",
        "{'a': 'b'}",
    ]
    assert done.stderr.count("onrecord: not inside a run") == 1
    assert "onrecord init" in done.stderr
    assert "onrecord run train.py" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train.py"]
    assert left_over() <= before


@pytest.mark.parametrize(
    ("chosen", "recorded", "said"),
    [("memory", 0, "not inside a run"), ("off", 0, ""), ("record", 1, "recorded as run"), ("of", 1, "is none of")],
)
def test_a_variable_chooses(tmp_path: Path, chosen: str, recorded: int, said: str) -> None:
    Workspace.create(tmp_path)
    done = by_hand(tmp_path, LOGS, ONRECORD_OFFLINE=chosen)
    assert len(ended_runs(tmp_path)) == recorded
    assert said in done.stderr if said else done.stderr == ""


@pytest.mark.parametrize(
    ("words", "more"),
    [
        (["-c", LOGS], {}),
        pytest.param(["-i", "-c", LOGS], {}, marks=pytest.mark.long),
        (["-m", "unittest", "train"], {}),
        (["train.py"], {"PYTEST_CURRENT_TEST": "a test"}),
    ],
)
def test_a_repl_and_a_test_fill_no_history(tmp_path: Path, words: list[str], more: dict[str, str]) -> None:
    workspace = Workspace.create(project(tmp_path, {"train.py": LOGS}))
    done = subprocess.run(
        [sys.executable, *words],
        cwd=tmp_path,
        env={**outside_of_tests(), **more},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "not inside a run" in done.stderr
    assert workspace.query.runs() == []


def test_a_workspace_that_cannot_be_used_stops_no_training(tmp_path: Path) -> None:
    Workspace.create(tmp_path)
    (tmp_path / ".onrecord/ledger.db").unlink()
    (tmp_path / ".onrecord/ledger.db").mkdir()
    done = by_hand(tmp_path, LOGS + "print(run.get_metrics())\n")
    assert done.stdout == "{'loss': 0.5}\n", done.stderr
    assert "until this process ends" in done.stderr


def test_no_place_at_all_stops_no_training_either(tmp_path: Path) -> None:
    code = CONTEXT + "import tempfile\ndef refuse(**_): raise OSError('full')\ntempfile.mkdtemp = refuse\n"
    done = by_hand(tmp_path, code + "for step in range(3): run.log('loss', step)\nprint('trained')\nrun.tags\n")
    assert done.stdout == "trained\n"
    assert done.stderr.count("nothing that this script logs is kept") == 1
    assert "there is no place for what this script logs" in done.stderr


def test_a_source_that_is_too_large_to_wait_for_is_not_snapshotted(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path)
    with (tmp_path / "data.bin").open("wb") as file:
        file.truncate(120 << 20)
    by_hand(tmp_path, LOGS)
    run = ended_run(tmp_path)
    assert (run.status, run.get_snapshot_id()) == ("Completed", None)
    assert workspace.query.config(run.id)["offline"] is True


def test_what_a_killed_script_leaves_outside_of_a_workspace_is_swept(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    (tmp_path / "here").mkdir()
    temporary.mkdir()
    by_hand(tmp_path / "here", LOGS + "os.kill(os.getpid(), 9)\n", TMPDIR=str(temporary))
    (leftover,) = temporary.iterdir()
    os.utime(leftover, (1, 1))
    by_hand(tmp_path / "here", LOGS, TMPDIR=str(temporary))
    assert list(temporary.iterdir()) == []


def test_asking_costs_little_and_imports_nothing_of_the_ledgers_files(tmp_path: Path) -> None:
    Workspace.create(tmp_path)
    done = by_hand(
        tmp_path, CONTEXT + "print([name for name in ('sqlite3', 'attr', 'subprocess') if name in sys.modules])"
    )
    assert done.stdout == "[]\n"


def test_here_it_is_a_run_of_a_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Workspace.create(tmp_path)
    run = Run.get_context()
    assert isinstance(run, OfflineRun)
    with pytest.raises(AttributeError):
        run.no_such_thing  # noqa: B018
    with pytest.raises(NotInARun, match="onrecord run"):
        Run.get_context(allow_offline=False)
