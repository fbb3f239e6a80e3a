"""The definition of an environment in a folder, in the form that Azure ML writes and reads."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from onrecord.conda_dependencies import FILE_NAME, CondaDependencies
from onrecord.container_section import DockerSection
from onrecord.container_section import section_from as docker_from
from onrecord.environment import Environment, PythonSection
from onrecord.executors.environment_errors import BadEnvironment
from onrecord.spark_section import section_from as spark_from

DEFINITION, LOCK, DOCKERFILE = "azureml_environment.json", "pylock.toml", "BaseDockerfile"
# What Azure ML writes wherever nobody chose an image; it is on no machine but its own.
_AZURES_OWN = "mcr.microsoft.com/azureml/"


def save(environment: Environment, folder: Path, *, overwrite: bool) -> None:
    """Write the files of one definition, and take away those of another. Raises BadEnvironment, OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    there = [name for name in (DEFINITION, FILE_NAME, LOCK, DOCKERFILE) if (folder / name).exists()]
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
        **({} if environment.compat is None else {"compat": environment.compat}),
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
    docker, spark = environment.docker.as_document(), environment.spark.as_document()
    if "base_dockerfile" in docker:
        (folder / DOCKERFILE).write_text(docker.pop("base_dockerfile"), encoding="utf-8")
        docker["base_dockerfile"] = DOCKERFILE
    sections = {"docker": _in_camel_case(docker), "spark": _in_camel_case(spark)}
    document |= {name: section for name, section in sections.items() if section}
    (folder / DEFINITION).write_text(json.dumps(document, indent=4) + "\n", encoding="utf-8")


def load(folder: Path) -> Environment:
    """The definition in a folder. Sections that have no meaning here (r, databricks) are passed over."""
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
        compat=document.get("compat"),
        python=PythonSection(
            user_managed_dependencies=bool(python.get("userManagedDependencies", False)),
            # In Azure ML's files it is `python` wherever nobody chose one: here, the one that submits.
            interpreter_path=None if path in (None, "", "python") else str(path),
            conda_dependencies=dependencies,
            pylock=lock.read_text(encoding="utf-8") if lock.is_file() else None,
        ),
        docker=_docker_of(document.get("docker"), folder),
        spark=spark_from(_in_snake_case(document.get("spark"))),
        environment_variables={
            str(key): str(value) for key, value in (document.get("environmentVariables") or {}).items()
        },
    )


def _docker_of(given: object, folder: Path) -> DockerSection:
    document = _in_snake_case(given)
    if document.get("base_dockerfile") == DOCKERFILE:
        document["base_dockerfile"] = (folder / DOCKERFILE).read_text(encoding="utf-8")
    if str(document.get("base_image") or "").startswith(_AZURES_OWN):
        document.setdefault("enabled", False)
    registry = document.pop("base_image_registry", None)
    if isinstance(registry, dict) and registry.get("address"):
        document["registry"] = str(registry["address"])
    return docker_from(document)


def _in_camel_case(section: dict[str, Any]) -> dict[str, Any]:
    return {re.sub(r"_(.)", lambda found: found[1].upper(), name): value for name, value in section.items()}


def _in_snake_case(section: object) -> dict[str, Any]:
    if not isinstance(section, dict):
        return {}
    return {re.sub(r"([A-Z])", lambda found: f"_{found[1].lower()}", name): value for name, value in section.items()}


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
