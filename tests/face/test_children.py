"""Runs that are part of another: of a process's own run, and of a submitted one."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path

import pytest
from face_make import run_to_end, wait_until
from interactive_make import BEGIN, by_hand, companions, ended_runs, is_interactive

from onrecord import Experiment, MpiConfiguration, PyTorchConfiguration, Run, Workspace
from onrecord.interactive_start import RunExists
from onrecord.run_children import BadChildren
from onrecord.script_variables import azure_variables
from onrecord.tag_names import BadTag


@pytest.fixture
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """An open run of this process that keeps no folders."""
    monkeypatch.chdir(tmp_path)
    experiment = Experiment(Workspace.create(tmp_path), "tests")
    return experiment.start_logging(outputs=False, snapshot_directory=None)


def parent_of(run: Run) -> str | None:
    return run._row().parent


def error_of(run: Run) -> str:
    return str(run.get_details()["error"]["message"])


def test_a_child_has_its_own_metrics_files_and_end(parent: Run, tmp_path: Path) -> None:
    with parent.child_run(name="fold", outputs="fold") as child:
        assert (child.status, parent_of(child), child.display_name) == ("Running", parent.id, "fold")
        assert Run.get_context() is parent
        child.log("loss", 0.5)
        (tmp_path / "fold").mkdir()
        (tmp_path / "fold/model").write_text("m")
        grandchild = child.child_run()
        grandchild.complete()
    assert (child.status, child.get_metrics(), parent.get_metrics()) == ("Completed", {"loss": 0.5}, {})
    assert "fold/model" in child.get_file_names()
    assert parent_of(grandchild) == child.id
    with pytest.raises(ValueError, match="bad"), parent.child_run() as failing:
        raise ValueError("bad")
    assert (failing.status, error_of(failing), parent.status) == ("Failed", "ValueError: bad", "Running")
    parent.complete()
    assert parent.status == "Completed"


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (lambda parent: parent.complete(), "Completed"),
        (lambda parent: parent.fail("no more data"), "Failed"),
        (lambda parent: parent.cancel(), "Canceled"),
    ],
)
def test_a_child_that_is_left_open_ends_with_its_parent(parent: Run, end: object, status: str) -> None:
    done, left = parent.create_children(2)
    done.complete()
    inner = left.child_run()
    end(parent)  # type: ignore[operator]
    assert [run.status for run in (parent, done, left, inner)] == [status, "Completed", status, status]
    if status == "Completed":
        assert "nobody ended it" in left.get_warnings()[0]
    elif status == "Failed":
        assert error_of(left) == "its parent failed: no more data"


def test_children_are_made_by_number_or_by_a_tag_and_its_values(parent: Run) -> None:
    assert parent.create_children(0) == parent.create_children(tag_key="a", tag_values=[]) == []
    numbered = parent.create_children(3)
    tagged = parent.create_children(tag_key="alpha", tag_values=[0.1, 0.2])
    assert [run.tags["azureml.batch_child_number"] for run in numbered] == ["0", "1", "2"]
    assert [run.tags["alpha"] for run in tagged] == ["0.1", "0.2"]
    for run in (*numbered, *tagged):
        assert (run.status, parent_of(run)) == ("Running", parent.id)
    for wrong in (
        {},
        {"count": -1},
        {"count": True},
        {"count": 1, "tag_key": "a", "tag_values": [1]},
        {"tag_key": "a"},
        {"tag_values": [1]},
        {"tag_key": "a", "tag_values": "text"},
    ):
        with pytest.raises(BadChildren, match="next: "):
            parent.create_children(**wrong)  # type: ignore[arg-type]
    with pytest.raises(BadTag):
        parent.create_children(tag_key="", tag_values=[1])
    assert len(parent.workspace.query.runs()) == 6
    parent.complete()


def test_many_children_share_one_process_and_no_open_file(parent: Run) -> None:
    wait_until(lambda: len(list(companions(parent.workspace))) == 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    try:
        children = parent.create_children(300)
        assert {run.status for run in children[::50]} == {"Running"}
        for child in children:
            child.log("a", 1)
            child.complete()
        assert len(list(companions(parent.workspace))) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    parent.complete()
    assert parent.workspace.query.unfinished() == []
    assert children[-1].get_metrics() == {"a": 1}


def test_a_child_is_canceled_from_elsewhere_while_its_process_goes_on(parent: Run) -> None:
    child = parent.child_run()
    parent.workspace.get_run(child.id).cancel()
    assert (child.status, parent.status) == ("Canceled", "Running")
    child.complete()
    assert child.status == "Canceled"
    parent.complete()


def test_children_that_cannot_be_are_none(parent: Run) -> None:
    child = parent.child_run()
    before = sorted(path.name for path in parent.workspace.layout.runs.iterdir())
    with pytest.raises(RunExists):
        parent.child_run(run_id=child.id)
    assert sorted(path.name for path in parent.workspace.layout.runs.iterdir()) == before
    parent.complete()


def test_children_of_a_process_that_is_killed_have_failed_as_it_has(tmp_path: Path) -> None:
    code = BEGIN + "run = experiment.start_logging(outputs=False, snapshot_directory=None)\n"
    code += "a, b, c = run.create_children(3)\na.complete()\nb.log('x', 1)\nos.kill(os.getpid(), signal.SIGKILL)\n"
    by_hand(tmp_path, code)
    runs = ended_runs(tmp_path)
    assert [run.status for run in runs] == ["Failed", "Completed", "Failed", "Failed"]
    assert runs[2].get_metrics() == {"x": 1}
    assert "SIGKILL" in error_of(runs[3])


def test_any_run_can_be_given_a_child(parent: Run) -> None:
    parent.complete()
    with parent.workspace.get_run(parent.id).child_run() as late:
        late.log("a", 1)
        assert late.status == "Running"
    assert (late.status, parent_of(late)) == ("Completed", parent.id)


# ---- of a submitted run ------------------------------------------------------------------------------

SUBMITTED = """
import os, sys, time
from onrecord import Run
run = Run.get_context(allow_offline=False)
with run.child_run(name="done") as done:
    done.log("loss", 0.5)
left = run.child_run(name="left", outputs="fold")
os.makedirs("fold")
open("fold/model", "w").write("m")
if os.fork() == 0:
    # Of a process whose end nobody sees.
    run.child_run(name="lost")
    os.kill(os.getpid(), 9)
os.wait()
with Run.get_context() as again:
    pass
"""


@pytest.mark.parametrize(("how", "status"), [("", "Completed"), ("sys.exit(3)", "Failed")])
def test_children_of_a_submitted_run_end_with_its_script(tmp_path: Path, how: str, status: str) -> None:
    run = run_to_end(tmp_path, f"{SUBMITTED}{how}\n")
    children = {child.display_name: child for child in ended_runs(tmp_path) if child != run}
    assert run.status == status
    assert all(is_interactive(child) and parent_of(child) == run.id for child in children.values())
    assert {name: child.status for name, child in children.items()} == {
        "done": "Completed",
        "left": status,
        "lost": "Failed",
    }
    assert children["done"].get_metrics() == {"loss": 0.5}
    assert children["left"].read_file("fold/model") == b"m"
    assert "without saying how" in error_of(children["lost"])
    # No process beside the conductor.
    wait_until(lambda: not list(companions(run.workspace)))
    details = [event.event for event in run.workspace.journal.read(run.id) if event.type == "run.finalizing"]
    assert [getattr(event, "survivors_ended", None) for event in details] == [0]


def test_children_of_a_submitted_run_whose_conductor_is_killed(tmp_path: Path) -> None:
    from face_make import project, submit

    code = SUBMITTED + "open('ready', 'w')\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.01)\n"
    project(tmp_path, {"train.py": code})
    run = submit(tmp_path, arguments=[str(tmp_path / "go")])
    work = run.workspace.layout.run(run.id).work
    wait_until((work / "ready").exists)
    for pid in companions(run.workspace):
        os.kill(pid, 9)
    wait_until(lambda: run.status == "NotResponding")
    (tmp_path / "go").touch()
    runs = ended_runs(tmp_path)
    assert sorted(child.status for child in runs) == ["Completed", "Completed", "Completed", "Failed"]


# ---- what a script finds in its environment -----------------------------------------------------------

TELLS = """
import json, os
print(json.dumps({name: value for name, value in os.environ.items() if name.startswith(("AZUREML", "MLFLOW"))}))
"""


def test_a_script_written_for_azure_ml_finds_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_to_end(tmp_path, TELLS)
    assert json.loads(run.read_file("logs/stdout.txt")) == {
        "AZUREML_RUN_ID": run.id,
        "AZUREML_ARM_PROJECT_NAME": "tests",
        "AZUREML_EXPERIMENT_NAME": "tests",
        "AZUREML_ARM_WORKSPACE_NAME": tmp_path.name,
        "AZUREML_OUTPUT_DIRECTORY": "./outputs",
        "AZUREML_TARGET_TYPE": "local",
        "AZUREML_FRAMEWORK": "Python",
        "AZUREML_COMMUNICATOR": "None",
        "AZUREML_NODE_COUNT": "1",
    }
    job = azure_variables("r", "e", "w", {"distribution": PyTorchConfiguration("Gloo", 2).as_document()})
    assert (job["AZUREML_FRAMEWORK"], job["AZUREML_COMMUNICATOR"]) == ("PyTorch", "Gloo")
    job = azure_variables("r", "e", "w", {"distribution": MpiConfiguration(2).as_document()})
    assert (job["AZUREML_FRAMEWORK"], job["AZUREML_COMMUNICATOR"]) == ("Python", "IntelMpi")
    # Where Azure ML is for real, its own words stand.
    monkeypatch.setenv("AZUREML_RUN_TOKEN", "secret")
    assert azure_variables("r", "e", "w", {}) == {}
