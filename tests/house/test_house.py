"""The house is tidy: style, types, directions of imports, and what the documents say of the code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENGINES = ("ledger", "executors", "snapshot")


def checked(*command: str) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_code_passes_the_linter() -> None:
    checked("ruff", "check", ".")


def test_the_code_is_formatted() -> None:
    checked("ruff", "format", "--check", ".")


def test_the_code_passes_the_strict_type_check() -> None:
    checked("mypy")


def test_imports_go_in_one_direction() -> None:
    checked("lint-imports")


def test_the_packages_that_are_shipped_are_the_folders_that_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    homes = {"onrecord": ROOT / "onrecord", **{f"onrecord.{name}": ROOT / name for name in ENGINES}}
    found = set()
    for package, home in homes.items():
        for init in home.rglob("__init__.py"):
            inner = init.parent.relative_to(home).parts
            # `azureml/path` is put on a path as it is, and its package stands for another one's name.
            is_data = inner[:2] == ("azureml", "path")
            if not is_data and not (package == "onrecord" and inner[:1] and inner[0] in ENGINES):
                found.add(".".join((package, *inner)))
    assert set(project["tool"]["setuptools"]["packages"]) == found
    data = project["tool"]["setuptools"]["package-data"]["onrecord.azureml"]
    assert data == [path.relative_to(ROOT / "onrecord/azureml").as_posix() for path in
                    (ROOT / "onrecord/azureml/path").rglob("*.py")]  # fmt: skip


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_refuses_to_be_imported_under_a_common_name(name: str) -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {name}"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert f"import onrecord.{name}" in result.stderr


def test_the_engines_import_nothing_of_the_face_but_its_base_error() -> None:
    for name in ENGINES:
        for path in (ROOT / name).rglob("*.py"):
            imported = set(re.findall(r"^\s*(?:from|import) (onrecord[\w.]*)", path.read_text(), re.M))
            foreign = {one for one in imported if not one.startswith(f"onrecord.{name}") and one != "onrecord.errors"}
            assert not foreign, f"{path} imports {foreign}"


def test_no_file_is_too_long_to_read_in_one_sitting() -> None:
    for folder in ("onrecord", *ENGINES):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text()
            assert len(text.splitlines()) <= 500 or "in one file" in text[:2000], path


def test_continuous_integration_runs_the_test_command_of_the_readme() -> None:
    commands = re.findall(r"^(python3 -m venv .*)$", (ROOT / "README.md").read_text(), re.M)
    tests = [command for command in commands if "pytest" in command]
    assert len(tests) == 1
    assert f"\n{tests[0]}\n" in (ROOT / ".ci/run").read_text()


def test_the_reference_lists_every_command() -> None:
    from onrecord.cli.main import COMMANDS

    text = (ROOT / "docs/command.md").read_text()
    for name in COMMANDS:
        assert f"onrecord {name}" in text, name


def test_the_documents_say_what_the_code_says() -> None:
    checked(sys.executable, "docs/generate.py", "--check")


def test_only_the_command_knows_the_command() -> None:
    command, entry = ROOT / "onrecord" / "cli", ROOT / "onrecord" / "__main__.py"
    code = [path for path in (ROOT / "onrecord").rglob("*.py") if command not in path.parents and path != entry]
    assert [path for path in code if "onrecord.cli" in path.read_text()] == []
