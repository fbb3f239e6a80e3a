"""The definition of an environment in a folder, in the form that Azure ML writes and reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from onrecord.conda_dependencies import FILE_NAME, CondaDependencies
from onrecord.environment import Environment, PythonSection
from onrecord.executors.environment_errors import BadEnvironment

DEFINITION, LOCK = "azureml_environment.json", "pylock.toml"


def save(environment: Environment, folder: Path, *, overwrite: bool) -> None:
    """Write the files of one definition, and take away those of another. Raises BadEnvironment, OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    there = [name for name in (DEFINITION, FILE_NAME, LOCK) if (folder / name).exists()]
    if there and not overwrite:
        raise BadEnvironment(
            f"there is an environment in {folder} already",
            why=f"it has {', '.join(there)}",
            next_step="save_to_directory(path, overwrite=True), or name another folder",
            field="path",
        )
    for name in there:
        (folder / name).unlink()
    python = environment.python
    document = {
        "name": environment.name,
        "version": environment.version,
        "environmentVariables": dict(environment.environment_variables),
        "python": {
            "userManagedDependencies": python.user_managed_dependencies,
            "interpreterPath": python.interpreter_path or "python",
            "condaDependenciesFile": None if python.conda_dependencies.is_empty() else FILE_NAME,
        },
    }
    if not python.conda_dependencies.is_empty():
        python.conda_dependencies.save(folder / FILE_NAME)
    if python.pylock is not None:
        (folder / LOCK).write_text(python.pylock, encoding="utf-8")
    (folder / DEFINITION).write_text(json.dumps(document, indent=4) + "\n", encoding="utf-8")


def load(folder: Path) -> Environment:
    """The definition in a folder. Sections that have no meaning here (docker, spark, r) are passed over."""
    document = _read(folder / DEFINITION)
    python = document.get("python") or {}
    if not isinstance(python, dict):
        raise _unreadable(folder / DEFINITION, "its python section is no object")
    dependencies = CondaDependencies()
    if (folder / FILE_NAME).is_file():
        dependencies = CondaDependencies(folder / FILE_NAME)
    elif isinstance(python.get("condaDependencies"), dict):
        dependencies = CondaDependencies(_underlying_structure=python["condaDependencies"])
    path = python.get("interpreterPath")
    lock = folder / LOCK
    return Environment(
        str(document["name"]),
        python=PythonSection(
            user_managed_dependencies=bool(python.get("userManagedDependencies", False)),
            # In Azure ML's files it is `python` wherever nobody chose one: here, the one that submits.
            interpreter_path=None if path in (None, "", "python") else str(path),
            conda_dependencies=dependencies,
            pylock=lock.read_text(encoding="utf-8") if lock.is_file() else None,
        ),
        environment_variables={
            str(key): str(value) for key, value in (document.get("environmentVariables") or {}).items()
        },
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise _unreadable(path, str(problem)) from problem
    if not isinstance(document, dict) or not document.get("name"):
        raise _unreadable(path, "it holds no object with a name")
    return document


def _unreadable(path: Path, why: str) -> BadEnvironment:
    return BadEnvironment(
        f"there is no environment in {path.parent}",
        why=f"{path.name}: {why}",
        next_step="name the folder that save_to_directory wrote",
        field="path",
    )
