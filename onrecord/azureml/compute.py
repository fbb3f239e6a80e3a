"""Azure ML's compute targets: a target of config.toml, and a cluster is a pool of runs on this machine."""

from __future__ import annotations

import fcntl
import json
import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from onrecord.compute_target import target_named, targets_of
from onrecord.errors import OnRecordError
from onrecord.executors.errors import UnknownTarget

if TYPE_CHECKING:
    from onrecord.workspace import Workspace

_NAME = re.compile(r"[A-Za-z0-9][\w.\-]{0,254}")


class BadComputeTarget(OnRecordError):
    """A target that cannot be made. Attribute: `name`."""


class AmlComputeConfiguration(NamedTuple):
    """What of a cluster has a meaning here: how many runs it has at once, None for any number."""

    max_nodes: int | None


class ComputeTargetStatus(NamedTuple):
    """How a target is doing: `running` runs, of at most `most`, None for any number."""

    name: str
    running: int
    most: int | None

    def serialize(self) -> dict[str, Any]:
        """The same as plain values, under Azure ML's names."""
        return {
            "name": self.name,
            "allocationState": "Steady",
            "provisioningState": "Succeeded",
            "currentNodeCount": self.running,
            "targetNodeCount": self.running,
            "nodeStateCounts": {"runningNodeCount": self.running, "idleNodeCount": 0},
            "scaleSettings": {"minNodeCount": 0, "maxNodeCount": self.most},
        }


class ComputeTarget:
    """A target of the workspace by its name. Raises UnknownTarget (Azure ML's ComputeTargetException)."""

    type = "onrecord"
    provisioning_state = "Succeeded"

    def __init__(self, workspace: Workspace, name: str) -> None:
        self.workspace = workspace
        self.name = target_named(workspace, name).name

    @staticmethod
    def create(workspace: Workspace, name: str, provisioning_configuration: object) -> AmlCompute:
        """A target `name` in the workspace's config.toml: this machine, with `max_nodes` runs at once.

        One that is there already stays as it is. Raises BadComputeTarget for a name that no target can have, or for
        what is not `AmlCompute.provisioning_configuration(…)`.
        """
        if not isinstance(provisioning_configuration, AmlComputeConfiguration) or not _NAME.fullmatch(str(name)):
            raise BadComputeTarget(
                f"there is no compute target {name!r} to be made of {type(provisioning_configuration).__name__}",
                why="runs go to this machine, or over ssh to hosts that config.toml names",
                next_step="ComputeTarget.create(ws, 'cpu-cluster', AmlCompute.provisioning_configuration(max_nodes=2))",
                name=name,
            )
        _describe(workspace, name, provisioning_configuration.max_nodes)
        return AmlCompute(workspace, name)

    @staticmethod
    def attach(workspace: Workspace, name: str, attach_configuration: object) -> ComputeTarget:
        """Refused: raises BadComputeTarget with what to write into config.toml."""
        del attach_configuration
        raise BadComputeTarget(
            f"{name} cannot be attached by a call",
            why="machines that are reached by ssh are described in config.toml",
            next_step=f'in {workspace.layout.config}: [targets.{name}] hosts = ["user@address:22"] (docs/jobs.md)',
            name=name,
        )

    def wait_for_completion(self, show_output: bool = False, *ignored: object, **ignored_by_name: object) -> None:
        """Nothing to wait for; with `show_output` it says so."""
        del ignored, ignored_by_name
        if show_output:
            print(f"{self.name}: Succeeded")

    def refresh_state(self) -> None:
        """Nothing to do: every question is answered as it is now."""

    def get_status(self) -> ComputeTargetStatus:
        """How many of its runs are under way."""
        target = target_named(self.workspace, self.name)
        running = [run for run in self.workspace.runs("status = Running") if run.get_details()["target"] == self.name]
        return ComputeTargetStatus(self.name, len(running), target.max_concurrent)

    def delete(self) -> None:
        """Refused: raises BadComputeTarget, for runs may be waiting there, and people edit config.toml."""
        raise BadComputeTarget(
            f"the target {self.name} is not removed by a call",
            why="it is lines in a file that is yours",
            next_step=f"take [targets.{self.name}] out of {self.workspace.layout.config}",
            name=self.name,
        )

    detach = delete

    def serialize(self) -> dict[str, Any]:
        """The target as plain values."""
        return {"name": self.name, "computeType": self.type, "provisioningState": self.provisioning_state}

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.workspace!r}, {self.name!r})"

    # Last, because no annotation after it can name the built-in list.
    @staticmethod
    def list(workspace: Workspace) -> list[ComputeTarget]:
        """Every target of the workspace."""
        return [ComputeTarget(workspace, name) for name in targets_of(workspace)]


class AmlCompute(ComputeTarget):
    """A cluster of Azure's: here a number of runs that this machine has at once."""

    @staticmethod
    def provisioning_configuration(
        vm_size: str = "",
        vm_priority: str = "dedicated",
        min_nodes: object = 0,
        max_nodes: object = None,
        **azure: object,
    ) -> AmlComputeConfiguration:
        """`max_nodes` counts; sizes, priorities and networks of virtual machines mean nothing here.

        A text of digits is a number, as in Azure ML. Raises BadComputeTarget for any other.
        """
        del vm_size, vm_priority, min_nodes, azure
        if max_nodes is None:
            return AmlComputeConfiguration(None)
        text = str(max_nodes)
        if not text.isascii() or not text.isdigit() or int(text) < 1:
            raise BadComputeTarget(
                f"max_nodes is {max_nodes!r}",
                why="it is how many runs the target has at once: a whole number from 1",
                next_step="AmlCompute.provisioning_configuration(max_nodes=2)",
                name="",
            )
        return AmlComputeConfiguration(int(text))


def _describe(workspace: Workspace, name: str, max_nodes: int | None) -> None:
    limit = "" if max_nodes is None else f"max_concurrent = {max_nodes}\n"
    text = f'\n# Made by ComputeTarget.create.\n[targets.{json.dumps(name)}]\nexecutor = "local"\n{limit}'
    with workspace.layout.config.open("ab", buffering=0) as file:
        # Two that make the same target at once would leave a file that nobody can read.
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            target_named(workspace, name)
        except UnknownTarget:
            file.write(text.encode())
            os.fsync(file.fileno())
