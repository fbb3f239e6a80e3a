"""The commands that erase runs, keep them for a time only, and carry them elsewhere."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from face_make import clean_environment, onrecord
from recorded_make import recorded, workspace

Command = Callable[..., Any]


def test_erase_asks_on_a_terminal_only_and_is_agreed_to_by_yes(command: Command, tmp_path: Path) -> None:
    found = workspace(tmp_path / "a")
    run = recorded(found)
    refusal = command("erase", run.id, cwd=found.path)
    assert refusal.code == 2
    assert "--yes" in refusal.err
    assert not found.query.run(run.id).erased
    done = command("erase", run.id, "--files", "--reason", "a token", "--yes", "--json", cwd=found.path)
    document = json.loads(done.out)
    assert (done.code, document["run_id"], document["events"]) == (0, run.id, 8)
    assert document["objects"] > 3
    assert document["bytes"] > 100
    again = command("erase", run.id, "--yes", cwd=found.path)
    assert (again.code, "was erased before" in again.err) == (0, True)


@pytest.mark.parametrize(("answer", "code"), [(b"y\n", 0), (b"n\n", 130)])
def test_on_a_terminal_the_answer_counts(tmp_path: Path, answer: bytes, code: int) -> None:
    found = workspace(tmp_path / "a")
    run = recorded(found)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "onrecord", "erase", run.id]
    process = subprocess.Popen(
        command, cwd=found.path, env=clean_environment(), stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    os.write(ours, answer)
    _, said = process.communicate(timeout=100)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == code, said
    assert b"cannot be undone" in said
    assert found.query.run(run.id).erased == (code == 0)


def test_an_erased_run_reads_as_one_everywhere(command: Command, tmp_path: Path) -> None:
    found = workspace(tmp_path / "a")
    run, other = recorded(found), recorded(found)
    command("erase", run.id, "--files", "--reason", "a token", "--yes", cwd=found.path)
    text = command("show", run.id, cwd=found.path).out.decode()
    assert "exp_1" in text
    assert "with its files: a token" in text
    document = json.loads(command("show", run.id, "--json", cwd=found.path).out)
    assert (document["erased"], document["type"], document["status"]) == (True, "erased", "Completed")
    assert (document["tags"], document["properties"], document["snapshot_id"]) == ({}, {}, None)
    listed = command("ls", cwd=found.path).out.decode()
    assert "exp_1 (erased)" in listed
    assert "exp_2 (erased)" not in listed
    assert "erased" in command("files", run.id, cwd=found.path).err
    assert command("logs", run.id, cwd=found.path).out == b""
    assert command("metrics", run.id, cwd=found.path).code == 0
    assert command("get", run.id, "logs/stdout.txt", cwd=found.path).code == 1
    assert b'"erased": true' in command("events", run.id, "--json", cwd=found.path).out
    assert command("verify", cwd=found.path).code == 0
    command("erase", run.id, "--experiment-too", "--yes", cwd=found.path)
    assert "(erased)" in command("show", run.id, cwd=found.path).out.decode()
    assert json.loads(command("show", run.id, "--json", cwd=found.path).out)["number"] is None
    assert json.loads(command("show", other.id, "--json", cwd=found.path).out)["number"] == 2


def test_retain_lists_first_and_erases_what_is_old_enough(command: Command, tmp_path: Path) -> None:
    found = workspace(tmp_path / "a")
    runs = [recorded(found), recorded(found, experiment="other")]
    nothing = command("retain", "--older-than", "1h", "--yes", "--json", cwd=found.path)
    assert json.loads(nothing.out) == {"runs": [], "erased": False, "objects": 0, "bytes": 0}
    listed = command("retain", "--older-than", "0.001s", "--dry-run", cwd=found.path)
    assert all(run.id in listed.out.decode() for run in runs)
    assert command("retain", "--older-than", "0.001s", cwd=found.path).code == 2
    assert command("retain", "--older-than", "0.001s", "-s", "Failed", "--yes", "--json", cwd=found.path).code == 0
    assert not any(row.erased for row in found.query.runs())
    done = command("retain", "--older-than", "0.001s", "-e", "other", "--files", "--yes", "--json", cwd=found.path)
    document = json.loads(done.out)
    assert (document["runs"], document["erased"], document["objects"]) == ([runs[1].id], True, 0)
    assert [row.erased for row in found.query.runs()] == [True, False]
    command("retain", "--older-than", "0.001s", "--yes", cwd=found.path)
    assert all(row.erased for row in found.query.runs())
    assert command("retain", "--older-than", "0.001s", "--yes", cwd=found.path).out == b""
    assert command("retain", "--yes", cwd=found.path).code == 2


def test_runs_are_exported_and_imported_with_their_logs_and_files(command: Command, tmp_path: Path) -> None:
    a, b = workspace(tmp_path / "a"), workspace(tmp_path / "b")
    parent = recorded(a)
    child = recorded(a, parent=parent.id)
    recorded(a)
    path = str(tmp_path / "runs.tar")
    done = json.loads(command("export", parent.id[:20], path, "--children", "--json", cwd=a.path).out)
    assert (done["path"], done["runs"], done["events"]) == (path, 2, 18)
    assert done["bytes"] == Path(path).stat().st_size
    imported = json.loads(command("import", path, "--json", cwd=b.path).out)
    assert sorted(imported["imported"]) == sorted([parent.id, child.id])
    assert (imported["present"], imported["events"]) == ([], 22)
    again = command("import", path, cwd=b.path)
    assert (again.code, again.err.count("is here already")) == (0, 2)
    assert command("logs", child.id, cwd=b.path).out == b"hello\n"
    assert len(json.loads(command("files", child.id, "--json", cwd=b.path).out)) == 2
    assert command("get", child.id, "outputs/m.bin", "-", cwd=b.path).out == b"\x00\xff" * 500
    assert imported["origin"] in command("show", child.id, cwd=b.path).out.decode()
    assert command("verify", cwd=b.path).code == 0


def test_without_a_name_all_runs_are_exported_and_there_may_be_none(command: Command, tmp_path: Path) -> None:
    found = workspace(tmp_path / "a")
    assert command("export", "all.tar", cwd=found.path).code == 0
    assert not (found.path / "all.tar").exists()
    recorded(found)
    recorded(found)
    assert "wrote 2 runs" in command("export", "all.tar", cwd=found.path).err
    refusal = command("export", "all.tar", cwd=found.path)
    assert (refusal.code, "--force" in refusal.err) == (1, True)
    assert command("export", "all.tar", "--force", cwd=found.path).code == 0


def test_what_cannot_be_exported_or_imported_ends_with_1_and_says_why(command: Command, tmp_path: Path) -> None:
    found = workspace(tmp_path / "a")
    (found.path / "no-bundle").write_text("nothing")
    refusal = command("import", "no-bundle", cwd=found.path)
    assert (refusal.code, "nothing of it was imported" in refusal.err) == (1, True)
    assert command("import", "not-there", cwd=found.path).code == 2
    assert command("export", "01j", "x.tar", cwd=found.path).code == 1
    assert command("export", cwd=found.path).code == 2
    run = recorded(found, seal=False)
    refusal = command("export", run.id, "x.tar", cwd=found.path)
    assert (refusal.code, run.id in refusal.err) == (1, True)


def test_no_bar_is_drawn_where_there_is_no_terminal(tmp_path: Path) -> None:
    found = workspace(tmp_path / "a")
    run = recorded(found)
    done = onrecord("export", run.id, "x.tar", cwd=found.path)
    assert done.stderr.count(b"\n") == 1
    assert b"\x1b" not in done.stderr
