"""How and where a script runs, apart from what it is: Azure ML's RunConfiguration.

Source of names, defaults and spellings: azureml-core 1.x, `azureml.core.runconfig`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from onrecord.config_errors import BadConfig
from onrecord.distributed import (
    Distribution,
    MpiConfiguration,
    PyTorchConfiguration,
    TensorflowConfiguration,
    checked_distribution,
)
from onrecord.environment import Environment
from onrecord.kept_folders import FOLDERS
from onrecord.resources import Resources

if TYPE_CHECKING:
    from onrecord.conda_dependencies import CondaDependencies
    from onrecord.container_section import DockerConfiguration

MAX_DURATION_SECONDS_DEFAULT = 30 * 24 * 3600
FRAMEWORKS = ("Python", "PySpark", "CNTK", "TensorFlow", "PyTorch")
COMMUNICATORS = ("None", "ParameterServer", "IntelMpi", "OpenMpi", "Mpi", "Nccl", "Gloo")
_MPI = ("IntelMpi", "OpenMpi", "Mpi")


@attrs.define
class HistoryConfiguration:
    """What of a run goes into the history: always its source and its outputs, and these folders besides."""

    output_collection: bool = True
    snapshot_project: bool = True
    directories_to_watch: Sequence[str] = attrs.field(factory=lambda: ["logs"])


@attrs.define
class MpiSection:
    """`communicator` IntelMpi or OpenMpi: processes on each node."""

    process_count_per_node: int = 1


@attrs.define
class PyTorchSection:
    """`framework` PyTorch: processes in all, None for one a node."""

    process_count: int | None = None


@attrs.define
class TensorflowSection:
    """`framework` TensorFlow, `communicator` ParameterServer: processes of each kind."""

    worker_count: int = 1
    parameter_server_count: int = 1


@attrs.define
class SparkConfiguration:
    """`framework` PySpark: settings of Spark by name."""

    configuration: dict[str, str] = attrs.field(factory=dict)


def _target_name(given: object) -> str:
    """The name of a target that is given by its name, as an object that has one, or not at all."""
    return str(getattr(given, "name", given) or "local")


@attrs.define
class RunConfiguration:
    """Target, environment, variables, limits and processes of jobs; `src.run_config` is that of a ScriptRunConfig.

    It may be changed until the job is submitted, and shared by several jobs. `target`: the compute target's name.
    `environment_variables` win over those of the environment. `framework`, `communicator` and `node_count` say how many
    processes a script has and how they meet, together with `mpi`, `pytorch` and `tensorflow`; a job's
    `distributed_job_config` sets them. `priority`: greater starts first. `hosts`: where the nodes are, instead of those
    of the target. `script`, `arguments` and `command` are used where the job does not name its own. `docker`: whether
    the environment's container is used, and how; None where the environment decides.

    >>> configuration = RunConfiguration()
    >>> configuration.target, configuration.framework, configuration.node_count
    ('local', 'Python', 1)
    >>> configuration.environment.python.user_managed_dependencies = True
    """

    script: str | os.PathLike[str] | None = None
    arguments: Sequence[object] | None = None
    framework: str = "Python"
    communicator: str = "None"
    _conda_dependencies: CondaDependencies | None = attrs.field(default=None, repr=False, eq=False)
    command: str | Sequence[object] | None = None
    target: str = attrs.field(default="local", kw_only=True, converter=_target_name)
    environment: Environment = attrs.field(factory=lambda: Environment("current-interpreter"), kw_only=True)
    environment_variables: dict[str, str] = attrs.field(factory=dict, kw_only=True)
    max_run_duration_seconds: float | None = attrs.field(default=MAX_DURATION_SECONDS_DEFAULT, kw_only=True)
    node_count: int = attrs.field(default=1, kw_only=True)
    mpi: MpiSection = attrs.field(factory=MpiSection, kw_only=True)
    pytorch: PyTorchSection = attrs.field(factory=PyTorchSection, kw_only=True)
    tensorflow: TensorflowSection = attrs.field(factory=TensorflowSection, kw_only=True)
    spark: SparkConfiguration = attrs.field(factory=SparkConfiguration, kw_only=True)
    history: HistoryConfiguration = attrs.field(factory=HistoryConfiguration, kw_only=True)
    priority: int | None = attrs.field(default=None, kw_only=True)
    resources: Resources = attrs.field(default=Resources(), kw_only=True)
    hosts: Sequence[str] = attrs.field(default=(), kw_only=True)
    docker: DockerConfiguration | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self._conda_dependencies is not None:
            self.environment = Environment("run-configuration")
            self.environment.python.conda_dependencies = self._conda_dependencies
            self._conda_dependencies = None

    # ---- several processes ---------------------------------------------------------------------

    def distribution(self) -> Distribution | None:
        """The processes that framework, communicator and their sections describe; None for one process.

        Raises BadConfig for what does not go together, BadDistribution for numbers that cannot be.
        """
        framework, communicator = self.checked_framework(), self.checked_communicator()
        if communicator in _MPI:
            return MpiConfiguration(self.mpi.process_count_per_node, self.node_count)
        if communicator in ("Nccl", "Gloo"):
            self._needs(framework, communicator, "PyTorch")
            return PyTorchConfiguration(communicator, self.pytorch.process_count, self.node_count)
        if communicator == "ParameterServer":
            self._needs(framework, communicator, "TensorFlow")
            section = self.tensorflow
            return TensorflowConfiguration(section.worker_count, section.parameter_server_count)
        if self.node_count != 1:
            raise BadConfig(
                f"node_count is {self.node_count!r} without a communicator",
                why="processes on several nodes need a way to meet",
                next_step="distributed_job_config=PyTorchConfiguration(node_count=2), or communicator='OpenMpi'",
                field="communicator",
            )
        return None

    def distribute(self, job: object) -> None:
        """Take framework, communicator, node_count and their sections from a configuration of processes, or None.

        Raises BadDistribution for anything else.
        """
        checked_distribution(job)
        self.framework, self.communicator, self.node_count = "Python", "None", 1
        if isinstance(job, MpiConfiguration):
            self.communicator, self.node_count = "IntelMpi", job.node_count
            self.mpi = MpiSection(job.process_count_per_node)
        elif isinstance(job, PyTorchConfiguration):
            self.framework, self.node_count = "PyTorch", job.node_count
            self.communicator = job.communication_backend.capitalize()
            self.pytorch = PyTorchSection(job.process_count)
        elif isinstance(job, TensorflowConfiguration):
            self.framework, self.communicator = "TensorFlow", "ParameterServer"
            self.tensorflow = TensorflowSection(job.worker_count, job.parameter_server_count)

    @staticmethod
    def _needs(framework: str, communicator: str, wanted: str) -> None:
        if framework != wanted:
            raise BadConfig(
                f"communicator is {communicator} and framework is {framework}",
                why=f"{communicator} is how processes of {wanted} meet",
                next_step=f"run_config.framework = '{wanted}'",
                field="framework",
            )

    # ---- what is checked -----------------------------------------------------------------------

    def checked_framework(self) -> str:
        """The framework in Azure ML's spelling, however it was written. Raises BadConfig."""
        return _spelled("framework", self.framework, FRAMEWORKS)

    def checked_communicator(self) -> str:
        """The communicator in Azure ML's spelling, however it was written. Raises BadConfig."""
        return _spelled("communicator", "None" if self.communicator is None else self.communicator, COMMUNICATORS)

    def watched(self) -> tuple[str, ...]:
        """Folders for the history besides `outputs` and `logs`. Raises BadConfig."""
        history = self.history
        for name in ("output_collection", "snapshot_project"):
            if getattr(history, name) is not True:
                raise BadConfig(
                    f"history.{name} is {getattr(history, name)!r}",
                    why="a run's source and outputs are always kept: without them nobody could tell what it was",
                    next_step="leave files out with .amlignore, or write them outside outputs/",
                    field="history",
                )
        return checked_folders(history.directories_to_watch)

    # ---- files ---------------------------------------------------------------------------------

    def save(
        self,
        path: str | os.PathLike[str] | None = None,
        name: str | None = None,
        separate_environment_yaml: bool = False,
    ) -> Path:
        """Write `<path>/.azureml/<name>.runconfig` as Azure ML does; returns the file.

        `path`: a folder (default: the current one), or with no `name` the file itself. `separate_environment_yaml`:
        the dependencies go into `.azureml/environment.yml`. Raises BadConfig, OSError.
        """
        from onrecord.run_configuration_file import save

        return save(self, path, name, separate_environment_yaml=separate_environment_yaml)

    @staticmethod
    def load(path: str | os.PathLike[str], name: str | None = None) -> RunConfiguration:
        """Of such a file, also one that Azure ML wrote: `path` is the file, or the folder in whose `.azureml`,
        `aml_config` or itself `<name>.runconfig` lies. Raises BadConfig with the line that is wrong.
        """
        from onrecord.run_configuration_file import load

        return load(path, name)

    @staticmethod
    def delete(path: str | os.PathLike[str], name: str) -> None:
        """Remove such a file. Raises BadConfig where there is none."""
        from onrecord.run_configuration_file import find

        find(path, name).unlink()


def _spelled(field: str, given: object, known: Sequence[str]) -> str:
    from difflib import get_close_matches

    by_lower = {name.lower(): name for name in known}
    found = by_lower.get(given.lower()) if isinstance(given, str) else None
    if found is None:
        near = get_close_matches(str(given).lower(), by_lower, n=1)
        raise BadConfig(
            f"{field} is {given!r}",
            why=f"it is one of {', '.join(known)}",
            next_step=f"run_config.{field} = '{by_lower[near[0]] if near else known[0]}'",
            field=field,
        )
    return found


def checked_folders(given: Sequence[str]) -> tuple[str, ...]:
    """Folders below the working folder, without those that are always kept. Raises BadConfig."""
    folders = tuple(os.path.normpath(folder) for folder in ((given,) if isinstance(given, str) else given))
    for folder in folders:
        if folder in (".", "") or folder.startswith("..") or Path(folder).is_absolute():
            raise BadConfig(
                f"{folder!r} cannot be kept",
                why="only folders below the script's working folder can: the source itself is in the snapshot",
                next_step="directories_to_watch=['checkpoints'] (onrecord run --keep checkpoints)",
                field="directories_to_watch",
            )
    return tuple(folder for folder in folders if folder not in FOLDERS)
