"""Azure ML's estimators of 2020: a ScriptRunConfig that is spelled differently."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from onrecord.conda_dependencies import CondaDependencies
from onrecord.distributed import Distribution
from onrecord.environment import Environment
from onrecord.run_configuration import MAX_DURATION_SECONDS_DEFAULT
from onrecord.script_run_config import ScriptRunConfig

# What only Azure's machines and images need.
_AZURE_ONLY = frozenset({
    "vm_size", "vm_priority", "use_gpu", "use_docker", "custom_docker_base_image", "custom_docker_image",
    "image_registry_details", "user_managed", "shm_size", "framework_version", "source_directory_data_store",
    "node_count", "process_count_per_node", "distributed_backend",
})  # fmt: skip


class Estimator(ScriptRunConfig):
    """One job. Without packages or an environment it runs in the interpreter that submits.

    `script_params`: arguments by name; one with an empty value, or None, is a switch. `distributed_training`: a
    configuration of processes. What only Azure's machines need is ignored; processes on several nodes by `node_count`
    are refused: use `distributed_training`.
    """

    def __init__(
        self,
        source_directory: str | os.PathLike[str] = ".",
        *,
        compute_target: str | None = None,
        entry_script: str | None = None,
        script_params: Mapping[str, object] | None = None,
        conda_packages: Sequence[str] | None = None,
        pip_packages: Sequence[str] | None = None,
        environment_definition: Environment | None = None,
        environment_variables: Mapping[str, str] | None = None,
        distributed_training: Distribution | None = None,
        max_run_duration_seconds: float | None = MAX_DURATION_SECONDS_DEFAULT,
        **azure: object,
    ) -> None:
        for name, value in azure.items():
            if name not in _AZURE_ONLY:
                raise TypeError(f"{type(self).__name__}() got an unexpected keyword argument {name!r}")
            if name in ("node_count", "process_count_per_node", "distributed_backend") and value not in (None, 1):
                raise TypeError(f"{name} is {value!r}: say distributed_training=MpiConfiguration(…) instead")
        environment = environment_definition
        if environment is None and (conda_packages or pip_packages):
            environment = Environment("estimator")
            environment.python.conda_dependencies = CondaDependencies.create(
                conda_packages=list(conda_packages or ()), pip_packages=list(pip_packages or ())
            )
        super().__init__(
            source_directory,
            entry_script,
            _arguments(script_params or {}),
            compute_target=compute_target,
            environment=environment,
            environment_variables=environment_variables,
            distributed_job_config=distributed_training,
            max_run_duration_seconds=max_run_duration_seconds,
        )


class SKLearn(Estimator):
    """The same; scikit-learn is what the environment has of it."""


class PyTorch(Estimator):
    """The same; torch is what the environment has of it."""


class TensorFlow(Estimator):
    """The same; tensorflow is what the environment has of it."""


class Chainer(Estimator):
    """The same; chainer is what the environment has of it."""


def _arguments(given: Mapping[str, object]) -> list[object]:
    words: list[object] = []
    for name, value in given.items():
        words += [name] if value is None or (isinstance(value, str) and not value) else [name, value]
    return words
