"""What `--env` means: an interpreter, a file that lists packages, or the name of an environment."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from onrecord.environment import Environment
from onrecord.script_run_config import BadConfig
from onrecord.workspace import Workspace, WorkspaceNotFound

if TYPE_CHECKING:
    from onrecord.errors import OnRecordError


def environment_named(given: str | None) -> Environment | None:
    """The environment that was meant; None for none. Raises BadConfig, BadEnvironment, UnknownEnvironment.

    A path is what it leads to. A bare name is a registered or curated environment (`NAME:VERSION` one version
    of it), else an interpreter on the PATH.
    """
    if given is None:
        return None
    path = Path(given)
    if re.match(r"\w+=", given) and not path.exists():
        name, _, value = given.partition("=")
        raise BadConfig(
            f"--env takes an interpreter, and {given} sets a variable",
            why="a script has the environment variables of the command that runs it",
            next_step=f"{name}={value or '…'} onrecord run …   (in Python: environment.environment_variables)",
            field="environment",
        )
    if path.is_dir():
        return _of_folder(given, path)
    if path.is_file():
        maker = _maker_for(path)
        if maker is not None:
            return maker(_name_for(path), path)
    if "/" in given:
        return _interpreter(path.name, str(path.absolute()))
    return _named(given)


def _maker_for(path: Path) -> Callable[[str, Path], Environment] | None:
    name = path.name
    if name == "pyproject.toml":
        return Environment.from_pyproject
    if name.startswith("pylock.") and name.endswith(".toml"):
        return Environment.from_pylock
    return {
        ".txt": Environment.from_pip_requirements,
        ".in": Environment.from_pip_requirements,
        ".yml": Environment.from_conda_specification,
        ".yaml": Environment.from_conda_specification,
        ".py": Environment.from_script,
    }.get(path.suffix)


def _name_for(path: Path) -> str:
    # `requirements.txt` says less than the folder that it lies in.
    return f"{path.absolute().parent.name}-{path.stem}" if path.absolute().parent.name else path.stem


def _of_folder(given: str, path: Path) -> Environment:
    if (path / "azureml_environment.json").is_file():
        return Environment.load_from_directory(path)
    python = path / "bin" / "python"
    if not python.exists():
        raise BadConfig(
            f"{given} is a folder, but not a virtual environment",
            why=f"there is no {python}",
            next_step="--env takes an interpreter, the folder that `python -m venv` made, or a file of requirements",
            field="environment",
        )
    return _interpreter(path.name, str(python.absolute()))


def _interpreter(name: str, path: str) -> Environment:
    environment = Environment(name or "interpreter")
    environment.python.user_managed_dependencies = True
    environment.python.interpreter_path = path
    return environment


def _named(given: str) -> Environment:
    name, _, version = given.partition(":")
    try:
        return _registered(name, version)
    except _unknown() as problem:
        # A name without a slash is looked up on the PATH when the run starts.
        if version or not shutil.which(given):
            raise _explained(given, problem) from problem
    return _interpreter(given, given)


def _registered(name: str, version: str) -> Environment:
    from onrecord.environments import find, versions

    try:
        workspace = Workspace.from_config()
    except WorkspaceNotFound:
        return versions(None, name)[-1]
    return find(workspace, name, version or None)


def _unknown() -> type[OnRecordError]:
    from onrecord.environments import UnknownEnvironment

    return UnknownEnvironment


def _explained(given: str, problem: OnRecordError) -> OnRecordError:
    if problem.values.get("version") is not None:
        return problem
    problem.next_step = "onrecord env ls lists environments; --env also takes an interpreter or requirements.txt"
    problem.why = "; ".join(
        part for part in (problem.why, "no program of this name is on the PATH, and no file is here") if part
    )
    return problem
