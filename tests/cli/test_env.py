"""`onrecord env` and `onrecord run --env`."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from environment_make import offline, wheel
from face_make import clean_environment, onrecord, project

from onrecord import Environment, Workspace

SCRIPT = "import tiny, sys\nprint(tiny.VERSION)\n"
Command = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with a script, and requirements that a folder of wheels fulfils."""
    monkeypatch.setenv("ONRECORD_INSTALLER", "uv")
    lines = offline(wheel(tmp_path / "wheels", "tiny").parent, "tiny")
    project(tmp_path / "project", {"train.py": SCRIPT, "requirements.txt": "\n".join(lines)})
    Workspace.create(tmp_path / "project")
    return tmp_path / "project"


def run_in(folder: Path, env: str) -> tuple[int, bytes, str]:
    done = onrecord("run", "--env", env, "train.py", cwd=folder, env=clean_environment(ONRECORD_INSTALLER="uv"))
    return done.returncode, done.stdout, done.stderr.decode()


def test_a_run_in_requirements_says_that_they_are_installed_and_then_only_runs(folder: Path) -> None:
    code, out, err = run_in(folder, "requirements.txt")
    assert (code, out) == (0, b"1.0\n"), err
    assert "onrecord: building the environment project-requirements with uv\n" in err
    assert "onrecord: the environment project-requirements is ready: 1 packages in " in err
    code, out, err = run_in(folder, "requirements.txt")
    assert (code, out) == (0, b"1.0\n")
    assert "building" not in err


def test_a_run_whose_environment_cannot_be_built_ends_as_one_that_never_started(folder: Path) -> None:
    text = (folder / "requirements.txt").read_text()
    (folder / "requirements.txt").write_text(text + "\nnowhere==1\n")
    code, out, err = run_in(folder, "requirements.txt")
    assert (code, out) == (125, b"")
    assert "not found: nowhere" in err
    assert "--find-links" in err


def test_every_way_to_name_an_environment(folder: Path, command: Command) -> None:
    wheel_path = folder.parent / "wheels" / "tiny-1.0-py3-none-any.whl"
    project(folder, {
        "pyproject.toml": f'[project]\nname = "p"\ndependencies = ["tiny @ {wheel_path.as_uri()}"]\n',
        "env.yml": f"dependencies:\n- python\n- pip:\n  - --no-index\n  - {wheel_path}\n",
        "inline.py": f'# /// script\n# dependencies = ["{wheel_path}"]\n# ///\n',
    })  # fmt: skip
    lock = 'lock-version = "1.0"\ncreated-by = "tests"\n[[packages]]\nname = "tiny"\nversion = "1.0"\n'
    digest = hashlib.sha256(wheel_path.read_bytes()).hexdigest()
    (folder / "pylock.toml").write_text(
        f'{lock}wheels = [{{path = "{wheel_path}", hashes = {{sha256 = "{digest}"}}}}]\n'
    )
    Environment.from_pip_requirements("mine", folder / "requirements.txt").register(Workspace(folder))
    Environment.from_pip_requirements("saved", folder / "requirements.txt").save_to_directory(folder / "saved")
    for env in ("pyproject.toml", "env.yml", "inline.py", "pylock.toml", "mine", "mine:1", "saved"):
        said = command("env", "build", env, "--json", cwd=folder)
        assert said.code == 0, said.err
        assert json.loads(said.out)["packages"] == {"tiny": "1.0"}, env
    assert command("env", "build", sys.executable, "--json", cwd=folder).code == 0
    unknown = command("env", "build", "mein", cwd=folder)
    assert unknown.code == 1
    assert "near ones: mine; no program of this name is on the PATH, and no file is here" in unknown.err
    assert "onrecord env ls" in unknown.err
    assert "no version 7" in command("env", "build", "mine:7", cwd=folder).err


def test_listing_showing_verifying_and_removing(folder: Path, command: Command) -> None:
    assert b"AzureML-Minimal" in command("env", "ls", cwd=folder).out
    shown = command("env", "show", "requirements.txt", cwd=folder)
    assert (shown.code, "it is not built" in shown.err) == (0, True)
    built = json.loads(command("env", "build", "requirements.txt", "--json", cwd=folder).out)
    listed = command("env", "ls", cwd=folder).out.decode()
    assert built["key"][:12] in listed
    (entry,) = json.loads(command("env", "ls", "--json", cwd=folder).out)["built"]
    assert (entry["key"], entry["whole"], entry["in_use"]) == (built["key"], True, False)
    for env in ("requirements.txt", built["key"][:8]):
        shown = command("env", "show", env, "--verify", cwd=folder)
        assert shown.code == 0, shown.err
        assert b"tiny 1.0" in shown.out
    module = next(Path(entry["path"]).glob("lib/python3*/site-packages/tiny.py"))
    module.unlink()
    module.write_text("VERSION = '6'\n")
    broken = command("env", "show", "requirements.txt", "--verify", "--json", cwd=folder)
    assert broken.code == 1
    (problem,) = json.loads(broken.out)["problems"]
    assert str(module) in problem
    assert "nothing to remove" in command("env", "prune", cwd=folder).err
    assert "would remove" in command("env", "prune", "--all", "--dry-run", cwd=folder).err
    assert "nothing to remove" in command("env", "prune", "--unused-for", "1h", cwd=folder).err
    assert json.loads(command("env", "prune", built["key"][:8], "--json", cwd=folder).out)["removed"][0]["bytes"] > 0
    assert command("env", "prune", built["key"], cwd=folder).code == 1
    assert json.loads(command("env", "ls", "--json", cwd=folder).out)["built"] == []


def test_a_run_in_an_environment_keeps_it_from_being_removed(folder: Path, command: Command) -> None:
    (folder / "train.py").write_text("import time\ntime.sleep(1000)\n")
    done = onrecord(
        *("run", "-d", "--env", "requirements.txt", "train.py"),
        cwd=folder,
        env=clean_environment(ONRECORD_INSTALLER="uv"),
    )
    assert done.returncode == 0
    run = Workspace(folder).get_run("@last")
    pruned = json.loads(command("env", "prune", "--all", "--json", cwd=folder).out)
    assert pruned["removed"] == []
    run.cancel()
    run.wait_for_completion()
