"""`onrecord run -- PROGRAM` and `--command`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from face_make import onrecord, project, shown

from onrecord import Workspace

Command = Callable[..., Any]


def test_a_program_and_its_words_come_after_two_dashes(tmp_path: Path) -> None:
    project(tmp_path, {"Makefile": "train:\n\t@echo alpha $(ALPHA)\n"})
    done = onrecord("run", "-t", "team=a", "--", "make", "train", "ALPHA=0.5", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"alpha 0.5\n"), done.stderr
    run = Workspace(tmp_path).get_run("@last")
    assert run.get_details()["runDefinition"]["arguments"] == ["train", "ALPHA=0.5"]
    # What they say is found as a script's parameters are.
    assert onrecord("ls", "params.ALPHA = 0.5", cwd=tmp_path).stdout.count(b"\n") == 2
    assert b"command      make train ALPHA=0.5" in onrecord("show", "@last", cwd=tmp_path).stdout


def test_the_words_of_a_program_are_not_read_as_options(tmp_path: Path) -> None:
    done = onrecord("run", "--", "printf", "%s|", "--json", "-d", "--", "x", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"--json|-d|--|x|"), done.stderr


def test_two_dashes_after_a_script_are_the_scripts(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": "import sys; print(sys.argv[1:])\n"})
    assert onrecord("run", "train.py", "--", "x", cwd=tmp_path).stdout == b"['--', 'x']\n"
    assert onrecord("run", "train.py", "--alpha", "1", cwd=tmp_path).stdout == b"['--alpha', '1']\n"


def test_a_text_goes_through_the_shell(tmp_path: Path) -> None:
    done = onrecord("run", "--command", "echo a | tr a b; exit 4", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (4, b"b\n"), done.stderr
    assert shown(tmp_path)["exit_code"] == 4


def test_a_signal_that_ended_a_command_is_told(tmp_path: Path) -> None:
    assert onrecord("run", "--command", "kill -9 $$", cwd=tmp_path).returncode == 137


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ([], 2, "Missing SCRIPT"),
        (["--"], 2, "Missing SCRIPT"),
        (["--command", "true", "train.py"], 2, "not both"),
        (["--command", ""], 125, "the command is empty"),
        (["--", "train.py"], 125, "onrecord run train.py"),
        (["--", "no-such-program"], 125, "no program of this name"),
        (["--", "./train.py"], 125, "chmod +x"),
        (["make", "train"], 125, "onrecord run -- make"),
        (["--resume-from", "@last", "train.py"], 125, "next: "),
        (["--config", "nowhere.yaml"], 125, "cannot be read"),
        (["--hosts", ",", "train.py"], 2, "names no host"),
        (["--hosts", "a,b", "--nproc", "3", "train.py"], 125, "shared out evenly among 2 nodes"),
        (["--hosts", "a", "--distributed", "mpi", "train.py"], 125, "an MPI job cannot be sent"),
    ],
)
def test_what_cannot_be_run_is_told_before_there_is_a_run(
    command: Command, tmp_path: Path, words: list[str], code: int, told: str
) -> None:
    project(tmp_path, {"train.py": ""})
    said = command("run", *words, cwd=tmp_path)
    assert (said.code, told in said.err) == (code, True), said.err


def test_a_command_in_the_home_folder_does_not_snapshot_all_of_it(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", os.fspath(tmp_path))
    said = command("run", "--", "true", cwd=tmp_path)
    assert (said.code, "--source" in said.err) == (2, True)
