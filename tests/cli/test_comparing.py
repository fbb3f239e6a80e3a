"""`onrecord diff`: what differs between two runs, as text, as JSON, as a patch, and by its exit code."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from face_make import onrecord, project, repository, run_to_end
from test_running import Terminal

from onrecord import Environment, Run, Workspace
from onrecord.comparison import PathNotThere
from onrecord.run_errors import NothingKnown

Command = Callable[..., Any]
BEFORE = {
    "train.py": "print(1)\nprint(2)\n",
    "util.py": "a = 1\n",
    "data/x.csv": "1,2\n",
    "old/a": "a\n",
    "old/b": "b\n",
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with two runs that differ in everything that is compared; tests only read it."""
    folder = repository(tmp_path_factory.mktemp("pair"), BEFORE)
    (folder / "link").symlink_to("util.py")
    said = onrecord("run", "-n", "first", "train.py", "--alpha", "0.03", cwd=folder)
    assert said.returncode == 0, said.stderr
    project(folder, {"train.py": "print(1)\nprint(3)\n", "new.bin": "\0"})
    (folder / "util.py").rename(folder / "helpers.py")
    (folder / "old").rename(folder / "new")
    (folder / "data" / "x.csv").chmod(0o755)
    (folder / "link").unlink()
    (folder / "link").symlink_to("helpers.py")
    subprocess.run(["git", "add", "-A"], cwd=folder, check=True)
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *identity, "commit", "-qm", "second"], cwd=folder, check=True)
    said = onrecord("run", "-n", "second", "--timeout", "1h", "train.py", "--alpha", "0.3", "--fast", cwd=folder)
    assert said.returncode == 0, said.stderr
    return folder


def runs(folder: Path) -> tuple[str, str]:
    newest, oldest = Workspace(folder).query.runs()
    return oldest.run_id, newest.run_id


def test_two_runs_show_what_was_run_differently_and_which_files_differ(command: Command, pair: Path) -> None:
    said = command("diff", *runs(pair), cwd=pair)
    assert said.code == 1
    lines = said.out.decode().splitlines()
    first, second = (run_id[:10] for run_id in runs(pair))
    assert lines[0] == f"from {first} (first) to {second} (second)"
    words = [line.split() for line in lines]
    assert ["alpha", "0.03", "→", "0.3"] in words
    assert ["fast", "-", "→", "true"] in words
    assert ["time", "limit", "30d", "00h", "→", "1h", "00m"] in words
    assert any(line[:2] == ["git", "commit"] and len(line[2]) == 10 for line in words)
    assert lines[-7].startswith("source  3 changed, 1 added, 3 renamed  (5 files, ")
    assert [" ".join(line) for line in words[-6:]] == [
        "changed data/x.csv now executable",
        "renamed util.py → helpers.py",
        "changed link link to util.py → helpers.py",
        "renamed old/ → new/ 2 files",
        "added new.bin 1 B",
        "changed train.py 18 B",
    ]
    assert b"\x1b" not in said.out


def test_the_source_alone_and_paths_leave_out_how_it_was_run(command: Command, pair: Path) -> None:
    first, second = runs(pair)
    assert b"alpha" not in command("diff", first, second, "--source", cwd=pair).out
    said = command("diff", first, second, "train.py", cwd=pair)
    assert (said.code, said.out.count(b"\n")) == (1, 3)
    said = command("diff", first, "@last", "new", "old", "util.py", "--json", cwd=pair)
    document = json.loads(said.out)
    assert [(file["change"], file["path"]) for file in document["files"]] == [
        ("renamed", "new"),
        ("removed", "util.py"),
    ]
    assert document["facts"] == []


def test_nothing_that_differs_is_exit_code_0(command: Command, pair: Path) -> None:
    first, second = runs(pair)
    said = command("diff", second, "@last", cwd=pair)
    assert (said.code, said.out.decode().splitlines()[1:]) == (0, ["the same source"])
    said = command("diff", first, second, "data/y.csv", cwd=pair)
    assert (said.code, said.out) == (2, b"")
    assert "there is no data/y.csv in" in said.err


def test_json_has_both_sides_every_fact_and_every_file(command: Command, pair: Path) -> None:
    first, second = runs(pair)
    document = json.loads(command("diff", first, second, "--json", cwd=pair).out)
    assert document["equal"] is False
    assert (document["before"]["run_id"], document["after"]["run_id"]) == (first, second)
    assert len(document["before"]["snapshot_id"]) == 64
    assert {"group": "params", "name": "alpha", "before": "0.03", "after": "0.3"} in document["facts"]
    files = {file["path"]: file for file in document["files"]}
    assert list(files) == sorted(files)
    assert {path: (file["change"], file["differs"]) for path, file in files.items()} == {
        "data/x.csv": ("changed", ["mode"]),
        "helpers.py": ("renamed", []),
        "link": ("changed", ["target"]),
        "new": ("renamed", []),
        "new.bin": ("added", []),
        "train.py": ("changed", ["content"]),
    }
    assert files["new"]["files"] == 2
    assert files["train.py"]["before"]["size"] == 18
    assert files["new.bin"]["before"] is None
    assert "patch" not in document
    assert "+print(3)" in json.loads(command("diff", first, second, "-p", "--json", cwd=pair).out)["patch"]


def test_a_patch_in_a_pipe_is_what_git_applies(command: Command, pair: Path, tmp_path: Path) -> None:
    first, second = runs(pair)
    text = command("diff", first, second, "-p", "train.py", "old", "new", "util.py", "helpers.py", cwd=pair).out
    work = tmp_path / "work"
    assert command("restore", first, str(work), cwd=pair).code == 0
    done = subprocess.run(["git", "apply"], cwd=work, input=text, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (work / "train.py").read_text() == "print(1)\nprint(3)\n"
    assert (work / "new" / "a").read_text() == "a\n"
    assert not (work / "old").exists()
    assert b"Binary files /dev/null and b/new.bin differ" in command("diff", first, second, "-p", cwd=pair).out


def test_a_run_is_compared_with_its_folder_as_it_is_now_and_nothing_is_stored(command: Command, tmp_path: Path) -> None:
    run = run_to_end(tmp_path, "print(1)\n")
    objects = sorted((path, path.stat().st_size) for path in (tmp_path / ".onrecord" / "objects").rglob("*"))
    assert command("diff", "@last", cwd=tmp_path).code == 0
    project(tmp_path, {"train.py": "print(2)\n", "more.txt": "more"})
    said = command("diff", run.id[:12], cwd=tmp_path)
    assert said.code == 1
    assert f"{tmp_path} as it is now" in said.out.decode()
    assert b"added    more.txt" in said.out
    assert command("diff", "@last", "./", "train.py", "-p", cwd=tmp_path).out.endswith(b"-print(1)\n+print(2)\n")
    assert command("diff", run.get_snapshot_id(), cwd=tmp_path).code == 1
    assert sorted((path, path.stat().st_size) for path in (tmp_path / ".onrecord" / "objects").rglob("*")) == objects


def test_a_folder_that_is_gone_is_told_with_what_to_name_instead(command: Command, tmp_path: Path) -> None:
    source = project(tmp_path / "source", {"train.py": "print(1)\n"})
    Workspace.create(tmp_path)
    assert command("run", "--source", "source", "train.py", cwd=tmp_path).code == 0
    source.rename(tmp_path / "moved")
    said = command("diff", "@last", cwd=tmp_path)
    assert said.code == 2
    assert f"it was {source}" in said.err
    assert "next: name the folder to compare with: onrecord diff" in said.err
    assert command("diff", "@last", "moved/", cwd=tmp_path).code == 0


@pytest.mark.parametrize("words", [("zzz",), ("@last", "zzz"), ("0" * 64,), ("@last", "no/such"), ()])
def test_what_cannot_be_compared_is_exit_code_2(command: Command, pair: Path, words: tuple[str, ...]) -> None:
    said = command("diff", *words, cwd=pair)
    assert (said.code, said.out) == (2, b"")


def test_a_run_whose_source_was_erased_is_told_so(command: Command, tmp_path: Path) -> None:
    run = run_to_end(tmp_path, "print(1)\n")
    run.erase(files=True)
    for words in (("diff", run.id), ("restore", run.id, "again")):
        said = command(*words, cwd=tmp_path)
        assert said.code in (1, 2)
        assert "no source in the history any more" in said.err
        assert "it was erased on 2" in said.err
        assert "next: onrecord show" in said.err
    with pytest.raises(NothingKnown):
        run.restore_snapshot(tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_in_python_a_run_says_what_differs(tmp_path: Path) -> None:
    environment = Environment("mine", environment_variables={"SEED": "1"})
    first = run_to_end(tmp_path, "print(1)\n", arguments=["in.csv"], environment=environment)
    environment.environment_variables["SEED"] = "2"
    second = run_to_end(tmp_path, "print(2)\n", arguments=["in two.csv"], environment=environment)
    found = first.diff(second)
    assert not found.equal
    assert [change.path for change in found.files] == [b"train.py"]
    assert [tuple(fact) for fact in found.facts] == [
        ("arguments", "arguments", "in.csv", "'in two.csv'"),
        ("variables", "SEED", "1", "2"),
    ]
    assert b"-print(1)" in [line.text for line in found.patch()]
    assert second.diff().equal
    assert second.diff(tmp_path, paths=["train.py"]).equal
    assert first.diff(second.get_snapshot_id(), source_only=True).facts == []
    with pytest.raises(PathNotThere, match="next: "):
        first.diff(second, paths=["nowhere"])


def test_packages_and_the_interpreter_are_compared(command: Command, tmp_path: Path) -> None:
    folder = project(tmp_path, {"train.py": "print(1)\n"})
    made = []
    for version in ("1.0", "2.0"):
        home = tmp_path / f"venv{version}"
        subprocess.run(["python3", "-m", "venv", "--without-pip", str(home)], check=True)
        site = next((home / "lib").glob("python*/site-packages"))
        project(
            site / f"odd-{version}.dist-info", {"METADATA": f"Metadata-Version: 2.1\nName: odd\nVersion: {version}\n"}
        )
        assert onrecord("run", "--env", str(home), "train.py", cwd=folder).returncode == 0
        made.append(Run(Workspace(folder), Workspace(folder).query.runs()[0].run_id))
    facts = {(fact.group, fact.name): (fact.before, fact.after) for fact in made[0].diff(made[1]).facts}
    assert facts[("packages", "odd")] == ("1.0", "2.0")
    assert ("settings", "interpreter") in facts
    assert b"odd 1.0 \xe2\x86\x92 2.0" in command("diff", made[0].id, made[1].id, cwd=folder).out


def test_a_terminal_gets_colours_and_no_control_character_of_a_file(tmp_path: Path) -> None:
    run_to_end(tmp_path, "print(1)\n")
    project(tmp_path, {"train.py": "print('\x1b]0;owned\x07')\n", "evil\x1b[31m": "x\n"})
    terminal = Terminal("diff", "@last", "-p", cwd=tmp_path)
    assert terminal.end() == 1
    assert b"\x1b[31m-print(1)\x1b[0m" in terminal.said
    assert b"\x1b[32m+print('\\x1b]0;owned\\x07')\x1b[0m" in terminal.said
    assert b"evil\x1b" not in terminal.said
    assert b"\x1b]" not in terminal.said
    terminal = Terminal("diff", "@last", cwd=tmp_path)
    assert terminal.end() == 1
    assert b"\x1b[32madded\x1b[0m" in terminal.said or b"\x1b[32madded  \x1b[0m" in terminal.said
