"""`onrecord snapshot` and `onrecord restore`: what is left out, what is read again, and parts of a snapshot."""

from __future__ import annotations

import json
import mmap
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from face_make import onrecord, project, submit

from onrecord import Run, Workspace
from onrecord.ledger.events import RunCanceled, RunSubmitted
from onrecord.ledger.ids import encode, new_id
from onrecord.snapshot.diff import diff
from onrecord.snapshot.side import StoredSide

Command = Callable[..., Any]
FILES = {"train.py": "print(1)\n", "src/model.py": "a = 1\n", "src/deep/x.py": "x = 1\n", "run.sh": "#!/bin/sh\n"}


@pytest.fixture
def taken(command: Command, tmp_path: Path) -> tuple[Path, str]:
    """A workspace's folder and the snapshot of its files."""
    Workspace.create(tmp_path)
    folder = project(tmp_path, FILES)
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("src")
    return folder, command("snapshot", cwd=folder).out.decode().strip()


@pytest.mark.parametrize(
    ("path", "destination", "written"),
    [
        ("src/model.py", "out.py", {"out.py": "a = 1\n"}),
        ("src/model.py", "new/deep/", {"new/deep/model.py": "a = 1\n"}),
        ("src/model.py", "there", {"there/model.py": "a = 1\n", "there/mine": "mine"}),
        ("src", "out", {"out/model.py": "a = 1\n", "out/deep/x.py": "x = 1\n"}),
        ("./src/deep/", "out", {"out/x.py": "x = 1\n"}),
        ("", "out", {f"out/{name}": text for name, text in FILES.items()}),
    ],
)
def test_a_part_of_a_snapshot_is_restored(
    command: Command, taken: tuple[Path, str], tmp_path: Path, path: str, destination: str, written: dict[str, str]
) -> None:
    folder, snapshot_id = taken
    work = project(tmp_path / "work", {"there/mine": "mine"})
    said = command("restore", snapshot_id, str(work / destination) + "/" * destination.endswith("/"), "--path", path,
                   "--json", cwd=folder)  # fmt: skip
    assert said.code == 0, said.err
    found = {str(name.relative_to(work)): name.read_text() for name in work.rglob("*.*") if name.is_file()}
    assert found == {name: text for name, text in written.items() if "." in name}
    counts = json.loads(said.out)
    # What a submit counts: files. The source has one link.
    assert (counts["files"], counts["links"]) == (sum("mine" not in name for name in written), path == "")
    assert (work / "there" / "mine").read_text() == "mine"


def test_an_executable_and_a_link_are_restored_as_such(command: Command, taken: tuple[Path, str]) -> None:
    folder, snapshot_id = taken
    assert command("restore", snapshot_id, "tool", "--path", "run.sh", cwd=folder).code == 0
    assert os.access(folder / "tool", os.X_OK)
    said = command("restore", snapshot_id, "again", "--path", "link", cwd=folder)
    assert "wrote again" in said.err
    assert (folder / "again").readlink() == Path("src")


def test_a_file_in_the_way_stays_unless_it_is_forced_away(command: Command, taken: tuple[Path, str]) -> None:
    folder, snapshot_id = taken
    project(folder, {"mine": "mine", "folder/train.py/inside": "mine"})
    for path, told in (("train.py", "--force"), ("src", "not a folder"), ("nowhere", "there is no nowhere")):
        said = command("restore", snapshot_id, "mine", "--path", path, cwd=folder)
        assert said.code == 1
        assert told in said.err
    assert (folder / "mine").read_text() == "mine"
    assert command("restore", snapshot_id, "mine", "--path", "train.py", "--force", cwd=folder).code == 0
    assert (folder / "mine").read_text() == FILES["train.py"]
    assert command("restore", snapshot_id, "mine", "--path", "link", "--force", cwd=folder).code == 0
    assert (folder / "mine").is_symlink()
    said = command("restore", snapshot_id, "folder", "--path", "train.py", "--force", cwd=folder)
    assert "a folder is not replaced" in said.err
    assert "did you mean model.py?" in command("restore", snapshot_id, "x", "--path", "src/modle.py", cwd=folder).err
    assert command("restore", snapshot_id, "mine/x", "--path", "train.py", cwd=folder).code == 0


def test_a_run_without_a_source_is_told_so(command: Command, tmp_path: Path) -> None:
    found = Workspace.create(tmp_path)
    run_id = encode(new_id(1, bytes(10)))
    found.journal.append(run_id, [RunSubmitted(experiment="tests", config={}), RunCanceled()], seal=True)
    said = command("restore", run_id, "again", cwd=tmp_path)
    assert said.code == 1
    assert "has no source in the history\n" in said.err
    assert "it was not started from a source folder" in said.err


def test_the_default_excludes_can_be_turned_off(command: Command, tmp_path: Path) -> None:
    Workspace.create(tmp_path)
    project(tmp_path, {"train.py": "print(1)\n", "outputs/old": "x", "__pycache__/a.pyc": "x", "venv/pyvenv.cfg": "x"})
    project(tmp_path, {"ignored": "x", ".gitignore": "ignored\n"})
    assert json.loads(command("snapshot", "--json", cwd=tmp_path).out)["files"] == 2
    said = command("snapshot", "--no-default-excludes", "--json", cwd=tmp_path)
    assert json.loads(said.out)["files"] == 5
    run = submit(tmp_path, default_excludes=False)
    run.wait_for_completion()
    assert run.get_snapshot_id() == json.loads(said.out)["snapshot_id"]
    assert run.get_details()["runDefinition"]["default_excludes"] is False
    # Compared with its folder under its own rules.
    assert run.diff().equal
    usual = submit(tmp_path)
    usual.wait_for_completion()
    assert "default_excludes" not in usual.get_details()["runDefinition"]
    said = onrecord("run", "--no-default-excludes", "train.py", cwd=tmp_path)
    assert b"5 files" in said.stderr


def test_rehash_sees_what_kept_its_size_and_its_times(command: Command, tmp_path: Path) -> None:
    Workspace.create(tmp_path)
    project(tmp_path, {"train.py": "print(1)\n", "data": "old"})
    with (tmp_path / "data").open("r+b") as file, mmap.mmap(file.fileno(), 3) as mapping:
        mapping[0] = mapping[0]
        mapping.flush()
        time.sleep(0.1)
        command("snapshot", cwd=tmp_path)
        first = command("snapshot", cwd=tmp_path).out
        before = (tmp_path / "data").stat()
        mapping[:] = b"new"
        after = (tmp_path / "data").stat()
        if (before.st_mtime_ns, before.st_ctime_ns) == (after.st_mtime_ns, after.st_ctime_ns):
            assert command("snapshot", cwd=tmp_path).out == first
        assert command("snapshot", "--rehash", cwd=tmp_path).out != first
        said = onrecord("run", "--rehash", "-d", "train.py", cwd=tmp_path)
    assert said.returncode == 0
    assert Run(Workspace(tmp_path), said.stdout.decode().strip()).get_snapshot_id() != first.decode().strip()


def test_a_large_snapshot_is_named_entry_by_entry_and_goes_through(command: Command, tmp_path: Path) -> None:
    Workspace.create(tmp_path)
    project(tmp_path, {"train.py": "print(1)\n"})
    with (tmp_path / "big.bin").open("wb") as file:
        file.truncate(301_000_000)
    said = command("snapshot", cwd=tmp_path)
    assert said.code == 0
    assert said.err.splitlines() == [
        "onrecord: the snapshot holds 2 files and 301 MB; the largest entries:",
        "onrecord:   big.bin       301.0 MB",
        "onrecord:   train.py        0.0 MB",
        "onrecord: name what the run does not need in .amlignore or .gitignore",
        "onrecord: 2 files, 301.0 MB; stored 301.0 MB",
    ]
    taken = StoredSide(Workspace(tmp_path).store, said.out.decode().strip())
    assert diff(taken, taken) == []


def test_counts_of_one_are_singular(command: Command, tmp_path: Path) -> None:
    Workspace.create(tmp_path)
    project(tmp_path, {"train.py": "print(1)\n"})
    said = command("snapshot", cwd=tmp_path)
    assert "1 file, 9 B" in said.err
    assert "wrote 1 file into again" in command("restore", said.out.decode().strip(), "again", cwd=tmp_path).err
    assert (
        b": 1 file, 9 B"
        in onrecord("run", "train.py", cwd=project(tmp_path / "one", {"train.py": "print(1)\n"})).stderr
    )
    assert "wrote 1 run, " in command("export", "@last", "file", cwd=tmp_path).err
    assert b" of 1 run, " in command("verify", cwd=tmp_path).out


def test_nothing_is_restored_into_the_workspace_s_own_folder(command: Command, taken: tuple[Path, str]) -> None:
    folder, snapshot = taken
    said = command("restore", "--force", snapshot, ".onrecord/objects", cwd=folder)
    assert said.code == 1
    assert "workspace's own folder" in said.err
    assert list((folder / ".onrecord").rglob("*.py")) == []
