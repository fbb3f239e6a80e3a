"""Runs that are started from runs: by whom they are conducted, how they are listed, and what their ends mean."""

from __future__ import annotations

import os
import pickle
import signal
from pathlib import Path

import pytest
from face_make import git, project, repository, wait_until

from onrecord import Experiment, Run, RunFailedError, ScriptRunConfig, Workspace
from onrecord.conductor_process import is_conducted
from onrecord.ledger.errors import UnknownRun
from onrecord.outer_run import outer_run
from onrecord.run_errors import ParentCanceled
from onrecord.run_listing import BadListing

# Ends with the exit code of its first argument, once the file of the second one is there.
CHILD = """
import pathlib, sys, time
while len(sys.argv) > 2 and not pathlib.Path(sys.argv[2]).exists(): time.sleep(0.01)
sys.exit(int(sys.argv[1]))
"""
# Submits a child for each argument; the text of an argument is that of the child's, separated by commas.
PARENT = """
import sys
from onrecord import Run, ScriptRunConfig
run = Run.get_context()
for text in sys.argv[1:]:
    run.submit_child(ScriptRunConfig(".", "child.py", text.split(",")), tags={"text": text})
"""


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    project(tmp_path, {"child.py": CHILD, "parent.py": PARENT})
    return Experiment(Workspace.create(tmp_path), "tests")


def child_config(experiment: Experiment, *arguments: object) -> ScriptRunConfig:
    return ScriptRunConfig(experiment.workspace.path, "child.py", arguments)


def parent_of(experiment: Experiment, *arguments: str, **options: bool) -> Run:
    return experiment.submit(ScriptRunConfig(experiment.workspace.path, "parent.py", arguments), **options)  # type: ignore[arg-type]


def ended(run: Run) -> Run:
    run.wait_for_completion(raise_on_error=False)
    return run


# ---- who conducts them ---------------------------------------------------------------------------


def test_a_child_that_a_script_submits_goes_on_when_the_script_has_ended(
    experiment: Experiment, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    parent = ended(parent_of(experiment, f"0,{mark}"))
    assert parent.status == "Completed"
    [child] = parent.get_children()
    wait_until(lambda: child.status == "Running")
    assert parent.get_warnings() == [f"its only child had not ended when it did: {child.id} (tests_2)"]
    mark.touch()
    assert ended(child).status == "Completed"
    assert (child.parent, parent.parent, child.tags) == (parent, None, {"text": f"0,{mark}"})
    assert child.get_snapshot_id() == parent.get_snapshot_id()


def test_a_script_waits_for_its_child_and_sees_its_end(experiment: Experiment) -> None:
    project(experiment.workspace.path, {"parent.py": PARENT + "for kid in run.get_children():\n"
            "    print(kid.wait_for_completion(raise_on_error=False)['status'], kid.parent == run)\n"})  # fmt: skip
    parent = ended(parent_of(experiment, "0", "3"))
    assert sorted(parent.read_file("logs/stdout.txt").split(b"\n")) == [b"", b"Completed True", b"Failed True"]


def test_what_a_child_waits_for_is_on_record(experiment: Experiment) -> None:
    parent = ended(parent_of(experiment, "0"))
    [child] = parent.get_children()
    ended(child)
    queued = [recorded.event for recorded in experiment.workspace.journal.read(child.id) if "queued" in recorded.type]
    assert [event.reason for event in queued] == [f"the conductor of run {parent.id} starts it"]  # type: ignore[attr-defined]


def test_a_run_of_another_experiment_that_a_script_submits_goes_on_too(experiment: Experiment, tmp_path: Path) -> None:
    script = "from onrecord import *\nrun = Run.get_context()\n" \
             "Experiment(run.workspace, 'beside').submit(ScriptRunConfig('.', 'child.py', [0]))\n"  # fmt: skip
    project(experiment.workspace.path, {"parent.py": script})
    parent = ended(parent_of(experiment))
    [beside] = Experiment(experiment.workspace, "beside").get_runs()
    assert ended(beside).status == "Completed"
    assert beside.parent is None
    assert list(parent.get_children()) == []


def test_a_variable_that_outlived_its_run_means_nothing(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ended(experiment.submit(child_config(experiment, 0)))
    monkeypatch.setenv("ONRECORD_RUN_ID", run.id)
    monkeypatch.setenv("ONRECORD_WORKSPACE", str(experiment.workspace.layout.root))
    assert outer_run(experiment.workspace) is None
    assert ended(experiment.submit(child_config(experiment, 0))).status == "Completed"
    monkeypatch.setenv("ONRECORD_RUN_ID", "0" * 26)
    assert outer_run(experiment.workspace) is None


def test_a_child_has_the_git_facts_of_the_source_that_it_comes_from(tmp_path: Path) -> None:
    folder = repository(tmp_path / "project", {"child.py": CHILD, "parent.py": PARENT})
    (folder / "child.py").write_text(CHILD + "# changed\n")
    experiment = Experiment(Workspace.create(folder), "tests")
    parent = parent_of(experiment, "0")
    git(folder, "commit", "-qam", "second")
    [child] = ended(parent).get_children()
    ended(child)
    facts = {name: value for name, value in parent.get_properties().items() if ".git." in name}
    assert facts == {name: value for name, value in child.get_properties().items() if ".git." in name}
    assert child.read_file("onrecord/git.patch") == parent.read_file("onrecord/git.patch")


# ---- from outside --------------------------------------------------------------------------------


def test_a_child_is_submitted_from_outside_also_after_the_end(experiment: Experiment) -> None:
    parent = ended(experiment.submit(child_config(experiment, 0)))
    child = ended(parent.submit_child(child_config(experiment, 0), {"a": 1}, display_name="late"))
    assert (child.parent, child.experiment.name, child.display_name, child.tags) == (
        parent,
        "tests",
        "late",
        {"a": "1"},
    )
    assert child.get_details()["parentRunId"] == parent.id


def test_a_parent_that_is_not_there_is_refused_before_anything_is_recorded(experiment: Experiment) -> None:
    with pytest.raises(UnknownRun):
        experiment.submit(child_config(experiment, 0), parent="0" * 26)
    assert experiment.workspace.query.runs() == []
    assert list(experiment.workspace.layout.runs.iterdir()) == []


# ---- lists ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = project(tmp_path_factory.mktemp("family"), {"child.py": CHILD})
    experiment = Experiment(Workspace.create(folder), "tests")
    config = ScriptRunConfig(folder, "child.py", [0])
    runs = {"top": experiment.submit(config, {"team": "a", "draft": ""})}
    runs["first"] = runs["top"].submit_child(config, {"team": "a"})
    runs["second"] = runs["top"].submit_child(ScriptRunConfig(folder, "child.py", [3]), {"team": "b"})
    runs["below"] = runs["first"].submit_child(config, {"team": "a"})
    runs["other"] = experiment.submit(config)
    runs["other"].add_properties({"kind": "plain"})
    for run in runs.values():
        ended(run)
    return runs


def names(family: dict[str, Run], found: object) -> list[str]:
    known = {run: name for name, run in family.items()}
    return [known[run] for run in found]  # type: ignore[attr-defined]


def test_children_are_listed_newest_first_and_over_generations(family: dict[str, Run]) -> None:
    top = family["top"]
    assert names(family, top.get_children()) == ["second", "first"]
    assert names(family, top.get_children(recursive=True)) == ["below", "second", "first"]
    assert names(family, family["below"].get_children()) == []


def test_children_are_found_by_tags_status_type_and_properties_of_which_all_must_hold(family: dict[str, Run]) -> None:
    top = family["top"]
    assert names(family, top.get_children(tags={"team": "a"})) == ["first"]
    assert names(family, top.get_children(recursive=True, tags="team", status="completed")) == ["below", "first"]
    assert names(family, top.get_children(tags=["team", "missing"])) == []
    assert names(family, top.get_children(status="Failed", tags={"team": "a"})) == []
    assert names(family, top.get_children(type="azureml.scriptrun")) == ["second", "first"]
    assert names(family, top.get_children(type="onrecord.sweep")) == []
    assert names(family, top.get_children(properties={"kind": "plain"})) == []


def test_an_experiment_lists_its_runs_without_the_children_of_others(family: dict[str, Run]) -> None:
    experiment = family["top"].experiment
    assert names(family, experiment.get_runs()) == ["other", "top"]
    assert names(family, experiment.get_runs(include_children=True)) == ["other", "below", "second", "first", "top"]
    assert names(family, experiment.get_runs(tags=["team", "draft"])) == ["top"]
    assert names(family, experiment.get_runs(None, None, {"kind": "plain"}, True)) == ["other"]
    assert names(family, Run.list(experiment, status="Failed", include_children=True)) == ["second"]
    assert names(family, Run.list(experiment, status="NotResponding")) == []


def test_a_filter_finds_children_where_it_speaks_of_them(family: dict[str, Run]) -> None:
    experiment, top = family["top"].experiment, family["top"]
    assert names(family, experiment.get_runs(filter="order by created")) == ["top", "other"]
    assert names(family, experiment.get_runs(filter=f"descendant of {top.id} and exit_code > 0")) == ["second"]
    assert names(family, experiment.get_runs(filter=f"not (parent = {top.id})", tags="team")) == ["below", "top"]
    assert names(family, experiment.get_runs(include_children=True, filter="order by created limit 2")) == [
        "top",
        "first",
    ]
    assert names(family, top.workspace.runs("parent is null")) == ["other", "top"]


def test_what_runs_cannot_be_listed_by_is_refused_at_once(family: dict[str, Run]) -> None:
    experiment = family["top"].experiment
    with pytest.raises(BadListing, match=r"a run is NotStarted.*NotResponding") as caught:
        experiment.get_runs(status="Finished")
    assert (caught.value.field, caught.value.value) == ("status", "Finished")  # type: ignore[attr-defined]
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301
    for wrong in ("", [""], {"": 1}, [3]):
        with pytest.raises(BadListing, match="tags are asked for by"):
            experiment.get_runs(tags=wrong)  # type: ignore[arg-type]


def test_a_run_is_found_by_its_id_or_the_start_of_it(family: dict[str, Run]) -> None:
    workspace, top = family["top"].workspace, family["top"]
    assert Run.get(workspace, top.id) == workspace.get_run(top.id) == top
    with pytest.raises(UnknownRun):
        Run.get(workspace, "0" * 26)


def test_experiments_are_listed_by_name(family: dict[str, Run]) -> None:
    workspace = family["top"].workspace
    assert [one.name for one in Experiment.list(workspace)] == ["tests"]
    assert Experiment.list(workspace, "missing") == []
    assert Experiment.list(workspace, view_type="ArchivedOnly") == []
    assert Experiment.list(workspace, tags="none") == []
    with pytest.raises(Exception, match="ActiveOnly, ArchivedOnly or All"):
        Experiment.list(workspace, view_type="Everything")
    experiment = Experiment(workspace, "tests")
    experiment.refresh()
    assert (experiment.id, experiment.workspace_object) == ("tests", workspace)


# ---- what their ends mean ------------------------------------------------------------------------


def test_a_parent_is_completed_and_names_the_children_that_failed(experiment: Experiment) -> None:
    text = PARENT + "for kid in run.get_children(): kid.wait_for_completion(raise_on_error=False)\n"
    project(experiment.workspace.path, {"parent.py": text})
    parent = ended(parent_of(experiment, "0", "3"))
    [failed] = parent.get_children(status="Failed")
    assert parent.status == "Completed"
    assert parent.get_warnings() == [f"1 of its 2 children failed: {failed.id} ({failed.display_name})"]


def test_a_parent_that_is_to_fail_with_its_children_waits_for_them_and_fails(
    experiment: Experiment, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    parent = parent_of(experiment, "0", f"3,{mark}", fail_if_child_fails=True)
    wait_until(lambda: parent.status == "Finalizing" and len(list(parent.get_children(status="Running"))) == 1)
    mark.touch()
    with pytest.raises(RunFailedError, match="1 of its 2 children failed") as caught:
        parent.wait_for_completion()
    [failed] = parent.get_children(status="Failed")
    error = caught.value.error  # type: ignore[attr-defined]
    assert error["code"] == "ChildFailed"
    assert error["details"] == f"{failed.id} ({failed.display_name}): the script ended with exit code 3"
    assert parent.get_details()["exitCode"] == 0


def test_a_parent_that_is_to_fail_with_its_children_is_completed_when_they_are(experiment: Experiment) -> None:
    parent = ended(parent_of(experiment, "0", "0", fail_if_child_fails=True))
    assert (parent.status, parent.get_warnings()) == ("Completed", [])
    assert {child.status for child in parent.get_children()} == {"Completed"}


def test_a_parent_whose_script_fails_does_not_wait(experiment: Experiment, tmp_path: Path) -> None:
    project(experiment.workspace.path, {"parent.py": PARENT + "sys.exit(4)\n"})
    mark = tmp_path / "mark"
    parent = ended(parent_of(experiment, f"0,{mark}", fail_if_child_fails=True))
    assert (parent.status, parent.get_details()["exitCode"]) == ("Failed", 4)
    assert "had not ended when it did" in parent.get_warnings()[0]
    mark.touch()
    [child] = parent.get_children()
    assert ended(child).status == "Completed"


def test_a_parent_that_waits_for_its_children_leaves_them_its_place(experiment: Experiment, tmp_path: Path) -> None:
    with experiment.workspace.layout.config.open("a") as file:
        file.write("[targets.local]\nmax_concurrent = 1\n")
    parent = ended(parent_of(experiment, "0", "0", fail_if_child_fails=True))
    assert parent.status == "Completed"
    assert {child.status for child in parent.get_children()} == {"Completed"}


def test_a_script_that_would_wait_for_its_own_place_is_told_so(experiment: Experiment) -> None:
    with experiment.workspace.layout.config.open("a") as file:
        file.write("[targets.local]\nmax_concurrent = 1\n")
    wait = "for kid in run.get_children(): kid.wait_for_completion()\n"
    project(experiment.workspace.path, {"parent.py": PARENT + wait})
    parent = ended(parent_of(experiment, "0"))
    [child] = parent.get_children()
    assert parent.status == "Failed"
    assert f"WaitsForItself: run {child.id} cannot start before this script" in parent.get_details()["error"]["details"]
    assert ended(child).status == "Completed"


@pytest.mark.parametrize("how", ["children", pytest.param("alone", marks=pytest.mark.long)])
def test_a_parent_that_waits_for_its_children_can_be_canceled(experiment: Experiment, tmp_path: Path, how: str) -> None:
    mark = tmp_path / "mark"
    parent = parent_of(experiment, f"0,{mark}", fail_if_child_fails=True)
    [child] = wait_until(lambda: parent.status == "Finalizing" and list(parent.get_children(status="Running")))
    parent.cancel(children=how == "children")
    assert ended(parent).status == "Canceled"
    assert parent.get_details()["error"]["message"].startswith("its script had ended")
    mark.touch() if how == "alone" else None
    assert ended(child).status == ("Canceled" if how == "children" else "Completed")


@pytest.mark.parametrize("killed", ["parent", pytest.param("child", marks=pytest.mark.long)])
def test_a_conductor_that_is_killed_while_the_parent_waits_changes_no_verdict(
    experiment: Experiment, tmp_path: Path, killed: str
) -> None:
    mark = tmp_path / "mark"
    parent = parent_of(experiment, f"3,{mark}", fail_if_child_fails=True)
    [child] = wait_until(lambda: parent.status == "Finalizing" and list(parent.get_children(status="Running")))
    victim = parent if killed == "parent" else child
    os.kill(conductor_of(victim), signal.SIGKILL)
    lock = experiment.workspace.layout.run(victim.id).lock
    if killed == "parent":
        wait_until(lambda: not is_conducted(lock))
    mark.touch()
    assert ended(parent).status == "Failed"
    assert "its only child failed" in parent.get_details()["error"]["message"]


def test_a_child_waits_while_the_conductor_of_its_parent_is_dead_and_any_command_starts_it(
    experiment: Experiment, tmp_path: Path
) -> None:
    begin, end = tmp_path / "begin", tmp_path / "end"
    script = f"import pathlib, time\nwhile not pathlib.Path({str(begin)!r}).exists(): time.sleep(0.01)\n{PARENT}" \
             f"while not pathlib.Path({str(end)!r}).exists(): time.sleep(0.01)\n"  # fmt: skip
    project(experiment.workspace.path, {"parent.py": script})
    parent = parent_of(experiment, "0")
    wait_until(lambda: parent.status == "Running")
    os.kill(conductor_of(parent), signal.SIGKILL)
    wait_until(lambda: parent.status == "NotResponding")
    assert [run.id for run in experiment.get_runs(status="NotResponding")] == [parent.id]
    begin.touch()
    [child] = wait_until(lambda: list(parent.get_children()))
    assert child.status == "Queued"
    experiment.workspace.recover()
    assert ended(child).status == "Completed"
    assert parent.status == "Running"
    end.touch()
    assert ended(parent).status == "Completed"


def conductor_of(run: Run) -> int:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if run.id.encode() in words and b"onrecord.conductor" in b"".join(words):
                return int(folder.name)
    raise AssertionError("it has no conductor")


# ---- cancel --------------------------------------------------------------------------------------


def test_canceling_a_run_leaves_what_was_started_from_it_unless_asked(experiment: Experiment, tmp_path: Path) -> None:
    never = tmp_path / "never"
    top = experiment.submit(child_config(experiment, 0, never))
    child = top.submit_child(child_config(experiment, 0, never))
    below = child.submit_child(child_config(experiment, 0, never))
    beside = experiment.submit(child_config(experiment, 0, never))
    for run in (top, child, below, beside):
        wait_until(lambda run=run: run.status == "Running")
    top.cancel()
    assert ended(top).status == "Canceled"
    assert (child.status, below.status) == ("Running", "Running")
    top.cancel(children=True)
    assert (ended(child).status, ended(below).status) == ("Canceled", "Canceled")
    assert beside.status == "Running"
    beside.cancel()
    ended(beside)


def test_a_run_that_is_being_canceled_takes_no_more_children(experiment: Experiment, tmp_path: Path) -> None:
    stubborn = "import signal, pathlib, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" \
               f"pathlib.Path({str(tmp_path / 'up')!r}).touch()\ntime.sleep(600)\n"  # fmt: skip
    project(experiment.workspace.path, {"parent.py": stubborn})
    parent = parent_of(experiment)
    wait_until((tmp_path / "up").exists)
    parent.cancel()
    with pytest.raises(ParentCanceled, match="takes no more children"):
        parent.submit_child(child_config(experiment, 0))
    assert list(parent.get_children()) == []
