"""What git knows of the source becomes properties of the run, and nothing of the repository is executed."""

from __future__ import annotations

from pathlib import Path

import pytest
from face_make import git, project, repository, run_to_end, submit

from onrecord.git_facts import ALIASES, read_git_facts, without_credentials

FILES = {"train.py": "print(1)\n", "data.txt": "one\ntwo\n"}


def test_the_facts_of_a_dirty_repository_are_properties_of_the_run(tmp_path: Path) -> None:
    folder = repository(tmp_path / "source", {**FILES, ".gitignore": ".onrecord\n"})
    git(folder, "remote", "add", "origin", "https://me:secret@example.org/team/project.git?token=1")
    (folder / "data.txt").write_text("one\n2\n")
    (folder / "train.py").write_bytes(b"print(2)\n\n")
    run = submit(folder)
    run.wait_for_completion()
    properties = run.get_properties()
    assert properties["onrecord.git.repository_uri"] == "https://example.org/team/project.git"
    assert properties["onrecord.git.branch"] == "main"
    assert properties["onrecord.git.commit"] == git(folder, "rev-parse", "HEAD")
    assert properties["onrecord.git.dirty"] == "True"
    for name, aliases in ALIASES.items():
        assert [properties[alias] for alias in aliases] == [properties[name]] * len(aliases)
    assert properties["azureml.git.commit"] == properties["onrecord.git.commit"]

    git(tmp_path, "clone", "-q", str(folder), "again")
    again = tmp_path / "again"
    patch = run.download_file("onrecord/git.patch", tmp_path / "patch")
    git(again, "apply", str(patch))
    for name in FILES:
        assert (again / name).read_bytes() == (folder / name).read_bytes()


def test_a_clean_repository_has_no_patch(tmp_path: Path) -> None:
    folder = repository(tmp_path, FILES)
    facts = read_git_facts(folder)
    assert facts.properties["onrecord.git.dirty"] == "False"
    assert "onrecord.git.repository_uri" not in facts.properties
    assert facts.patch == b""


def test_a_file_that_git_does_not_know_makes_it_dirty(tmp_path: Path) -> None:
    folder = repository(tmp_path, FILES)
    (folder / "new.txt").write_text("new")
    assert read_git_facts(folder).properties["onrecord.git.dirty"] == "True"


def test_a_binary_change_in_a_folder_of_the_repository_is_in_the_patch(tmp_path: Path) -> None:
    folder = repository(tmp_path / "all", {"project/train.py": "print(1)\n", "beside.txt": "x"})
    (folder / "project" / "data.bin").write_bytes(bytes(range(256)))
    git(folder, "add", "-A")
    for name, value in (("diff.noprefix", "true"), ("diff.relative", "true"), ("color.ui", "always")):
        git(folder, "config", name, value)
    (folder / "beside.txt").write_text("changed, and no part of the source")
    facts = read_git_facts(folder / "project")
    assert b"beside" not in facts.patch
    git(folder, "stash", "-q")
    (tmp_path / "patch").write_bytes(facts.patch)
    git(folder / "project", "apply", str(tmp_path / "patch"))
    assert (folder / "project" / "data.bin").read_bytes() == bytes(range(256))


def test_a_detached_head_has_a_commit_and_no_branch(tmp_path: Path) -> None:
    folder = repository(tmp_path, FILES)
    git(folder, "checkout", "-q", "--detach")
    properties = read_git_facts(folder).properties
    assert properties["onrecord.git.commit"] == git(folder, "rev-parse", "HEAD")
    assert "onrecord.git.branch" not in properties


def test_a_repository_without_a_commit_has_a_branch_and_is_dirty(tmp_path: Path) -> None:
    git(project(tmp_path, FILES), "init", "-q", "-b", "main")
    properties = read_git_facts(tmp_path).properties
    assert properties == {"onrecord.git.branch": "main", "onrecord.git.dirty": "True"}


def test_a_source_in_no_repository_has_no_facts(tmp_path: Path) -> None:
    run = run_to_end(tmp_path, "print(1)\n")
    assert run.get_properties() == {}
    assert "onrecord/git.patch" not in run.get_file_names()


def test_a_broken_repository_has_no_facts_and_stops_no_run(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: nowhere\n")
    assert run_to_end(tmp_path, "print(1)\n").status == "Completed"


def test_a_repository_cannot_have_its_own_programs_executed(tmp_path: Path) -> None:
    folder = repository(tmp_path / "source", {**FILES, ".gitattributes": "*.txt diff=evil filter=evil\n"})
    mark = tmp_path / "executed"
    evil = tmp_path / "evil"
    evil.write_text(f"#!/bin/sh\ntouch {mark}\ncat\n")
    evil.chmod(0o755)
    for name in ("core.fsmonitor", "diff.external", "diff.evil.command", "diff.evil.textconv", "core.pager"):
        git(folder, "config", name, str(evil))
    git(folder, "config", "core.sshCommand", str(evil))
    git(folder, "config", "remote.origin.url", f"ext::{evil}")
    git(folder, "config", "remote.origin.uploadpack", str(evil))
    (folder / "data.txt").write_text("three\n")
    mark.unlink(missing_ok=True)
    facts = read_git_facts(folder)
    assert facts.properties["onrecord.git.dirty"] == "True"
    assert b"+three" in facts.patch
    assert not mark.exists()


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("https://token@example.org/a.git", "https://example.org/a.git"),
        ("https://a:b@c:d@example.org/a.git#frag", "https://example.org/a.git"),
        ("ssh://git:pw@example.org:22/a.git", "ssh://example.org:22/a.git"),
        ("git@example.org:team/a.git", "git@example.org:team/a.git"),
        ("/local/path", "/local/path"),
        (None, ""),
    ],
)
def test_an_address_loses_what_is_secret_in_it(address: str | None, kept: str) -> None:
    assert without_credentials(address) == kept
