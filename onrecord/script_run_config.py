"""What to run: a source folder, a script or a command, its arguments, where, in what, and for how long."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import attrs

from onrecord.checked_config import CheckedConfig as CheckedConfig
from onrecord.compat_checks import check_compat, with_compat
from onrecord.config_checks import (
    check_interpreter,
    checked_limit,
    checked_priority,
    checked_script,
    checked_source,
    checked_variables,
)
from onrecord.config_errors import BadConfig as BadConfig
from onrecord.distributed import Distribution, checked_distribution
from onrecord.environment import Environment
from onrecord.resources import Resources
from onrecord.run_configuration import MAX_DURATION_SECONDS_DEFAULT as MAX_DURATION_SECONDS_DEFAULT
from onrecord.run_configuration import RunConfiguration
from onrecord.script_arguments import checked_arguments, checked_command
from onrecord.script_kind import check_program, check_runnable, search_path, words_before

if TYPE_CHECKING:
    from onrecord.container_section import DockerConfiguration
    from onrecord.run import Run


# Whoever gives none gets one of their own.
_NEW = cast(RunConfiguration, None)


class IgnoredSetting(UserWarning):
    """A setting that was given beside a `run_config`, which has its own."""


@attrs.define
class ScriptRunConfig:
    """One job.

    `source_directory` is snapshotted at submit; `script` is relative to it. `arguments` are passed as
    `str()` writes them, without a shell. `command` instead of both: a text for `/bin/sh -c`, or a list, a program and
    its arguments. Without a `compute_target` the run is local, without an
    `environment` it uses the interpreter that submits. `environment_variables` win over those of the environment.
    `max_run_duration_seconds`: the run is ended after that (default 30 days; None is no limit).
    `distributed_job_config`: run the script in several processes,
    each with its own `logs/rank-N.txt`. `resources`: what the run takes of a target with limits, where it waits
    until there is room; of those that wait, one with a greater `priority` starts first. `directories_to_watch`:
    folders that the script writes besides `outputs` and `logs` and that belong into the history too.
    `default_excludes`: what no run needs is left out of the snapshot although no ignore file says so (.git, virtual
    environments, caches, outputs/, logs/). `resume_from`: a run or its id, whose outputs the script finds in the folder
    `--resume-from`. `framework`: `PySpark` submits the script to Spark. `docker_runtime_config`: whether this job uses
    its environment's container, and how.

    `run_config` holds where, in what and for how long; it may be changed until the job is submitted, and given to
    several jobs. Where one is given, settings beside it that it has too are ignored, with a warning, as in Azure ML;
    what is to run (`script`, `arguments`, `command`) wins over its own.
    """

    source_directory: str | os.PathLike[str] = "."
    script: str | os.PathLike[str] | None = None
    arguments: Sequence[object] | None = None
    run_config: RunConfiguration = attrs.field(default=_NEW)
    # The aliases are what type checkers go by; attrs itself would leave the underscore out.
    _compute_target: str | None = attrs.field(alias="compute_target", default=None, kw_only=True, repr=False, eq=False)
    _environment: Environment | None = attrs.field(
        alias="environment", default=None, kw_only=True, repr=False, eq=False
    )
    _environment_variables: Mapping[str, str] | None = attrs.field(
        alias="environment_variables", default=None, kw_only=True, repr=False, eq=False
    )
    _max_run_duration_seconds: float | None = attrs.field(
        alias="max_run_duration_seconds", default=MAX_DURATION_SECONDS_DEFAULT, kw_only=True, repr=False, eq=False
    )
    _distributed_job_config: Distribution | None = attrs.field(
        alias="distributed_job_config", default=None, kw_only=True, repr=False, eq=False
    )
    _resources: Resources = attrs.field(alias="resources", default=Resources(), kw_only=True, repr=False, eq=False)
    _priority: int | None = attrs.field(alias="priority", default=None, kw_only=True, repr=False, eq=False)
    _directories_to_watch: Sequence[str] = attrs.field(
        alias="directories_to_watch", default=(), kw_only=True, repr=False, eq=False
    )
    _framework: str | None = attrs.field(alias="framework", default=None, kw_only=True, repr=False, eq=False)
    _docker_runtime_config: DockerConfiguration | None = attrs.field(
        alias="docker_runtime_config", default=None, kw_only=True, repr=False, eq=False
    )
    default_excludes: bool = attrs.field(default=True, kw_only=True)
    resume_from: Run | str | None = attrs.field(default=None, kw_only=True)
    command: str | Sequence[object] | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        given = self._taken_settings()
        if self.run_config is None:
            self.run_config = RunConfiguration()
        elif not isinstance(self.run_config, RunConfiguration):
            raise BadConfig(
                f"run_config is {self.run_config!r}",
                why="it is a RunConfiguration",
                next_step="run_config=RunConfiguration.load('.', 'gpu')",
                field="run_config",
            )
        elif given:
            warnings.warn(
                f"{', '.join(given)} beside run_config: ignored, for the run_config has its own"
                f" (set it there: run_config.{_IN_RUN_CONFIG.get(next(iter(given)), next(iter(given)))})",
                IgnoredSetting,
                stacklevel=3,
            )
            return
        for name, value in given.items():
            setattr(self, name, value)

    def _taken_settings(self) -> dict[str, Any]:
        """The settings that a run_config has too and that were given, which from here on are in it alone."""
        given = {}
        for field in attrs.fields(ScriptRunConfig):
            if field.name.startswith("_"):
                value = getattr(self, field.name)
                if value != field.default:
                    given[field.name[1:]] = value
                setattr(self, field.name, field.default)
        return given

    # ---- what is in the run configuration ------------------------------------------------------

    @property
    def compute_target(self) -> str:
        """The name of the compute target."""
        return self.run_config.target

    @compute_target.setter
    def compute_target(self, value: str | None) -> None:
        self.run_config.target = value or "local"

    @property
    def environment(self) -> Environment:
        """What the script runs in."""
        return self.run_config.environment

    @environment.setter
    def environment(self, value: Environment) -> None:
        self.run_config.environment = value

    @property
    def environment_variables(self) -> dict[str, str]:
        """Variables that win over those of the environment."""
        return self.run_config.environment_variables

    @environment_variables.setter
    def environment_variables(self, value: Mapping[str, str]) -> None:
        self.run_config.environment_variables = checked_variables(value)

    @property
    def max_run_duration_seconds(self) -> float | None:
        """The time limit in seconds; None for none."""
        return self.run_config.max_run_duration_seconds

    @max_run_duration_seconds.setter
    def max_run_duration_seconds(self, value: float | None) -> None:
        self.run_config.max_run_duration_seconds = value

    @property
    def distributed_job_config(self) -> Distribution | None:
        """How many processes, and how they meet; None for one."""
        return self.run_config.distribution()

    @distributed_job_config.setter
    def distributed_job_config(self, value: Distribution | None) -> None:
        self.run_config.distribute(value)

    @property
    def resources(self) -> Resources:
        """What the run takes of a target with limits."""
        return self.run_config.resources

    @resources.setter
    def resources(self, value: Resources) -> None:
        self.run_config.resources = value

    @property
    def priority(self) -> int | None:
        """Greater starts first."""
        return self.run_config.priority

    @priority.setter
    def priority(self, value: int | None) -> None:
        self.run_config.priority = value

    @property
    def directories_to_watch(self) -> Sequence[str]:
        """Folders for the history besides `outputs`."""
        return self.run_config.history.directories_to_watch

    @directories_to_watch.setter
    def directories_to_watch(self, value: Sequence[str]) -> None:
        self.run_config.history.directories_to_watch = value

    @property
    def framework(self) -> str:
        """Python, PySpark, TensorFlow or PyTorch."""
        return self.run_config.framework

    @framework.setter
    def framework(self, value: str | None) -> None:
        self.run_config.framework = value or "Python"

    @property
    def docker_runtime_config(self) -> DockerConfiguration | None:
        """Whether the job uses its environment's container, and how; None where the environment decides."""
        return self.run_config.docker

    @docker_runtime_config.setter
    def docker_runtime_config(self, value: DockerConfiguration | None) -> None:
        self.run_config.docker = value

    # ---- files ---------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the job as a YAML file, for `load` and `onrecord run --config`; returns the file.

        The source folder is written relative to the file. Raises BadConfig, OSError.
        """
        from onrecord.job_file import save

        return save(self, Path(path))

    @staticmethod
    def load(path: str | os.PathLike[str]) -> ScriptRunConfig:
        """The job in a YAML file. Raises BadConfig with the line that is wrong."""
        from onrecord.job_file import load

        return load(Path(path))

    # ---- the check -----------------------------------------------------------------------------

    def checked(self) -> CheckedConfig:
        """The same job with every path resolved and every mistake refused. Raises BadConfig, BadDistribution."""
        settings = self.run_config
        source, target = checked_source(self.source_directory), settings.target or "local"
        environment = settings.environment or Environment("current-interpreter")
        if settings.docker is not None:
            environment = attrs.evolve(environment, docker=settings.docker.over(environment.docker))
        environment = with_compat(environment).checked()
        variables = checked_variables(settings.environment_variables)
        path = search_path(environment, variables)
        # What an environment brings along, and what is on another machine, only the start can tell.
        is_known = target == "local" and not environment.needs_build() and not settings.hosts
        what = self._checked_command(source, path if is_known else None)
        if what is None:
            what = self._checked_script(source, path if is_known else None)
            if is_known and what["launcher"] is None:
                check_interpreter(environment, source, path)
        if environment.compat is not None:
            check_compat(environment, settings.hosts)
        framework = settings.checked_framework()
        return CheckedConfig(
            source=source,
            target=target,
            environment=environment,
            environment_variables=variables,
            time_limit_seconds=checked_limit(settings.max_run_duration_seconds),
            directories_to_watch=settings.watched(),
            default_excludes=bool(self.default_excludes),
            distribution=checked_distribution(settings.distribution()),
            resources=settings.resources.as_document() if settings.resources != Resources() else None,
            priority=checked_priority(settings.priority),
            framework=framework,
            spark=dict(settings.spark.configuration) if framework == "PySpark" else {},
            resume_from=_checked_resume(self.resume_from),
            hosts=checked_arguments(settings.hosts, "hosts"),
            **what,
        ).fitting()

    def _checked_command(self, source: Path, path: str | None) -> dict[str, Any] | None:
        """The command as CheckedConfig has it; None where a script is to be run."""
        settings = self.run_config
        if self.command is not None and (self.script is not None or self.arguments is not None):
            raise _both("script" if self.script is not None else "arguments")
        given = self.command
        if given is None and self.script is None:
            given = settings.command or None
            if given is not None and (settings.script or settings.arguments or self.arguments is not None):
                raise _both("script" if settings.script else "arguments")
        command = checked_command(given)
        if command is None:
            return None
        if isinstance(command, str):
            return {"command": command, "shell": True}
        if path is not None:
            check_program(command[0], source, path)
        return {"command": command[0], "arguments": command[1:]}

    def _checked_script(self, source: Path, path: str | None) -> dict[str, Any]:
        given = self.run_config.script if self.script is None else self.script
        arguments = self.run_config.arguments if self.arguments is None else self.arguments
        script = checked_script(source, given)
        launcher = words_before(source / script)
        if launcher is not None and path is not None:
            check_runnable(source / script, launcher, source, path)
        return {"script": script, "arguments": checked_arguments(arguments), "launcher": launcher}


# Settings that have another name in a run configuration.
_IN_RUN_CONFIG = {
    "compute_target": "target",
    "distributed_job_config": "communicator",
    "docker_runtime_config": "docker",
    "directories_to_watch": "history.directories_to_watch",
}


def _both(other: str) -> BadConfig:
    return BadConfig(
        f"the job has both a command and {'a script' if other == 'script' else other}",
        why="a command says all of what is run: the program and its arguments",
        next_step="command=['python', 'train.py', '--alpha', 0.03], or script= and arguments= without a command",
        field="command",
    )


def _checked_resume(given: object) -> Run | str | None:
    if given is None or (isinstance(given, str) and given) or hasattr(given, "workspace"):
        return cast("Run | str | None", given)
    raise BadConfig(
        f"resume_from is {given!r}",
        why="it is a run of the same workspace, or its id",
        next_step="resume_from=experiment.submit(…), or resume_from='@last' (onrecord run --resume-from RUN)",
        field="resume_from",
    )
