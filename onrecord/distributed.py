"""How many processes a job has, and by which scheme they find one another.

Source of names and defaults: azureml-core 1.x, `azureml.core.runconfig`.
"""

from __future__ import annotations

from typing import Any

import attrs

from onrecord.errors import OnRecordError


class BadDistribution(OnRecordError):
    """A distributed job that cannot be. Attributes: `field`, `value`."""


def _count(least: int) -> Any:
    def check(instance: object, field: attrs.Attribute[int], value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise BadDistribution(
                f"{field.name} is {value!r}",
                why=f"it is a whole number from {least}",
                next_step=f"{type(instance).__name__}({field.name}={max(least, 2)})",
                field=field.name,
                value=value,
            )

    return check


@attrs.define
class MpiConfiguration:
    """Processes started by `mpirun` (Open MPI, MPICH or Intel MPI; beside the interpreter, or on the PATH)."""

    process_count_per_node: int = attrs.field(default=1, validator=_count(1))
    node_count: int = attrs.field(default=1, validator=_count(1))

    def as_document(self) -> dict[str, Any]:
        """The configuration as plain values, as the ledger keeps it."""
        return {
            "scheme": "mpi",
            "process_count": self.process_count_per_node * self.node_count,
            "node_count": self.node_count,
        }


@attrs.define
class PyTorchConfiguration:
    """Processes that find one another by RANK, WORLD_SIZE, LOCAL_RANK, NODE_RANK, MASTER_ADDR and MASTER_PORT.

    `process_count` is the number of all processes, one a node where it is None. `communication_backend`, Nccl or
    Gloo, is kept with the run; the script chooses its own in `init_process_group`.
    """

    communication_backend: str = attrs.field(default="Nccl")
    process_count: int | None = attrs.field(default=None, validator=attrs.validators.optional(_count(1)))
    node_count: int = attrs.field(default=1, validator=_count(1))

    @communication_backend.validator
    def _known_backend(self, field: attrs.Attribute[str], value: object) -> None:
        if not isinstance(value, str) or value.lower() not in ("nccl", "gloo"):
            raise BadDistribution(
                f"communication_backend is {value!r}",
                why="PyTorch jobs speak Nccl (GPUs) or Gloo",
                next_step='PyTorchConfiguration("Gloo", process_count=2), or MpiConfiguration for MPI',
                field="communication_backend",
                value=value,
            )

    def as_document(self) -> dict[str, Any]:
        """The configuration as plain values. Raises BadDistribution when the nodes cannot share the processes."""
        processes = self.node_count if self.process_count is None else self.process_count
        if processes % self.node_count:
            raise BadDistribution(
                f"{processes} processes cannot be shared out evenly among {self.node_count} nodes",
                why="every node runs the same number",
                next_step=f"process_count={self.node_count * max(1, processes // self.node_count)}",
                field="process_count",
                value=processes,
            )
        return {
            "scheme": "pytorch",
            "process_count": processes,
            "node_count": self.node_count,
            "communication_backend": self.communication_backend.lower(),
        }


@attrs.define
class TensorflowConfiguration:
    """Workers and parameter servers that find one another by TF_CONFIG.

    Parameter servers are ended when all workers have ended. MultiWorkerMirroredStrategy wants none of them.
    """

    worker_count: int = attrs.field(default=1, validator=_count(1))
    parameter_server_count: int = attrs.field(default=1, validator=_count(0))

    def as_document(self) -> dict[str, Any]:
        """The configuration as plain values, as the ledger keeps it."""
        return {
            "scheme": "tensorflow",
            "process_count": self.worker_count + self.parameter_server_count,
            "node_count": 1,
            "worker_count": self.worker_count,
            "parameter_server_count": self.parameter_server_count,
        }


Distribution = MpiConfiguration | PyTorchConfiguration | TensorflowConfiguration


def checked_distribution(given: object) -> dict[str, Any] | None:
    """The document of a configuration, None where there is none. Raises BadDistribution."""
    if given is None:
        return None
    if not isinstance(given, MpiConfiguration | PyTorchConfiguration | TensorflowConfiguration):
        raise BadDistribution(
            f"distributed_job_config is {given!r}",
            why="it is an MpiConfiguration, a PyTorchConfiguration or a TensorflowConfiguration",
            next_step='distributed_job_config=PyTorchConfiguration("Gloo", process_count=2)',
            field="distributed_job_config",
            value=given,
        )
    return given.as_document()
