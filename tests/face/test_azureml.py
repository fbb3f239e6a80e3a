"""Azure ML's names: each is an attribute here, or the table in the documents says why not and what to do instead."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from face_make import run_to_end

from onrecord import Experiment, Run, Workspace

ROOT = Path(__file__).parents[2]


def names_of_azure() -> dict[str, list[str]]:
    lines = (Path(__file__).parent / "azureml_names.txt").read_text().splitlines()
    pairs = (line.split(": ") for line in lines if not line.startswith("#"))
    return {kind: names.split() for kind, names in pairs}


def table_of(kind: str) -> dict[str, tuple[str, str]]:
    text = (ROOT / "docs/azureml.md").read_text().partition(f"\n## {kind}\n")[2].partition("\n## ")[0]
    return {name: (here, note) for name, here, note in re.findall(r"^\| `(\w+)` \| (\w+) \| ?(.*?) ?\|$", text, re.M)}


@pytest.fixture(scope="module")
def instances(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    run = run_to_end(tmp_path_factory.mktemp("azureml"), "pass\n")
    return {"Workspace": run.workspace, "Experiment": run.experiment, "Run": run}


@pytest.mark.parametrize("kind", ["Workspace", "Experiment", "Run"])
def test_every_name_of_azure_ml_works_or_is_listed_with_what_to_do_instead(
    kind: str, instances: dict[str, object]
) -> None:
    names, table = names_of_azure()[kind], table_of(kind)
    assert list(table) == names
    wrong = {}
    for name in names:
        here, note = table[name]
        if hasattr(instances[kind], name) != (here == "works"):
            wrong[name] = here
        if here != "works" and not note:
            wrong[name] = "without a reason"
    assert wrong == {}


def test_the_classes_are_those_that_the_names_are_of() -> None:
    assert {kind.__name__ for kind in (Workspace, Experiment, Run)} == set(names_of_azure())
