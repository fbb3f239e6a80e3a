"""A job whose every part was found good, and how the ledger keeps it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from onrecord.config_errors import BadConfig
from onrecord.environment import Environment

if TYPE_CHECKING:
    from onrecord.run import Run


@attrs.frozen
class CheckedConfig:
    """A job that can be run: `source` absolute, `script` a POSIX path inside it, or `command` instead.

    `launcher`: the words before the name of a script that is not Python's. `command`: a program, which gets the
    arguments, or with `shell` the whole text.
    """

    source: Path
    target: str
    environment: Environment
    time_limit_seconds: float | None
    script: str = ""
    arguments: tuple[str, ...] = ()
    launcher: tuple[str, ...] | None = None
    command: str | None = None
    shell: bool = False
    environment_variables: dict[str, str] = attrs.field(factory=dict)
    directories_to_watch: tuple[str, ...] = ()
    default_excludes: bool = True
    distribution: dict[str, Any] | None = None
    resources: dict[str, Any] | None = None
    priority: int = 0
    framework: str = "Python"
    spark: dict[str, str] = attrs.field(factory=dict)
    # As it was given, until the workspace says which run it is.
    resume_from: Run | str | None = None
    # In place of those of the target; on record with the distribution.
    hosts: tuple[str, ...] = ()

    def fitting(self) -> CheckedConfig:
        """Itself. Raises BadConfig for parts that cannot go together, NoSpark."""
        is_spark = self.framework == "PySpark"
        scheme = (self.distribution or {}).get("scheme")
        if is_spark and (self.distribution or self.command is not None or self.launcher is not None):
            raise BadConfig("a job for Spark is one Python script", why="Spark starts its own processes",
                            next_step="run_config.spark.configuration['spark.master'] = 'local[4]'",
                            field="framework")  # fmt: skip
        if self.environment.uses_container() and (scheme == "mpi" or self.hosts):
            raise BadConfig(f"{'a job on hosts' if self.hosts else 'an MPI job'} cannot run in a container",
                            why="what starts its processes lies outside",
                            next_step="PyTorchConfiguration or TensorflowConfiguration, or an environment without one",
                            field="distributed_job_config")  # fmt: skip
        if is_spark and self.target == "local" and not self.environment.needs_build():
            from onrecord.spark_command import check_java

            check_java({**os.environ, **self.environment.environment_variables, **self.environment_variables})
        return self

    def as_document(self) -> dict[str, Any]:
        """The job as plain values, as the ledger keeps it."""
        return {
            "source_directory": str(self.source),
            **({"script": self.script} if self.command is None else {"command": self.command}),
            "arguments": list(self.arguments),
            "target": self.target,
            "environment": self.environment.as_document(),
            "interpreter": self.environment.interpreter(),
            "max_run_duration_seconds": self.time_limit_seconds,
            "directories_to_watch": list(self.directories_to_watch),
            **self._unusual(),
        }

    def _unusual(self) -> dict[str, Any]:
        # Said only where it is not as usual, so that an ordinary run has the bytes that it always had.
        unusual: dict[str, Any] = {} if self.default_excludes else {"default_excludes": False}
        if self.launcher is not None:
            # Empty for a compiled program.
            unusual["launcher"] = list(self.launcher)
        more = {
            "distribution": self.distribution,
            "resources": self.resources,
            "priority": self.priority,
            "shell": self.shell,
            "environment_variables": self.environment_variables,
            "framework": self.framework if self.framework == "PySpark" else "",
            "spark": self.spark,
            "compat": self.environment.compat,
            "resume_from": self.resume_from if isinstance(self.resume_from, str) else "",
        }
        return unusual | {name: value for name, value in more.items() if value}
