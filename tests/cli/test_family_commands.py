"""Runs that were started from runs, in the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from face_make import project, wait_until

from onrecord import Experiment, Run, ScriptRunConfig, Workspace
from onrecord.ledger.events import RunFailed, RunSubmitted
from onrecord.ledger.ids import encode, new_id

Command = Callable[..., Any]


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Written as they are: a parent with 12 failed children, the newest of which has one of its own, and one beside."""
    folder = tmp_path_factory.mktemp("family")
    workspace, runs, clock = Workspace.create(folder), dict[str, Run](), iter(range(100))

    def add(name: str, parent: str | None = None) -> None:
        run_id = encode(new_id(1_700_000_000_000 + 1000 * next(clock), name.encode().ljust(10, b"-")))
        above = None if parent is None else runs[parent].id
        submitted = RunSubmitted(experiment="tests", name=name, config={}, parent=above)
        failed = RunFailed(error={"code": "ScriptFailed", "message": f"{name} is out\nof luck"}, exit_code=3)
        workspace.journal.append(run_id, [submitted, failed], expected=0)
        runs[name] = Run(workspace, run_id)

    add("parent")
    for number in range(12):
        add(f"child {number}", "parent")
    add("below", "child 11")
    add("beside")
    return runs


def listed(command: Command, family: dict[str, Run], *words: str) -> list[str]:
    said = command("ls", "--json", *words, cwd=family["parent"].workspace.path)
    assert said.code == 0, said.err
    return [document["name"] for document in json.loads(said.out)]


def test_a_list_has_children_where_they_are_asked_for(command: Command, family: dict[str, Run]) -> None:
    children = [f"child {number}" for number in range(11, -1, -1)]
    assert listed(command, family) == ["beside", "parent"]
    assert listed(command, family, "--children") == ["beside", "below", *children, "parent"]
    assert listed(command, family, "--parent", family["parent"].id) == children
    assert listed(command, family, "--parent", family["parent"].id, "--children") == ["below", *children]
    assert listed(command, family, "name contains '1' limit 2") == ["child 11", "child 10"]
    assert listed(command, family, "parent is null") == ["beside", "parent"]
    assert listed(command, family, "--parent", family["parent"].id, "-s", "completed") == []


def test_a_table_says_how_many_children_a_run_has(command: Command, family: dict[str, Run]) -> None:
    said = command("ls", "--children", cwd=family["parent"].workspace.path)
    assert b"parent (12 children)" in said.out
    assert b"child 11 (1 child)" in said.out


def test_a_list_without_runs_says_that_there_are_children(
    command: Command, family: dict[str, Run], tmp_path: Path
) -> None:
    workspace = family["parent"].workspace
    workspace.get_run(family["child 3"].id).tag("only")
    said = command("ls", "-t", "only", cwd=workspace.path)
    assert said.err == "onrecord: only runs that were started from others; --children lists them\n"
    assert command("ls", "-t", "missing", cwd=workspace.path).err == "onrecord: no runs\n"


def test_a_run_is_shown_with_its_children_as_a_tree(command: Command, family: dict[str, Run]) -> None:
    workspace, parent = family["parent"].workspace, family["parent"]
    lines = command("show", parent.id, cwd=workspace.path).out.decode().splitlines()
    tree = [line.rstrip() for line in lines[lines.index("children  12 Failed") + 1 :]]
    newest, below = family["child 11"].id[:10], family["below"].id[:10]
    assert " ".join(tree[0].split()) == rf"├─ {newest} child 11 Failed - child 11 is out\nof luck"
    assert tree[1].split()[:4] == ["│", "└─", below, "below"]
    assert tree[-1] == f"  └─ … and 2 more: onrecord ls --parent {parent.id[:10]}"
    assert len(tree) == 12
    child = command("show", family["below"].id, cwd=workspace.path).out.decode()
    assert f"parent       {family['child 11'].id} (child 11)" in child
    document = json.loads(command("show", parent.id, "--json", cwd=workspace.path).out)
    assert (document["children"], document["parent"]) == ({"Failed": 12}, None)


def test_a_run_is_canceled_with_its_children(command: Command, tmp_path: Path) -> None:
    project(tmp_path, {"train.py": "import time; time.sleep(600)\n"})
    experiment = Experiment(Workspace.create(tmp_path), "tests")
    config = ScriptRunConfig(tmp_path, "train.py")
    parent = experiment.submit(config)
    child = parent.submit_child(config, display_name="kid")
    wait_until(lambda: (parent.status, child.status) == ("Running", "Running"))
    said = command("cancel", parent.id, "-w", cwd=tmp_path)
    assert said.err.splitlines() == [
        f"onrecord: run {parent.id} is Canceled",
        f"onrecord: 1 run that was started from it goes on; onrecord cancel --children {parent.id} ends it",
    ]
    said = command("cancel", parent.id, "--children", "-w", cwd=tmp_path)
    assert said.err.splitlines() == [
        f"onrecord: run {parent.id} has ended already: Canceled",
        f"onrecord: run {child.id} (kid), which was started from it, is Canceled",
    ]
    said = command("cancel", parent.id, "--children", "--json", cwd=tmp_path)
    assert json.loads(said.out) == {"run_id": parent.id, "status": "Canceled", "children": []}
