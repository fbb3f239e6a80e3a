"""`onrecord ls` with a filter, columns, pages and the past; `onrecord rebuild`; Workspace.runs."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from face_make import clean_environment

from onrecord import Workspace
from onrecord.ledger.errors import BadFilter

Command = Callable[..., Any]


def experiments(command: Command, history: Path, *words: str) -> list[str]:
    documents = json.loads(command("ls", "--json", *words, cwd=history).out)
    return [document["experiment"] for document in documents]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["experiment = ridge"], ["ridge"]),
        (["metrics.loss < 0.5 and params.alpha >= 0.03 and tags.team = a"], ["ridge"]),
        (["params.alpha > 0.03"], []),
        (["status = failed or metrics.loss < 1"], ["other", "ridge"]),
        (["order by created"], ["ridge", "other"]),
        (["order by metrics.loss limit 1"], ["ridge"]),
        (["exit_code != 0"], ["other"]),
        (["text 'fail.py'"], ["other"]),
        (["run_id = @last"], ["other"]),
        (["run_id = @best:loss"], ["ridge"]),
        (["created > 1d ago", "-e", "ridge"], ["ridge"]),
        (["created > 1d ago", "-s", "failed"], ["other"]),
        (["created > 1d ago", "-t", "team=a", "-t", "draft"], ["ridge"]),
        (["name contains x or experiment = other", "-t", "team=a"], []),
        (["order by created", "-n", "1"], ["ridge"]),
        (["", "--all"], ["other", "ridge"]),
        (["", "--as-of", "0"], []),
        (["", "--as-of", "1"], ["ridge"]),
        (["--as-of", "2001-01-01"], []),
        (["--as-of", "0s ago"], ["other", "ridge"]),
    ],
)
def test_ls_takes_a_filter_beside_its_options(
    command: Command, history: Path, words: list[str], expected: list[str]
) -> None:
    assert experiments(command, history, *words) == expected
    said = command("ls", *words, cwd=history)
    assert said.code == 0
    assert max(0, said.out.count(b"\n") - 1) == len(expected)
    assert ("no runs" in said.err) == (not expected)


def test_a_wrong_filter_is_shown_with_a_caret_under_the_place(command: Command, history: Path) -> None:
    said = command("ls", "experimnt = ridge", cwd=history)
    assert said.code == 1
    assert "experimnt = ridge\n" in said.err
    assert re.search(r"\n +\^\n", said.err)
    assert "did you mean 'experiment'?" in said.err


def test_pages_go_on_after_a_cursor(command: Command, history: Path) -> None:
    first = command("ls", "order by created", "-n", "1", cwd=history)
    cursor = re.search(r"--after (\S+)", first.err)
    assert cursor
    assert experiments(command, history, "order by created", "-n", "1", "--after", cursor[1]) == ["other"]
    assert experiments(command, history, "order by created", "--after", cursor[1]) == ["other"]
    said = command("ls", "order by name", "--after", cursor[1], cwd=history)
    assert said.code == 1
    assert "another order" in said.err


def test_the_status_of_the_past_is_what_was_recorded_then(command: Command, history: Path) -> None:
    document = json.loads(command("ls", "--as-of", "3", "--json", cwd=history).out)[0]
    assert document["status"] in ("NotStarted", "Queued", "Preparing", "Running")
    assert document["status"].encode() in command("ls", "--as-of", "3", cwd=history).out
    said = command("ls", "--as-of", "yesterday", cwd=history)
    assert said.code == 1
    assert "neither the number of an event nor a time" in said.err


def test_chosen_columns_are_shown(command: Command, history: Path) -> None:
    fields = "metrics.loss,params.alpha,max(metrics.loss),tags.team,started,duration,exit_code"
    lines = command("ls", "order by created", "--columns", fields, cwd=history).out.decode().splitlines()
    assert lines[0].split() == ["RUN", "STATUS", "NAME", *fields.split(",")]
    assert lines[1].split()[2:7] == ["first", "0.333333", "0.03", "1", "a"]
    assert lines[2].split()[3:7] == ["-", "-", "-", "-"]
    documents = json.loads(command("ls", "order by created", "--json", "-c", fields, cwd=history).out)
    assert documents[0]["columns"]["metrics.loss"] == pytest.approx(1 / 3)
    assert documents[0]["columns"]["params.alpha"] == 0.03
    assert documents[1]["columns"]["params.alpha"] is None
    plain = command("ls", "-c", "params.alpha", cwd=history)
    assert plain.out.decode().splitlines()[2].split()[-1] == "0.03"
    said = command("ls", "-c", "metric.loss", cwd=history)
    assert said.code == 1
    assert "did you mean 'metrics.loss'" in said.err


def test_a_run_is_named_by_its_best_metric(command: Command, history: Path) -> None:
    shown = json.loads(command("show", "@best:loss", "--json", cwd=history).out)
    assert shown["experiment"] == "ridge"
    said = command("show", "@best:nothing", cwd=history)
    assert said.code == 1
    assert "no run has a number for the metric 'nothing'" in said.err


def test_a_workspace_gives_runs_by_a_filter(history: Path) -> None:
    workspace = Workspace(history)
    assert [run.experiment.name for run in workspace.runs("order by created")] == ["ridge", "other"]
    assert [run.experiment.name for run in workspace.runs("order by created limit 1")] == ["ridge"]
    assert len(list(workspace.runs())) == 2
    assert list(workspace.runs("created > 1d ago", as_of=0)) == []
    with pytest.raises(BadFilter):
        next(workspace.runs("nme = x"))


def test_a_workspace_gives_more_runs_than_a_page(history: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onrecord.workspace._PAGE", 1)
    workspace = Workspace(history)
    assert [run.experiment.name for run in workspace.runs("order by created")] == ["ridge", "other"]
    assert len(list(workspace.runs("limit 2"))) == 2


def test_a_plain_list_imports_nothing_of_the_filter_language(history: Path) -> None:
    code = """
import sys
from onrecord.cli.main import run
run(["ls"])
heavy = ("attr", "attrs", "sqlite_utils", "git", "cattrs", "watchdog", "psutil", "rich", "onrecord.ledger.search")
print([name for name in sys.modules if name in heavy or "ledger.filter" in name])
"""
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=history, env=clean_environment(), capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "[]"


def test_rebuild_says_how_many_events_and_is_quiet_without_a_terminal(command: Command, history: Path) -> None:
    size = Workspace(history).journal.size()
    document = json.loads(command("rebuild", "--json", cwd=history).out)
    assert document["events"] == size
    assert document["seconds"] >= 0
    said = command("rebuild", cwd=history)
    assert f"replayed {size} events" in said.err
    assert said.err.count("\n") == 1


def test_a_rebuild_that_is_quick_shows_no_bar_on_a_terminal(history: Path) -> None:
    parent, child = pty.openpty()
    environment = clean_environment(TERM="xterm", COLUMNS="100")
    command = [sys.executable, "-m", "onrecord", "rebuild"]
    process = subprocess.Popen(command, cwd=history, env=environment, stderr=child, stdout=subprocess.DEVNULL)
    os.close(child)
    heard = b""
    while True:
        try:
            piece = os.read(parent, 65536)
        except OSError:
            break
        if not piece:
            break
        heard += piece
    os.close(parent)
    assert process.wait(60) == 0
    assert b"replaying" not in heard
    assert b"replayed" in heard
