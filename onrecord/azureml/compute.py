"""Azure ML's compute targets, as the targets of this workspace: pools of this machine with limits."""

from __future__ import annotations

from typing import Any, NamedTuple

from onrecord.compute_target import ComputeTarget as Target
from onrecord.errors import OnRecordError
from onrecord.run import Run
from onrecord.workspace import Workspace


class ComputeTargetException(OnRecordError):
    """A compute target that is not there, or cannot be made. Attribute: `name`."""


class Provisioning(NamedTuple):
    """What `AmlCompute.provisioning_configuration` describes, as far as it means something on this machine."""

    max_nodes: int


class Status(NamedTuple):
    """A target as it is now: it needs no nodes to come up."""

    nodes: int

    def serialize(self) -> dict[str, Any]:
        """In Azure ML's names."""
        return {
            "allocationState": "Steady",
            "currentNodeCount": self.nodes,
            "targetNodeCount": self.nodes,
            "errors": None,
        }


class ComputeTarget:
    """A target of the workspace by its name. Raises ComputeTargetException where there is none of that name."""

    def __init__(self, workspace: Workspace, name: str) -> None:
        known = workspace.compute_targets
        if name not in known:
            raise ComputeTargetException(
                f"ComputeTargetNotFound: the workspace has no compute target '{name}'",
                why=f"it has {', '.join(sorted(known))}",
                next_step=f'add the lines [targets."{name}"] and max_concurrent = 4 to {workspace.layout.config}',
                name=name,
            )
        self.workspace = workspace
        self.name = name
        self._target: Target = known[name]

    @staticmethod
    def create(workspace: Workspace, name: str, provisioning_configuration: Provisioning) -> ComputeTarget:
        """A pool of this machine that runs `max_nodes` runs at once; written to the workspace's config.toml.

        Raises ComputeTargetException where there is a target of that name, or for a name that none can have.
        """
        if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
            raise _refused(name, "a name has letters, digits, - and _", "choose another name, such as cpu-cluster")
        if name in workspace.compute_targets:
            raise _refused(name, "there is one already", f"ComputeTarget(workspace, {name!r}) is it")
        most = max(1, int(provisioning_configuration.max_nodes))
        with workspace.layout.config.open("a", encoding="utf-8") as config:
            config.write(f'\n[targets."{name}"]\nmax_concurrent = {most}\n')
        return AmlCompute(workspace, name)

    def wait_for_completion(self, show_output: bool = False, **ignored: object) -> None:
        """Nothing to wait for."""
        if show_output:
            print(f"{self.name}: succeeded")

    def get_status(self) -> Status:
        """How many runs it takes at once, as nodes."""
        return Status(self._target.max_concurrent or 1)

    def delete(self) -> None:
        """Not from code. Raises ComputeTargetException with what to do."""
        next_step = f'remove [targets."{self.name}"] from {self.workspace.layout.config}'
        raise _refused(self.name, "a target is lines of a file that people write", next_step)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


class AmlCompute(ComputeTarget):
    """A pool of this machine."""

    @staticmethod
    def provisioning_configuration(
        vm_size: str = "",
        vm_priority: str = "dedicated",
        min_nodes: int = 0,
        max_nodes: int | None = None,
        **more: object,
    ) -> Provisioning:
        """`max_nodes` runs go on at once; the rest describes machines that are not here."""
        return Provisioning(int(max_nodes) if max_nodes is not None else 1)


def get_run(experiment: Any, run_id: str, rehydrate: bool = True) -> Run:
    """A run by its id. Raises UnknownRun."""
    workspace = getattr(experiment, "workspace", experiment)
    return Run(workspace, workspace.query.find(run_id))


def _refused(name: str, why: str, next_step: str) -> ComputeTargetException:
    return ComputeTargetException(f"the compute target '{name}' is not made", why=why, next_step=next_step, name=name)
