"""The commands that say something of runs, put them away, and hand out models."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from face_make import LONG_SECONDS, clean_environment
from recorded_make import recorded, workspace

from onrecord import Model, Run
from onrecord.cli import main

Said = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return recorded(workspace(tmp_path))


@pytest.fixture
def said(run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Said:
    """What a command says, on stdout and then on stderr; it ends with `code`. In this process, because it is quick."""
    monkeypatch.chdir(run.workspace.path)

    def say(*words: str, code: int = 0) -> str:
        ended = main.run(words)
        out, err = capsys.readouterr()
        assert ended == code, err
        return out + err

    return say


def listed(said: Said, *words: str) -> list[str]:
    return [item["run_id"] for item in json.loads(said("ls", "--json", *words))]


def test_a_run_is_tagged_noted_described_and_renamed(run: Run, said: Said) -> None:
    assert said("tag", "@last", "a=1", "b", "--remove", "team") == "a=1\nb\n"
    assert json.loads(said("tag", "@last", "--json"))["tags"] == {"a": "1", "b": ""}
    assert "tag without a name" in said("tag", "@last", "=x", code=1)
    assert "noted" in said("note", "@last", "first \x1b[31mline\nsecond")
    said("note", "@last", "--description", "what it was for")
    assert "is now golden run" in said("rename", "@last", "golden run")
    shown = said("show", "@last")
    for words in ("golden run", "description\n  what it was for", r"first \x1b[31mline", "\n    second\n"):
        assert words in shown
    document = json.loads(said("note", "@last", "--json"))
    assert document["description"] == "what it was for"
    assert [note["text"] for note in document["notes"]] == ["first \x1b[31mline\nsecond"]
    assert json.loads(said("show", "@last", "--json"))["notes"] == document["notes"]
    table = said("ls")
    assert "DESCRIPTION" in table and "what it was for" in table
    assert "empty note" in said("note", "@last", " ", code=1)


def test_a_long_note_comes_from_stdin(run: Run) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "onrecord", "note", "@last", "-"], cwd=run.workspace.path, env=clean_environment(),
        input=b"line\n" * 100, capture_output=True, check=True, timeout=LONG_SECONDS,
    )  # fmt: skip
    assert b"noted" in done.stderr
    assert run.notes[0].text == "line\n" * 99 + "line"


def test_archived_runs_are_listed_only_when_asked_for(run: Run, said: Said) -> None:
    other = recorded(run.workspace, experiment="other")
    said("archive", run.id)
    assert listed(said) == [other.id]
    assert listed(said, "--archived") == [run.id]
    assert listed(said, 'experiment = "exp"') == []
    assert listed(said, "archived = true") == [run.id]
    assert listed(said, "archived = true or archived = false") == [other.id, run.id]
    assert "no runs but archived ones" in said("ls", "-e", "exp")
    assert "archived " in said("show", run.id[:12])
    said("archive", "--experiment", "other")
    assert listed(said) == []
    assert "every run is archived" in said("show", "@last", code=1)
    assert "reactivated" in said("reactivate", run.id[:15], "-e", "other")
    assert listed(said) == [other.id, run.id]
    assert "no archived runs" in said("ls", "--archived")
    assert "there is no experiment 'othr'" in said("archive", run.id, "-e", "othr", code=1)
    assert listed(said) == [other.id, run.id]
    assert "Name a RUN" in said("archive", code=2)


def test_runs_are_deleted_once_someone_agrees(run: Run, said: Said) -> None:
    other = recorded(run.workspace, experiment="other")
    assert "--yes agrees to it" in said("delete", run.id, code=2)
    assert "Name a RUN" in said("delete", "-y", code=2)
    document = json.loads(said("delete", run.id, run.id[:14], "--yes", "--json"))
    assert document["runs"] == [run.id]
    assert listed(said) == [other.id]
    assert run.workspace.query.run(run.id).erased
    assert "deleted 1 run" in said("delete", "-e", "other", "-y")
    assert listed(said, "--archived") == [other.id, run.id]


@pytest.mark.parametrize(("answer", "code"), [(b"n\n", 130), (b"y\n", 0)])
def test_at_a_terminal_it_is_asked(run: Run, answer: bytes, code: int) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "onrecord", "delete", "@last"], cwd=run.workspace.path, env=clean_environment(),
        stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as asking:  # fmt: skip
        os.write(ours, answer)
        _, stderr = asking.communicate(timeout=LONG_SECONDS)
        assert asking.returncode == code, stderr
    os.close(ours)
    os.close(theirs)
    assert b"This cannot be undone" in stderr
    assert run.workspace.query.run(run.id).erased is (code == 0)


def test_models_are_registered_listed_shown_downloaded_and_deleted(run: Run, said: Said) -> None:
    assert "no models" in said("models", "ls")
    words = ("models", "register", "@last", "net", "outputs/m.bin", "-t", "stage=dev", "--description", "the first")
    assert "registered net:1: 1 file, 1.0 kB" in said(*words)
    said("models", "register", "@last", "net", "outputs")
    assert "near ones: outputs/m.bin" in said("models", "register", "@last", "net", "output/m.bin", code=1)
    assert [row["version"] for row in json.loads(said("models", "ls", "--json"))] == [2]
    assert [row["version"] for row in json.loads(said("models", "ls", "net", "--json"))] == [2, 1]
    table = said("models", "ls", "--all")
    assert "net:1" in table and "the first" in table and run.id[:10] in table
    shown = said("models", "show", "net:1")
    for text in (run.id, "outputs/m.bin", "the first", "stage dev", "m.bin"):
        assert text in shown
    document = json.loads(said("models", "show", "net", "--json"))
    assert [file["name"] for file in document["files"]] == ["outputs/m.bin"]
    assert "wrote to/m.bin" in said("models", "download", "net:1", "to")
    assert "is there already" in said("models", "download", "net:1", "to", code=1)
    said("models", "download", "net:1", "to", "--force")
    assert (run.workspace.path / "to/m.bin").read_bytes() == run.read_file("outputs/m.bin")
    assert "models are made of them" in said("delete", "@last", "-y", code=1)
    assert "has no version" in said("models", "delete", "net", "-y", code=2)
    assert "deleted net:1, net:2" in said("models", "delete", "net:1", "net:2", "-y")
    assert Model.list(run.workspace) == []
    assert "was deleted" in said("models", "show", "net:2", code=1)


def test_retention_keeps_runs_that_models_are_made_of(run: Run, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    other, later = recorded(run.workspace), time.time() + 60
    monkeypatch.setattr(time, "time", lambda: later)
    run.register_model("net", "outputs/m.bin")
    out = said("retain", "--older-than", "30s", "--files", "-y")
    assert "kept: 1 run whose files models are made of" in out
    erased = {row.run_id: row.erased for row in run.workspace.query.runs()}
    assert erased == {run.id: False, other.id: True}
