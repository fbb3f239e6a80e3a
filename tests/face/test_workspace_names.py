"""Azure ML's ways to a workspace: by its name, by a config.json, with identifiers that mean nothing here."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from onrecord import Workspace
from onrecord.anchors import move_on
from onrecord.compute_target import targets_of
from onrecord.ledger.events import RunSubmitted
from onrecord.ledger.ids import encode, new_id
from onrecord.workspace import WorkspaceExists, WorkspaceNotFound
from onrecord.workspace_identity import BadWorkspaceName, NoWorkspaceInConfig

AZURE = {"subscription_id": "0f1e", "resource_group": "team", "workspace_name": "vision"}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project, which is the current folder, of a user without a history."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return folder


def worked_in(workspace: Workspace) -> None:
    """As a run leaves it that has ended."""
    run_id = encode(new_id(1_700_000_000_000, b"0123456789"))
    workspace.journal.append(run_id, [RunSubmitted(experiment="tests", config={})], expected=0)
    assert move_on(workspace) is None


def test_a_workspace_keeps_the_words_that_azure_ml_has_for_it(here: Path) -> None:
    Workspace.create(name="vision", subscription_id="0f1e", resource_group='the "team"', location="west", sku="basic")
    found = Workspace.from_config()
    assert (found.path, found.name, found.subscription_id) == (here, "vision", "0f1e")
    assert (found.resource_group, found.location) == ('the "team"', "west")
    assert found.get_details()["path"] == found.get_details()["id"] == str(here)
    assert targets_of(found)["local"].max_concurrent is None


def test_the_first_argument_is_the_name_where_azure_ml_has_it_so(here: Path) -> None:
    made = Workspace.create("vision", subscription_id="0f1e", resource_group="team", create_resource_group=True)
    assert (made.path, made.name) == (here, "vision")
    with pytest.raises(WorkspaceExists):
        Workspace.create("vision", subscription_id="0f1e")
    assert Workspace.create("vision", subscription_id="0f1e", exist_ok=True).name == "vision"


def test_a_workspace_without_such_words_has_its_folders_name(here: Path) -> None:
    made = Workspace.create()
    assert (made.name, made.subscription_id, made.resource_group, made.location) == ("project", *["local"] * 3)


@pytest.mark.parametrize("name", ["", "ab", "-abc", "a b c", "a" * 34, "a.b", "naïve!", 'x"\n[targets]'])
def test_a_name_that_azure_ml_would_refuse_is_refused_before_anything_is_made(here: Path, name: str) -> None:
    with pytest.raises(BadWorkspaceName, match="3 to 33 letters"):
        Workspace.create(name=name, location="x")
    assert list(here.iterdir()) == []


def test_a_keyword_that_not_even_azure_ml_has_is_a_mistake(here: Path) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'folder'"):
        Workspace.create(folder="x")
    with pytest.raises(TypeError, match="unexpected keyword argument 'folder'"):
        Workspace(here, folder="x")
    assert list(here.iterdir()) == []


def test_a_workspace_is_opened_by_azure_mls_three_words(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Workspace.create(name="vision", subscription_id="0f1e", resource_group="team")
    worked_in(made)
    monkeypatch.chdir(here.parent)
    for found in (
        Workspace(**AZURE), Workspace("0f1e", "team", "vision"), Workspace.get("vision"),
        Workspace.get("vision", subscription_id="0f1e", resource_group="team"), *Workspace.list("0f1e")["vision"],
    ):  # fmt: skip
        assert found.path == here
    with pytest.raises(WorkspaceNotFound, match="no workspace 'vision' on this machine"):
        Workspace("other", "team", "vision")
    with pytest.raises(WorkspaceNotFound) as caught:
        Workspace.get("speech")
    assert "known ones: vision" in str(caught.value)


def test_workspaces_that_are_gone_are_not_listed(here: Path, tmp_path: Path) -> None:
    assert Workspace.list() == {}
    with pytest.raises(WorkspaceNotFound, match="not worked with any yet"):
        Workspace.get("vision")
    made = Workspace.create()
    worked_in(made)
    made.close()
    (tmp_path / "state/onrecord/workspaces" / ("f" * 32)).write_text("no\nhex\n")
    assert list(Workspace.list()) == ["project"]
    made.layout.config.unlink()
    assert Workspace.list() == {}


def test_a_config_file_leads_to_its_workspace_from_another_folder(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Workspace.create(name="vision", subscription_id="0f1e", resource_group="team")
    path = made.write_config(tmp_path / "elsewhere")
    assert path == tmp_path / "elsewhere/.azureml/config.json"
    assert json.loads(path.read_text()) == {**AZURE, "workspace_folder": "../../project"}
    (tmp_path / "elsewhere/deep").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere/deep")
    assert Workspace.from_config().path == Workspace.from_config(path).path == here
    assert made.write_config(file_name="mine.json").name == "mine.json"
    assert Workspace.from_config(_file_name="mine.json").path == here


def test_a_config_file_that_azure_wrote_says_what_to_do(here: Path) -> None:
    (here / ".azureml").mkdir()
    (here / ".azureml/config.json").write_text(json.dumps(AZURE))
    with pytest.raises(NoWorkspaceInConfig, match="names the Azure workspace 'vision'") as caught:
        Workspace.from_config()
    assert "onrecord init" in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301
    Workspace.create()
    assert Workspace.from_config().path == here


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"workspace_folder": 3}', '{"port": 80}'])
def test_a_config_file_of_another_program_is_none_of_ours(here: Path, text: str) -> None:
    (here / "config.json").write_text(text)
    with pytest.raises(WorkspaceNotFound, match="there is no workspace in"):
        Workspace.from_config()
    with pytest.raises(NoWorkspaceInConfig, match="names no workspace"):
        Workspace.from_config(here / "config.json")


def test_a_config_file_whose_workspace_is_gone_names_the_folder(here: Path) -> None:
    (here / "config.json").write_text(json.dumps({**AZURE, "workspace_folder": "gone"}))
    with pytest.raises(WorkspaceNotFound, match="gone is not a workspace"):
        Workspace.from_config()
