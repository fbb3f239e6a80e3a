"""Commands that read the history: their text, their JSON, and how they name a run."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from face_make import clean_environment, onrecord, project, shown

from onrecord import Workspace
from onrecord.cli.main import COMMANDS

Command = Callable[..., Any]
RUN_KEYS = {
    *("run_id", "experiment", "status", "exit_code", "error", "snapshot_id", "created_at", "started_at"),
    *("ended_at", "tags", "properties"),
}


def ids(history: Path) -> tuple[str, str]:
    newest, oldest = Workspace(history).query.runs()
    return oldest.run_id, newest.run_id


def test_show_is_one_object_with_the_promised_keys(command: Command, history: Path) -> None:
    good, _ = ids(history)
    document = json.loads(command("show", good, "--json", cwd=history).out)
    assert set(document) >= RUN_KEYS
    assert (document["run_id"], document["experiment"], document["status"]) == (good, "ridge", "Completed")
    assert (document["exit_code"], document["error"]) == (0, None)
    assert len(document["snapshot_id"]) == 64
    assert document["tags"] == {"team": "a", "draft": ""}
    assert document["created_at"] <= document["started_at"] <= document["ended_at"]
    assert document["created_at"].endswith("Z")


def test_show_of_a_failed_run_tells_its_exit_code_and_why(command: Command, history: Path) -> None:
    document = json.loads(command("show", "@last", "--json", cwd=history).out)
    assert (document["status"], document["exit_code"]) == ("Failed", 3)
    assert "exit code 3" in document["error"]["message"]
    text = command("show", "@last", cwd=history).out
    assert b"Failed" in text
    assert b"exit code 3" in text


def test_show_for_people_has_the_name_the_command_and_the_metrics(command: Command, history: Path) -> None:
    text = command("show", ids(history)[0], cwd=history).out.decode()
    for part in ("first", "ridge", "train.py --alpha 0.03", "loss", "good", "Completed"):
        assert part in text


def test_ls_is_an_array_of_such_objects_newest_first(command: Command, history: Path) -> None:
    documents = json.loads(command("ls", "--json", cwd=history).out)
    assert [document["run_id"] for document in documents] == list(reversed(ids(history)))
    assert all(set(document) >= RUN_KEYS for document in documents)


def test_ls_and_show_say_the_same_of_a_run(command: Command, history: Path) -> None:
    listed = json.loads(command("ls", "--json", cwd=history).out)[0]
    document = json.loads(command("show", "@last", "--json", cwd=history).out)
    # What it used takes a question a run, and is for the one that is shown.
    assert document.pop("resources")["cpu_seconds"] > 0
    assert document == listed


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["-e", "ridge"], ["ridge"]),
        (["--experiment", "nothing"], []),
        (["-s", "failed"], ["other"]),
        (["--status", "Completed"], ["ridge"]),
        (["-t", "team=a"], ["ridge"]),
        (["-t", "team"], ["ridge"]),
        (["-t", "team=b"], []),
        (["-t", "draft", "-t", "team=a", "-e", "ridge"], ["ridge"]),
        (["-n", "1"], ["other"]),
        (["--all"], ["other", "ridge"]),
    ],
)
def test_ls_filters(command: Command, history: Path, filters: list[str], expected: list[str]) -> None:
    documents = json.loads(command("ls", "--json", *filters, cwd=history).out)
    assert [document["experiment"] for document in documents] == expected
    assert command("ls", *filters, cwd=history).code == 0


def test_ls_for_people_is_a_table_without_colours(command: Command, history: Path) -> None:
    lines = command("ls", cwd=history).out.decode().splitlines()
    assert lines[0].split()[:2] == ["RUN", "STATUS"]
    assert len(lines) == 3
    assert "team=a" in lines[2]
    assert all("\x1b" not in line for line in lines)


def test_ls_of_an_unknown_status_names_those_there_are(command: Command, history: Path) -> None:
    said = command("ls", "-s", "Finished", cwd=history)
    assert said.code == 1
    assert "Completed" in said.err


def test_ls_of_an_empty_workspace_says_what_makes_a_run(command: Command, tmp_path: Path) -> None:
    Workspace.create(tmp_path)
    said = command("ls", cwd=tmp_path)
    assert (said.code, said.out) == (0, b"")
    assert "onrecord run" in said.err
    assert json.loads(command("ls", "--json", cwd=tmp_path).out) == []


def test_events_are_json_lines_in_order(command: Command, history: Path) -> None:
    lines = [json.loads(line) for line in command("events", ids(history)[0], "--json", cwd=history).out.splitlines()]
    assert [line["version"] for line in lines] == list(range(1, len(lines) + 1))
    types = [line["type"] for line in lines]
    assert types[0] == "run.submitted"
    assert types[-2:] == ["run.completed", "run.sealed"]
    for moved in ("run.preparing", "run.running", "run.finalizing", "run.metrics", "run.file_recorded"):
        assert moved in types
    assert all(set(line) >= {"seq", "run_id", "version", "type", "at", "data"} for line in lines)
    assert command("events", ids(history)[0], cwd=history).out.count(b"\n") == len(lines)


def test_files_lists_names_sizes_and_digests(command: Command, history: Path) -> None:
    files = {file["name"]: file for file in json.loads(command("files", ids(history)[0], "--json", cwd=history).out)}
    assert set(files) >= {
        *("logs/stdout.txt", "logs/stderr.txt", "outputs/models/best.bin", "onrecord/environment.json"),
    }
    assert files["outputs/models/best.bin"]["size"] == 256
    assert len(files["outputs/models/best.bin"]["digest"]) == 64
    assert b"outputs/models/best.bin" in command("files", ids(history)[0], cwd=history).out


def test_logs_gives_each_stream_back_on_its_own(command: Command, history: Path) -> None:
    said = command("logs", ids(history)[0], cwd=history)
    assert said.out == b"arguments ['--alpha', '0.03']\n"
    assert said.err == "a warning\n"
    lines = [json.loads(line) for line in command("logs", ids(history)[0], "--json", cwd=history).out.splitlines()]
    assert {"stream": "stderr", "line": "a warning"} in lines
    assert {"stream": "stdout", "line": "arguments ['--alpha', '0.03']"} in lines
    assert command("logs", "-f", ids(history)[0], cwd=history).out == said.out


def test_get_writes_to_a_file_a_folder_or_stdout(command: Command, history: Path, tmp_path: Path) -> None:
    good, name, content = ids(history)[0], "outputs/models/best.bin", bytes(range(256))
    (tmp_path / "folder").mkdir()
    assert command("get", good, name, str(tmp_path / "file"), cwd=history).code == 0
    assert (tmp_path / "file").read_bytes() == content
    said = command("get", good, name, str(tmp_path / "folder"), "--json", cwd=history)
    assert json.loads(said.out)["path"] == str(tmp_path / "folder" / "best.bin")
    assert (tmp_path / "folder" / "best.bin").read_bytes() == content
    assert command("get", good, name, str(tmp_path / "new") + "/", cwd=history).code == 0
    assert (tmp_path / "new" / "best.bin").read_bytes() == content
    assert command("get", good, name, "-", cwd=history).out == content


def test_get_without_a_destination_writes_into_the_current_folder(
    command: Command, history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONRECORD_WORKSPACE", str(history))
    assert command("get", ids(history)[0], "outputs/models/best.bin", cwd=tmp_path).code == 0
    assert (tmp_path / "best.bin").stat().st_size == 256


def test_get_of_a_missing_file_names_near_ones(command: Command, history: Path) -> None:
    said = command("get", ids(history)[0], "outputs/models/best.bim", cwd=history)
    assert said.code == 1
    assert "outputs/models/best.bin" in said.err
    assert "next: " in said.err


def test_metrics_as_text_and_json(command: Command, history: Path) -> None:
    good = ids(history)[0]
    assert json.loads(command("metrics", good, "--json", cwd=history).out) == {
        "grade": "good",
        "loss": [1.0, 1 / 2, 1 / 3],
    }
    assert b"0.333333" in command("metrics", good, cwd=history).out


def test_a_run_is_named_by_any_unique_start_of_its_id(command: Command, history: Path) -> None:
    good, bad = ids(history)
    same = next(place for place in range(26) if good[place] != bad[place])
    found = json.loads(command("show", good[: same + 1], "--json", cwd=history).out)
    assert found["run_id"] == good
    assert json.loads(command("show", good[: same + 1].upper(), "--json", cwd=history).out)["run_id"] == good
    said = command("show", good[:same], cwd=history)
    assert said.code == 1
    assert good in said.err
    assert bad in said.err


@pytest.mark.parametrize("name", ["7zzzz", "not-a-run!", "", "@first", "0" * 27, "\x1b[31m"])
@pytest.mark.parametrize("word", ["show", "events", "files", "logs", "metrics", "cancel"])
def test_an_unknown_run_is_told_with_the_next_step(command: Command, history: Path, word: str, name: str) -> None:
    said = command(word, name, cwd=history)
    assert (said.code, said.out) == (1, b"")
    assert "next: " in said.err
    assert "\x1b" not in said.err


@pytest.mark.parametrize(
    ("word", "meant"),
    [("@lsat", "did you mean @last?"), ("@bets:loss", "did you mean @best:loss?"), ("@best", "@best:METRIC"),
     ("@x", "@last and @best:METRIC")],
)  # fmt: skip
def test_a_name_that_is_none_is_told_with_the_nearest(command: Command, history: Path, word: str, meant: str) -> None:
    said = command("show", word, cwd=history)
    assert said.code == 1
    assert f"'{word}' names no run" in said.err
    assert meant in said.err


def test_a_command_without_a_workspace_says_how_to_make_one(command: Command, tmp_path: Path) -> None:
    said = command("ls", cwd=tmp_path)
    assert said.code == 1
    assert "onrecord init" in said.err


def test_init_makes_a_workspace_once(command: Command, tmp_path: Path) -> None:
    assert json.loads(command("init", "--json", cwd=tmp_path).out) == {"path": str(tmp_path), "created": True}
    assert json.loads(command("init", "--json", cwd=tmp_path).out) == {"path": str(tmp_path), "created": False}
    assert "there is a workspace" in command("init", cwd=tmp_path).err
    assert command("init", "below/it", cwd=tmp_path).code == 0
    assert Workspace(tmp_path / "below" / "it").query.runs() == []


def test_snapshot_tells_its_id_and_that_nothing_was_stored_twice(command: Command, tmp_path: Path) -> None:
    Workspace.create(tmp_path)
    project(tmp_path, {"a.txt": "a" * 1000, "below/b.txt": "b", "outputs/left_out": "c"})
    first = json.loads(command("snapshot", "--json", cwd=tmp_path).out)
    assert set(first) >= {"snapshot_id", "files", "bytes", "bytes_stored"}
    assert (first["files"], first["bytes"]) == (2, 1001)
    assert first["bytes_stored"] > 0
    second = json.loads(command("snapshot", "--json", cwd=tmp_path).out)
    assert (second["snapshot_id"], second["bytes_stored"]) == (first["snapshot_id"], 0)
    assert command("snapshot", ".", cwd=tmp_path).out.decode().strip() == first["snapshot_id"]
    restored = json.loads(command("restore", first["snapshot_id"], "again", "--json", cwd=tmp_path).out)
    assert restored["files"] == 2
    assert (tmp_path / "again" / "below" / "b.txt").read_text() == "b"


def test_snapshot_of_a_folder_that_is_not_there_is_told(command: Command, tmp_path: Path) -> None:
    Workspace.create(tmp_path)
    said = command("snapshot", "nowhere", cwd=tmp_path)
    assert (said.code, said.out) == (1, b"")
    assert "nowhere" in said.err


def test_restore_writes_the_source_of_a_run_and_spares_what_is_there(
    command: Command, history: Path, tmp_path: Path
) -> None:
    assert command("restore", "@last", str(tmp_path / "source"), cwd=history).code == 0
    assert (tmp_path / "source" / "fail.py").read_text() == (history / "fail.py").read_text()
    again = command("restore", "@last", str(tmp_path / "source"), cwd=history)
    assert again.code == 1
    assert "--force" in again.err
    assert command("restore", "@last", str(tmp_path / "source"), "--force", cwd=history).code == 0


def test_verify_finds_the_history_intact_and_says_so(command: Command, history: Path) -> None:
    document = json.loads(command("verify", "--json", cwd=history).out)
    assert (document["ok"], document["runs"], document["findings"]) == (True, 2, [])
    assert command("verify", cwd=history).out.startswith(b"intact")


def test_verify_names_a_damaged_object_and_ends_with_one(command: Command, tmp_path: Path) -> None:
    project(tmp_path, {"train.py": "open('outputs/a', 'w').write('a' * 100)\n"})
    assert onrecord("run", "train.py", cwd=tmp_path).returncode == 0
    for path in sorted((tmp_path / ".onrecord" / "objects").rglob("*")):
        if path.is_file() and path.stat().st_size > 60:
            path.chmod(0o644)
            path.write_bytes(path.read_bytes()[:-1] + b"~")
    said = command("verify", "--json", cwd=tmp_path)
    document = json.loads(said.out)
    assert said.code == 1
    assert not document["ok"]
    assert document["findings"]
    text = command("verify", cwd=tmp_path)
    assert text.code == 1
    assert b"wrong" in text.out


def test_rebuild_changes_no_answer(command: Command, history: Path) -> None:
    before = command("ls", "--json", cwd=history).out
    assert json.loads(command("rebuild", "--json", cwd=history).out)["events"] > 10
    assert command("ls", "--json", cwd=history).out == before


@pytest.mark.parametrize("word", list(COMMANDS))
def test_every_command_explains_itself(command: Command, tmp_path: Path, word: str) -> None:
    said = command(word, "--help", cwd=tmp_path)
    assert said.code == 0
    assert b"Usage: onrecord " + word.encode() in said.out
    assert command(word, "-h", cwd=tmp_path).out == said.out


def test_the_command_explains_itself_and_its_version(command: Command, tmp_path: Path) -> None:
    said = command("--help", cwd=tmp_path)
    assert all(word.encode() in said.out for word in COMMANDS)
    assert command("--version", cwd=tmp_path).out.startswith(b"onrecord ")


def test_a_mistyped_command_is_told_the_nearest(command: Command, tmp_path: Path) -> None:
    said = command("shwo", cwd=tmp_path)
    assert said.code == 2
    assert "show" in said.err
    assert command("ls", "--no-such-option", cwd=tmp_path).code == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_completion(command: Command, tmp_path: Path, shell: str) -> None:
    assert b"_ONRECORD_COMPLETE" in command("completion", shell, cwd=tmp_path).out


def test_completion_offers_runs_and_their_files(history: Path) -> None:
    good, _ = ids(history)

    def offered(line: str, place: int) -> str:
        asked = {"_ONRECORD_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(place)}
        code = "import sys; sys.argv[0] = 'onrecord'; from onrecord.__main__ import main; main()"
        env = clean_environment(**asked)
        return subprocess.run(
            [sys.executable, "-c", code], cwd=history, env=env, capture_output=True, check=False, text=True
        ).stdout

    assert good in offered("onrecord show ", 2)
    assert "outputs/models/best.bin" in offered(f"onrecord get {good} out", 3)


def test_a_reader_that_has_seen_enough_gets_no_traceback(history: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m onrecord events @last --json | head -c 1; true"],
        cwd=history,
        env=clean_environment(),
        capture_output=True,
        check=False,
    )
    assert done.stdout == b"{"
    assert done.stderr == b""


def test_colours_come_when_they_are_forced_and_never_with_no_color(history: Path) -> None:
    forced = onrecord("ls", cwd=history, env=clean_environment(FORCE_COLOR="1"))
    assert b"\x1b[" in forced.stdout
    plain = onrecord("ls", cwd=history, env=clean_environment(FORCE_COLOR="1", NO_COLOR="1"))
    assert b"\x1b[" not in plain.stdout


def test_control_characters_in_names_never_reach_the_terminal(command: Command, tmp_path: Path) -> None:
    evil = "\x1b]0;owned\x07\x1b[31m"
    source = f"import onrecord; open('outputs/' + {evil!r}, 'w'); onrecord.Run.get_context().log({evil!r}, {evil!r})\n"
    project(tmp_path, {"train.py": source, f"{evil}.txt": "odd", "data.txt": "x"})
    (tmp_path / f"link{evil}").symlink_to(f"../{evil}")
    said = onrecord("run", "-n", evil, "-t", f"{evil}={evil}", "train.py", evil, cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    assert b"\x1b" not in said.stderr
    for words in (["ls"], ["show", "@last"], ["events", "@last"], ["files", "@last"], ["metrics", "@last"]):
        for more in ([], ["--json"]):
            told = command(*words, *more, cwd=tmp_path)
            assert told.code == 0
            assert b"\x1b" not in told.out
            assert b"\x07" not in told.out
            assert "\x1b" not in told.err
    assert shown(tmp_path)["tags"] == {evil: evil}
    told = command("get", "@last", f"outputs/{evil}", cwd=tmp_path)
    assert told.code == 0
    assert "\x1b" not in told.err
    assert "\x1b" not in command("get", "@last", evil, cwd=tmp_path).err
    assert "\x1b" not in command("run", evil, cwd=tmp_path).err


def test_closed_streams_and_narrow_encodings_are_no_traceback(history: Path, tmp_path: Path) -> None:
    history = shutil.copytree(history, tmp_path / "copy")
    environment = clean_environment(PYTHONIOENCODING="ascii")
    onrecord("run", "-n", "a \N{PARTY POPPER}", "train.py", cwd=history, env=environment)
    said = onrecord("ls", cwd=history, env=environment)
    assert said.returncode == 0, said.stderr
    assert b"\\U0001f389" in said.stdout
    line = f"exec {sys.executable} -m onrecord ls >&-"
    closed = subprocess.run(["sh", "-c", line], cwd=history, env=clean_environment(), capture_output=True, check=False)
    assert (closed.returncode, closed.stderr) == (0, b"")


def test_a_ledger_that_lacks_a_table_is_told_with_what_to_do(history: Path, tmp_path: Path) -> None:
    shutil.copytree(history, tmp_path / "copy")
    with sqlite3.connect(tmp_path / "copy" / ".onrecord" / "ledger.db") as connection:
        connection.execute("DROP TABLE run_tags")
    connection.close()
    said = onrecord("ls", cwd=tmp_path / "copy")
    assert said.returncode == 1
    assert b"no such table: run_tags" in said.stderr
    assert b"next: onrecord rebuild" in said.stderr
    assert onrecord("rebuild", cwd=tmp_path / "copy").returncode == 0
    assert onrecord("ls", cwd=tmp_path / "copy").returncode == 0
