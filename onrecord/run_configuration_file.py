"""`.azureml/NAME.runconfig`: a run configuration as Azure ML writes and reads it.

Source of keys and defaults: azureml-core 1.x, `azureml.core.runconfig`. Sections that have no meaning here (Docker
images, virtual machines, Databricks …) are passed over; data that the script would miss is refused.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from onrecord.conda_dependencies import CondaDependencies
from onrecord.config_errors import BadConfig
from onrecord.environment import Environment
from onrecord.run_configuration import (
    HistoryConfiguration,
    MpiSection,
    PyTorchSection,
    RunConfiguration,
    SparkConfiguration,
    TensorflowSection,
)
from onrecord.script_arguments import checked_arguments, checked_command
from onrecord.strict_yaml import Section, read, write

FOLDERS = (".azureml", "aml_config", "")
SUFFIX = ".runconfig"
_SEPARATE = "environment.yml"
_KNOWN = (
    "script", "arguments", "command", "target", "framework", "communicator", "maxRunDurationSeconds", "nodeCount",
    "priority", "environment", "history", "spark", "tensorflow", "mpi", "pytorch",
)  # fmt: skip
# Of Azure's machines and services.
_PASSED_OVER = (
    "autoPrepareEnvironment", "jobName", "jobType", "credentialPassthrough", "identity", "useAbsolutePath",
    "containerInstance", "exposePorts", "docker", "hdi", "parallelTask", "amlcompute", "aisuperComputer",
    "kubernetesCompute", "cmk8sCompute", "commandReturnCodeConfig", "sourceDirectoryDataStore", "virtualCluster",
    "modelIds", "datacaches", "instanceTypes", "applicationEndpoints", "azureDevOpsArtifact", "outputData", "data",
    "dataReferences", "dataBricks", "environmentVariables", "snapshotProject", "services", "parameters",
    "autologgerSettings",
)  # fmt: skip
_DATA = ("dataReferences", "data", "outputData", "datacaches")
_PYTHON = (
    "userManagedDependencies", "interpreterPath", "condaDependenciesFile", "condaDependencies",
    "baseCondaEnvironment", "pylock",
)  # fmt: skip
_ENVIRONMENT = (
    "name", "version", "environmentVariables", "python", "docker", "spark", "r", "databricks",
    "inferencingStackVersion", "assetId", "autoRebuild",
)  # fmt: skip


def save(
    settings: RunConfiguration,
    path: str | os.PathLike[str] | None,
    name: str | None,
    *,
    separate_environment_yaml: bool,
) -> Path:
    """Write a run configuration; returns the file. Raises BadConfig, OSError."""
    folder = Path(path or ".")
    if name is None and path is None:
        raise BadConfig(
            "the file has no name", next_step="save('.', 'gpu') writes .azureml/gpu.runconfig", field="name"
        )
    if name is None:
        file, folder = folder, _project_of(folder)
    else:
        file = folder / FOLDERS[0] / f"{_checked_name(name)}{SUFFIX}"
    dependencies: str | None = None
    python = settings.environment.python
    if separate_environment_yaml and not python.conda_dependencies.is_empty():
        place = file.parent / _SEPARATE
        place.parent.mkdir(parents=True, exist_ok=True)
        python.conda_dependencies.save(place)
        dependencies = Path(os.path.relpath(place, folder)).as_posix()
    return write(file, _document(settings, dependencies), "A run configuration (onrecord, and Azure ML's SDK v1)")


def _project_of(file: Path) -> Path:
    return file.parent.parent if file.parent.name in FOLDERS[:2] else file.parent


def _document(settings: RunConfiguration, dependencies_file: str | None) -> dict[str, Any]:
    command = checked_command(settings.command or None)
    priority = {} if settings.priority is None else {"priority": settings.priority}
    return {
        "script": os.fspath(settings.script or ""),
        "arguments": list(checked_arguments(settings.arguments)),
        "command": list(command) if isinstance(command, tuple) else command or "",
        "target": settings.target,
        "framework": settings.checked_framework(),
        "communicator": settings.checked_communicator(),
        "maxRunDurationSeconds": settings.max_run_duration_seconds,
        "nodeCount": settings.node_count,
        **priority,
        "environment": _environment_document(settings, dependencies_file),
        "history": {
            "outputCollection": settings.history.output_collection,
            "snapshotProject": settings.history.snapshot_project,
            "directoriesToWatch": list(settings.history.directories_to_watch),
        },
        "spark": {"configuration": dict(settings.spark.configuration)},
        "tensorflow": {
            "workerCount": settings.tensorflow.worker_count,
            "parameterServerCount": settings.tensorflow.parameter_server_count,
        },
        "mpi": {"processCountPerNode": settings.mpi.process_count_per_node},
        "pytorch": {
            "communicationBackend": settings.communicator.lower(),
            "processCount": settings.pytorch.process_count,
        },
    }


def _environment_document(settings: RunConfiguration, dependencies_file: str | None) -> dict[str, Any]:
    environment = settings.environment
    python = environment.python
    wanted = python.conda_dependencies
    variables = {**environment.environment_variables, **settings.environment_variables}
    return {
        "name": environment.name,
        "version": environment.version,
        "environmentVariables": {name: str(value) for name, value in variables.items()},
        "python": {
            "userManagedDependencies": python.user_managed_dependencies,
            "interpreterPath": python.interpreter_path or "python",
            "condaDependenciesFile": dependencies_file,
            **({} if wanted.is_empty() or dependencies_file else {"condaDependencies": wanted.as_dict()}),
            **({} if python.pylock is None else {"pylock": python.pylock}),
        },
    }


def find(path: str | os.PathLike[str], name: str | None) -> Path:
    """The file that is meant. Raises BadConfig with the places that were looked at."""
    place = Path(path)
    if name is None:
        if place.is_file():
            return place
        found = sorted({f.name for sub in FOLDERS for f in (place / sub).glob(f"*{SUFFIX}")}) if place.is_dir() else []
        raise BadConfig(
            f"{place} is no run configuration",
            why=f"it is a folder, with {', '.join(found) or 'none in it'}"
            if place.is_dir()
            else "there is no such file",
            next_step=f"RunConfiguration.load('{place}', '{found[0].removesuffix(SUFFIX) if found else 'NAME'}')",
            field="path",
        )
    looked = [place / folder / f"{_checked_name(name)}{SUFFIX}" for folder in FOLDERS]
    for file in looked:
        if file.is_file():
            return file
    raise BadConfig(
        f"there is no run configuration {name} in {place}",
        why=f"looked at {', '.join(map(str, looked))}",
        next_step=f"RunConfiguration().save('{place}', '{name}') writes one",
        field="name",
    )


def _checked_name(name: str) -> str:
    if not name or "/" in name or "\0" in name or name in (".", ".."):
        raise BadConfig(
            f"{name!r} cannot be the name of a run configuration", why="it becomes the name of a file",
            next_step="for example 'gpu'", field="name",
        )  # fmt: skip
    return name


def load(path: str | os.PathLike[str], name: str | None) -> RunConfiguration:
    """Read a run configuration. Raises BadConfig with the line that is wrong."""
    file = find(path, name)
    top = read(file)
    top.only((*_KNOWN, *_PASSED_OVER))
    for key in _DATA:
        if key in top and top.plain(key):
            raise top.refuse(
                key, "it names data of an Azure datastore, which the script would miss here",
                "pass the path of the data as an argument, and take these lines out",
            )  # fmt: skip
    settings = RunConfiguration(
        top.text("script") or None,
        top.texts("arguments"),
        top.text("framework") or "Python",
        top.text("communicator") or "None",
        command=top.text_or_texts("command") or None,
        target=top.text("target") or "local",
        node_count=top.whole("nodeCount", 1),
        priority=top.whole("priority"),
        environment=_environment(top, _project_of(file)),
    )
    if "maxRunDurationSeconds" in top:
        settings.max_run_duration_seconds = top.number("maxRunDurationSeconds")
    settings.environment_variables = top.variables("environmentVariables")
    _read_sections(top, settings)
    return settings


def _read_sections(top: Section, settings: RunConfiguration) -> None:
    mpi = _section(top, "mpi", "processCountPerNode")
    if mpi is not None:
        settings.mpi = MpiSection(mpi.whole("processCountPerNode", 1))
    torch = _section(top, "pytorch", "processCount", "communicationBackend")
    if torch is not None:
        settings.pytorch = PyTorchSection(torch.whole("processCount"))
    tensorflow = _section(top, "tensorflow", "workerCount", "parameterServerCount")
    if tensorflow is not None:
        counts = (tensorflow.whole(name, 1) for name in ("workerCount", "parameterServerCount"))
        settings.tensorflow = TensorflowSection(*counts)
    spark = _section(top, "spark", "configuration")
    if spark is not None:
        settings.spark = SparkConfiguration(spark.variables("configuration"))
    history = _section(top, "history", "outputCollection", "snapshotProject", "directoriesToWatch")
    if history is not None:
        settings.history = HistoryConfiguration(
            history.flag("outputCollection", True),
            history.flag("snapshotProject", True),
            history.texts("directoriesToWatch") or ["logs"],
        )


def _section(top: Section, name: str, *known: str) -> Section | None:
    section = top.section(name)
    if section is not None:
        section.only(known)
    return section


def _environment(top: Section, project: Path) -> Environment:
    section = _section(top, "environment", *_ENVIRONMENT)
    environment = Environment("current-interpreter")
    if section is None:
        return environment
    environment.name = section.text("name") or environment.name
    environment.version = section.text("version")
    environment.environment_variables = section.variables("environmentVariables")
    python = _section(section, "python", *_PYTHON)
    if python is None:
        return environment
    made, path = environment.python, python.text("interpreterPath")
    made.user_managed_dependencies = python.flag("userManagedDependencies", False)
    # In Azure ML's files it is `python` wherever nobody chose one: here, the one that submits.
    made.interpreter_path = None if path in (None, "", "python") else path
    made.pylock = python.text("pylock")
    file = python.text("condaDependenciesFile")
    if file:
        made.conda_dependencies = CondaDependencies(project / file)
    elif python.section("condaDependencies") is not None:
        made.conda_dependencies = CondaDependencies(_underlying_structure=python.plain("condaDependencies"))
    return environment
