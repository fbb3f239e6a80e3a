"""Every run, on record: submit training runs, supervise them, and keep a verifiable history of them.

>>> from onrecord import Workspace, Experiment, ScriptRunConfig, Environment, Run

Names are loaded when they are first used, so that `import onrecord` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from onrecord.conda_dependencies import CondaDependencies as CondaDependencies
    from onrecord.container_section import ContainerRegistry as ContainerRegistry
    from onrecord.container_section import DockerBuildContext as DockerBuildContext
    from onrecord.container_section import DockerConfiguration as DockerConfiguration
    from onrecord.container_section import DockerSection as DockerSection
    from onrecord.distributed import MpiConfiguration as MpiConfiguration
    from onrecord.distributed import PyTorchConfiguration as PyTorchConfiguration
    from onrecord.distributed import TensorflowConfiguration as TensorflowConfiguration
    from onrecord.environment import Environment as Environment
    from onrecord.errors import OnRecordError as OnRecordError
    from onrecord.experiment import Experiment as Experiment
    from onrecord.integrations.autolog import autolog as autolog
    from onrecord.model import Model as Model
    from onrecord.run import Run as Run
    from onrecord.run_configuration import RunConfiguration as RunConfiguration
    from onrecord.run_errors import RunFailedError as RunFailedError
    from onrecord.script_run_config import ScriptRunConfig as ScriptRunConfig
    from onrecord.spark_section import SparkPackage as SparkPackage
    from onrecord.spark_section import SparkSection as SparkSection
    from onrecord.workspace import Workspace as Workspace

_HOMES = {
    "autolog": "onrecord.integrations.autolog",
    "CondaDependencies": "onrecord.conda_dependencies",
    "ContainerRegistry": "onrecord.container_section",
    "DockerBuildContext": "onrecord.container_section",
    "DockerConfiguration": "onrecord.container_section",
    "DockerSection": "onrecord.container_section",
    "Environment": "onrecord.environment",
    "Experiment": "onrecord.experiment",
    "Model": "onrecord.model",
    "MpiConfiguration": "onrecord.distributed",
    "OnRecordError": "onrecord.errors",
    "PyTorchConfiguration": "onrecord.distributed",
    "Run": "onrecord.run",
    "RunConfiguration": "onrecord.run_configuration",
    "RunFailedError": "onrecord.run_errors",
    "ScriptRunConfig": "onrecord.script_run_config",
    "SparkPackage": "onrecord.spark_section",
    "SparkSection": "onrecord.spark_section",
    "TensorflowConfiguration": "onrecord.distributed",
    "Workspace": "onrecord.workspace",
}
__all__ = [
    "Workspace",
    "Experiment",
    "ScriptRunConfig",
    "RunConfiguration",
    "Environment",
    "CondaDependencies",
    "DockerSection",
    "DockerConfiguration",
    "DockerBuildContext",
    "ContainerRegistry",
    "SparkSection",
    "SparkPackage",
    "MpiConfiguration",
    "PyTorchConfiguration",
    "TensorflowConfiguration",
    "Run",
    "Model",
    "RunFailedError",
    "OnRecordError",
    "autolog",
    "__version__",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'onrecord' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
