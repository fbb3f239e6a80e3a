"""A run that goes on from the outputs of another one."""

from __future__ import annotations

from pathlib import Path

import pytest
from face_make import leaves_nothing, onrecord, project, run_to_end, submit

from onrecord import Experiment, PyTorchConfiguration, Run, ScriptRunConfig, Workspace
from onrecord.config_errors import BadConfig
from onrecord.ledger.errors import UnknownRun
from onrecord.resuming import CannotResume, bring_outputs
from onrecord.snapshot.errors import SnapshotError

TRAINS = """
import argparse, os, pathlib
parser = argparse.ArgumentParser()
parser.add_argument("--resume-from", type=pathlib.Path)
parser.add_argument("--epochs", type=int)
known = parser.parse_args()
epoch = int((known.resume_from / "model" / "epoch").read_text()) if known.resume_from else 0
for name in ("ONRECORD_RESUME_FROM", "AZUREML_DATAREFERENCE_MODEL_LOCATION"):
    assert os.environ.get(name) == (str(known.resume_from) if known.resume_from else None)
if known.resume_from:
    (known.resume_from / "model" / "epoch").write_text("spoilt")
    print("resuming from epoch", epoch)
os.makedirs("outputs/model")
pathlib.Path("outputs/model/epoch").write_text(str(epoch + known.epochs))
"""


def trained(folder: Path, source: Run | str | None = None, **options: object) -> Run:
    run = run_to_end(folder, TRAINS, arguments=["--epochs", 2], resume_from=source, **options)
    assert run.status == "Completed", run.workspace.query.run(run.id).error
    return run


def test_a_run_finds_the_outputs_of_the_run_that_it_goes_on_from(tmp_path: Path) -> None:
    first = trained(tmp_path)
    second = trained(tmp_path, first)
    third = trained(tmp_path, "@last")
    assert third.read_file("logs/stdout.txt") == b"resuming from epoch 4\n"
    assert [run.read_file("outputs/model/epoch") for run in (first, second, third)] == [b"2", b"4", b"6"]
    definition = third.get_details()["runDefinition"]
    assert (definition["resume_from"], definition["arguments"]) == (second.id, ["--epochs", "2"])
    # The copy is a working copy: what the script did to it changed no history, and it goes when the run has ended.
    assert first.read_file("outputs/model/epoch") == b"2"
    assert not third.workspace.layout.run(third.id).resumed.exists()
    assert ("settings", "resume_from") in [(fact.group, fact.name) for fact in third.diff(second).facts]


def test_what_was_changed_in_the_other_runs_folder_since_is_not_what_is_resumed(tmp_path: Path) -> None:
    first = trained(tmp_path)
    (first.workspace.layout.run(first.id).work / "outputs/model/epoch").write_text("99")
    assert trained(tmp_path, first.id).read_file("logs/stdout.txt") == b"resuming from epoch 2\n"


def test_a_folder_with_a_dollar_sign_reaches_every_process_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "$RANK"
    folder.mkdir()
    first = trained(folder)
    source = 'import os, sys; print(sys.argv[1], sys.argv[-1] == os.environ["ONRECORD_RESUME_FROM"])\n'
    run = run_to_end(
        folder, source, arguments=["$RANK"], resume_from=first, distributed_job_config=PyTorchConfiguration("gloo", 2)
    )
    assert [run.read_file(f"logs/rank-{rank}.txt") for rank in (0, 1)] == [b"0 True\n", b"1 True\n"]


def test_a_command_has_the_folder_in_its_variables_only(tmp_path: Path) -> None:
    first = trained(tmp_path)
    job = ScriptRunConfig(tmp_path, command='cat "$ONRECORD_RESUME_FROM/model/epoch"; echo " $#"', resume_from=first)
    run = Experiment(first.workspace, "tests").submit(job)
    run.wait_for_completion()
    assert run.read_file("logs/stdout.txt") == b"2 0\n"


def test_a_run_without_outputs_is_refused(tmp_path: Path) -> None:
    empty = run_to_end(tmp_path, "")
    with pytest.raises(CannotResume, match="wrote nothing into outputs/"):
        submit(tmp_path, resume_from=empty)
    with pytest.raises(UnknownRun, match="next: "):
        submit(tmp_path, resume_from="0000000000")
    assert [run.id for run in Experiment(empty.workspace, "tests").get_runs()] == [empty.id]


def test_an_erased_run_and_one_of_another_workspace_are_refused(tmp_path: Path) -> None:
    first = trained(tmp_path / "one")
    with pytest.raises(CannotResume, match="belongs to the workspace"):
        run_to_end(tmp_path / "two", TRAINS, resume_from=first)
    assert leaves_nothing(tmp_path / "two")
    first.erase(files=True)
    with pytest.raises(CannotResume, match="erased"):
        submit(tmp_path / "one", resume_from=first)


@pytest.mark.parametrize("given", [7, "", Path("outputs")])
def test_what_is_no_run_is_refused(tmp_path: Path, given: object) -> None:
    project(tmp_path, {"train.py": ""})
    with pytest.raises(BadConfig, match="a run of the same workspace, or its id"):
        submit(tmp_path, resume_from=given)


def test_outputs_that_were_spoilt_are_an_error_and_not_resumed_from(tmp_path: Path) -> None:
    first = trained(tmp_path)
    objects = first.workspace.layout.objects
    first.workspace.close()
    for path in objects.rglob("*"):
        # Contents, not the index: it alone is a database.
        if path.is_file() and not path.read_bytes().startswith(b"SQLite format 3") and path.stat().st_size:
            path.chmod(0o600)
            path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(SnapshotError, match="next: "):
        bring_outputs(Workspace(tmp_path), first.id, tmp_path / "resumed")


def test_the_command_line_resumes_by_a_runs_name(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": TRAINS})
    assert onrecord("run", "train.py", "--epochs", "3", cwd=tmp_path).returncode == 0
    done = onrecord("run", "--resume-from", "@last", "train.py", "--epochs", "3", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"resuming from epoch 3\n"), done.stderr
    first = list(Workspace(tmp_path).experiments[tmp_path.name].get_runs())[-1]
    assert f"resumed      {first.id}".encode() in onrecord("show", "@last", cwd=tmp_path).stdout
