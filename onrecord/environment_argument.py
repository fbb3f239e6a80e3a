"""What `--env` means: an interpreter, a file that lists packages, an image, or the name of an environment."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from onrecord.container_section import DockerBuildContext
from onrecord.environment import Environment
from onrecord.script_run_config import BadConfig
from onrecord.workspace import Workspace, WorkspaceNotFound

if TYPE_CHECKING:
    from onrecord.errors import OnRecordError


IMAGE = "docker://"
# A registry or a namespace before the slash, a tag or a digest at the end.
_TAGGED = re.compile(r"[A-Za-z0-9][\w.\-:]*(?:/[\w.\-]+)+(?::[\w.\-]+|@sha256:[0-9a-f]{64})")
_NOT_IN_NAMES = re.compile(r"[^\w.\-]+")
_OF_CONTAINERS = ("Dockerfile", "Containerfile")


def environment_named(given: str | None) -> Environment | None:
    """The environment that was meant; None for none. Raises BadConfig, BadEnvironment, UnknownEnvironment.

    `docker://…` is an image. A path that is there is what it leads to. With a slash and a tag or digest
    (`localhost/mine:1`, `name/space@sha256:…`) it is an image, with another slash the path of an interpreter. A bare
    name is a registered or curated environment, else an interpreter on the PATH; `NAME:VERSION` one version of an
    environment, and where there is none of this name and VERSION is no whole number, an image (`python:3.12`).
    """
    if given is None:
        return None
    if given.startswith(IMAGE):
        return _image(given.removeprefix(IMAGE))
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
        if _TAGGED.fullmatch(given):
            return _image(given)
        if not path.exists() and not given.startswith((".", "/", "~")):
            raise BadConfig(
                f"there is no {given}",
                why="no file or folder of this path is here, and an image's name has a tag or a digest at its end",
                next_step=f"--env {IMAGE}{given} is an image; ./{given} a path",
                field="environment",
            )
        return _interpreter(path.name, str(path.absolute()))
    return _named(given)


def _maker_for(path: Path) -> Callable[[str, Path], Environment] | None:
    name = path.name
    if name == "pyproject.toml":
        return Environment.from_pyproject
    if name.startswith("pylock.") and name.endswith(".toml"):
        return Environment.from_pylock
    if name in _OF_CONTAINERS or path.suffix.lower() in (".dockerfile", ".containerfile"):
        return Environment.from_dockerfile
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
    dockerfile = next((name for name in _OF_CONTAINERS if (path / name).is_file()), None)
    if dockerfile is not None and python.exists():
        raise BadConfig(
            f"{given} has an interpreter and a {dockerfile}",
            why="it can be meant as a virtual environment or as the folder that an image is built from",
            next_step=f"--env {given.rstrip('/')}/bin/python, or move one of the two",
            field="environment",
        )
    if dockerfile is not None:
        context = DockerBuildContext.from_local_directory(None, path, dockerfile)
        return Environment.from_docker_build_context(path.absolute().name or "image", context)
    if not python.exists():
        raise BadConfig(
            f"{given} is a folder, but not a virtual environment",
            why=f"there is no {python}",
            next_step="--env takes an interpreter, the folder that `python -m venv` made or one with a Dockerfile,"
            " or a file of requirements",
            field="environment",
        )
    return _interpreter(path.name, str(python.absolute()))


def _interpreter(name: str, path: str) -> Environment:
    environment = Environment(name or "interpreter")
    environment.python.user_managed_dependencies = True
    environment.python.interpreter_path = path
    return environment


def _image(name: str) -> Environment:
    environment = Environment.from_docker_image(_NOT_IN_NAMES.sub("-", name).strip("-.") or "image", name)
    # Before anything is made for it.
    environment.docker.checked()
    return environment


def _named(given: str) -> Environment:
    name, _, version = given.partition(":")
    try:
        return _registered(name, version)
    except _unknown() as problem:
        # A name without a slash is looked up on the PATH when the run starts.
        if version and problem.values.get("version") is None and not version.isdecimal():
            return _image(given)
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
    image = f"; an image of this name would be {IMAGE}{given}"
    if problem.values.get("version") is not None:
        problem.next_step += image
        return problem
    problem.next_step = (
        f"onrecord env ls lists environments; --env also takes an interpreter or requirements.txt{image}"
    )
    problem.why = "; ".join(
        part for part in (problem.why, "no program of this name is on the PATH, and no file is here") if part
    )
    return problem
