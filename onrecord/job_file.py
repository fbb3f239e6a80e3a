"""A job as a YAML file: the arguments of ScriptRunConfig under their own names, only those that are not as usual."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import attrs

from onrecord import strict_yaml
from onrecord.distributed import Distribution, MpiConfiguration, PyTorchConfiguration, TensorflowConfiguration
from onrecord.environment import Environment, PythonSection, environment_from
from onrecord.resources import Resources
from onrecord.run_configuration import RunConfiguration
from onrecord.script_arguments import checked_arguments, checked_command
from onrecord.script_run_config import ScriptRunConfig

_SCHEMES: dict[str, type] = {
    "mpi": MpiConfiguration,
    "pytorch": PyTorchConfiguration,
    "tensorflow": TensorflowConfiguration,
}
_KNOWN = (
    "source_directory", "script", "arguments", "command", "compute_target", "environment", "environment_variables",
    "max_run_duration_seconds", "distributed_job_config", "resources", "priority", "directories_to_watch",
    "default_excludes", "resume_from", "framework", "spark", "hosts",
)  # fmt: skip


def save(job: ScriptRunConfig, path: Path) -> Path:
    """Write a job; returns the file. Raises BadConfig for what no file can hold, OSError."""
    settings, usual = job.run_config, RunConfiguration()
    script = job.script if job.script is not None or job.command is not None else settings.script
    command = checked_command(job.command if job.command is not None or script is not None else settings.command)
    arguments = checked_arguments(settings.arguments if job.arguments is None else job.arguments)
    folder = path.absolute().parent
    document: dict[str, Any] = {"source_directory": os.path.relpath(Path(job.source_directory).absolute(), folder)}
    if command is not None:
        document["command"] = command if isinstance(command, str) else list(command)
    elif script is not None:
        document["script"] = os.fspath(script)
    resumed = job.resume_from
    more = {
        "arguments": list(arguments) if command is None else [],
        "compute_target": settings.target if settings.target != usual.target else "",
        "environment": settings.environment.as_document() if settings.environment != usual.environment else {},
        "environment_variables": dict(settings.environment_variables),
        "distributed_job_config": _distribution_document(settings.distribution()),
        "resources": settings.resources.as_document() if settings.resources != usual.resources else {},
        "priority": settings.priority,
        "directories_to_watch": list(settings.watched()),
        "resume_from": resumed if isinstance(resumed, str) or resumed is None else resumed.id,
        "hosts": list(settings.hosts),
        "framework": settings.framework if settings.checked_framework() == "PySpark" else "",
        "spark": dict(settings.spark.configuration),
    }
    document |= {name: value for name, value in more.items() if value}
    if settings.max_run_duration_seconds != usual.max_run_duration_seconds:
        document["max_run_duration_seconds"] = settings.max_run_duration_seconds
    if not job.default_excludes:
        document["default_excludes"] = False
    return strict_yaml.write(path, document, "A job for onrecord: onrecord run --config FILE")


def _distribution_document(job: Distribution | None) -> dict[str, Any]:
    if job is None:
        return {}
    name = next(name for name, kind in _SCHEMES.items() if isinstance(job, kind))
    return {"type": name, **{key: value for key, value in attrs.asdict(job).items() if value is not None}}


def load(path: Path) -> ScriptRunConfig:
    """Read a job. Raises BadConfig with the line that is wrong."""
    top = strict_yaml.read(path)
    top.only(_KNOWN)
    source = top.text("source_directory", ".") or "."
    job = ScriptRunConfig(
        os.path.normpath(path.absolute().parent / source),
        top.text("script"),
        top.texts("arguments"),
        command=top.text_or_texts("command"),
        resume_from=top.text("resume_from"),
        default_excludes=top.flag("default_excludes", True),
    )
    settings = job.run_config
    settings.target = top.text("compute_target") or settings.target
    settings.distribute(_distribution(top))
    settings.framework = top.text("framework") or settings.framework
    settings.spark.configuration = top.variables("spark")
    settings.environment = _environment(top) or settings.environment
    settings.environment_variables = top.variables("environment_variables")
    if "max_run_duration_seconds" in top:
        settings.max_run_duration_seconds = top.number("max_run_duration_seconds")
    settings.priority = top.whole("priority")
    if "directories_to_watch" in top:
        settings.history.directories_to_watch = top.texts("directories_to_watch") or ()
    settings.resources = _resources(top)
    settings.hosts = top.texts("hosts") or ()
    return job


def _distribution(top: strict_yaml.Section) -> Distribution | None:
    section = top.section("distributed_job_config")
    if section is None:
        return None
    kind = _SCHEMES.get((section.text("type") or "").lower())
    if kind is None:
        names = f"it is one of {', '.join(_SCHEMES)}"
        if "type" not in section:
            raise top.refuse("distributed_job_config", f"it needs a type: {names}", "type: pytorch")
        raise section.refuse("type", names, "type: pytorch")
    fields = [field.name for field in attrs.fields(kind)]
    section.only(("type", *fields))
    given = {
        name: section.text(name) if name == "communication_backend" else section.whole(name)
        for name in fields
        if name in section and not section.is_null(name)
    }
    made: Distribution = kind(**given)
    return made


def _resources(top: strict_yaml.Section) -> Resources:
    section = top.section("resources")
    if section is None:
        return Resources()
    section.only(Resources._fields)
    return Resources(section.number("cores"), section.text("memory") or 0, section.whole("gpus", 0))


def _environment(top: strict_yaml.Section) -> Environment | None:
    """The definition itself, or a text as `onrecord run --env` takes one; a file is looked for beside this one."""
    if "environment" not in top or top.is_null("environment"):
        return None
    if isinstance(top.plain("environment"), str):
        from onrecord.environment_argument import environment_named

        given = top.text("environment") or ""
        beside = top.path.absolute().parent / given
        return environment_named(str(beside) if beside.exists() else given)
    section = top.section("environment")
    if section is None:
        return None
    section.only(field.name for field in attrs.fields(Environment))
    if "name" not in section:
        raise top.refuse("environment", "it has no name", "environment: {name: mine, …}")
    python = section.section("python")
    if python is not None:
        python.only(field.name for field in attrs.fields(PythonSection))
        python.flag("user_managed_dependencies")
    document = dict(top.plain("environment"))
    variables = section.variables("environment_variables")
    return environment_from({**document, "name": section.text("name"), "environment_variables": variables})
