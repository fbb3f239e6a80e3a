"""The command line and the environment variables that a script is started with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from onrecord.ledger.query import RunRow
from onrecord.script_variables import (
    ATTEMPT,
    DATA_REFERENCE,
    EXPERIMENT,
    INTERACTIVE_RUN,
    RESUME_FROM,
    RUN_ID,
    azure_variables,
)
from onrecord.workspace import VARIABLE, Workspace

_SHELL = "/bin/sh"


class Words(NamedTuple):
    """A command line in its parts: `arguments` are those in which `$NAME` is replaced, what is `added` is not."""

    program: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    added: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """The whole command line, as it was given."""
        return (*self.program, *self.arguments, *self.added)

    def expanded(self, variables: Mapping[str, str]) -> tuple[str, ...]:
        """The whole command line, with `$NAME` replaced from these variables."""
        if not any("$" in word for word in self.arguments):
            return self.all
        # Loaded only where there is something to replace.
        from onrecord.executors.ranks import expand

        return (*self.program, *expand(list(self.arguments), variables), *self.added)


def is_python(config: Mapping[str, Any]) -> bool:
    """Whether the run's interpreter runs its script, which then is asked what it sees."""
    return "command" not in config and "launcher" not in config


def has_inventory(config: Mapping[str, Any]) -> bool:
    """Whether the run's interpreter is asked what it sees: where it runs the script here, or was made for the run."""
    is_here = not (config.get("distribution") or {}).get("hosts")
    return (is_python(config) and is_here) or bool(config.get("prefix"))


def words_of(config: Mapping[str, Any], resumed: str = "") -> Words:
    """The command line of a run; `resumed`: the folder with the outputs that it goes on from.

    A command is given no `--resume-from`, for it may be any program: it has the variable.
    """
    arguments = tuple(config["arguments"])
    if "command" in config:
        given = config["command"]
        return Words((_SHELL, "-c", given)) if config.get("shell") else Words((given,), arguments)
    script, added = config["script"], ("--resume-from", resumed) if resumed else ()
    if "launcher" in config:
        # What has no slash would be looked up on the PATH.
        return Words((*config["launcher"], f"./{script}"), arguments, added)
    # A name that starts with a dash would be read as an option.
    return Words((config["interpreter"], f"./{script}" if script.startswith("-") else script), arguments, added)


def environment_of(config: Mapping[str, Any], workspace: Workspace, row: RunRow) -> dict[str, str]:
    """The submitter's environment, the configured variables over it, and what tells a script its run."""
    variables = dict(os.environ)
    # Output reaches the log as it is written; without this Python keeps it back until 8 KiB have gathered.
    variables.setdefault("PYTHONUNBUFFERED", "1")
    prefix = config.get("prefix")
    if prefix:
        _activate(variables, prefix)
    elif not is_python(config):
        _prefer(variables, config["environment"].get("python", {}).get("interpreter_path"))
    variables.update(azure_variables(row.run_id, row.experiment, workspace.name, config))
    variables.update(config["environment"]["environment_variables"])
    variables.update(config.get("environment_variables", {}))
    if config.get("compat"):
        from onrecord.azureml import with_shim

        variables["PYTHONPATH"] = with_shim(variables.get("PYTHONPATH", ""))
    if (config.get("resources") or {}).get("gpus"):
        from onrecord.waiting_runs import gpus_of

        given = gpus_of(workspace, row.run_id, dict(config))
        if given:
            variables["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, given))
    if config.get("resume_from"):
        folder = str(workspace.layout.run(row.run_id).resumed)
        variables[RESUME_FROM] = variables[DATA_REFERENCE] = folder
    # The submitter may itself be an interactive run, which this script is no part of.
    variables.pop(INTERACTIVE_RUN, None)
    variables[VARIABLE] = str(workspace.layout.root)
    variables[RUN_ID] = row.run_id
    variables[EXPERIMENT] = row.experiment
    variables[ATTEMPT] = str(config.get("attempt", 1))
    return variables


def _activate(variables: dict[str, str], prefix: str) -> None:
    """As an environment's own `activate` does it; what the submitter's Python sees besides is no part of it."""
    for name in ("PYTHONPATH", "PYTHONHOME", "CONDA_PREFIX"):
        variables.pop(name, None)
    variables["PYTHONNOUSERSITE"] = "1"
    variables["VIRTUAL_ENV"] = prefix
    variables["PATH"] = os.pathsep.join(part for part in (f"{prefix}/bin", variables.get("PATH", "")) if part)


def _prefer(variables: dict[str, str], interpreter: str | None) -> None:
    """Let a command find the interpreter that was chosen for it, as if its environment had been activated."""
    folder, slash, _ = (interpreter or "").rpartition("/")
    if slash and os.path.isabs(folder):  # noqa: PTH117 - a start's modules use no pathlib
        variables["PATH"] = os.pathsep.join(part for part in (folder, variables.get("PATH", "")) if part)
        if os.path.exists(os.path.join(folder, "..", "pyvenv.cfg")):  # noqa: PTH110, PTH118
            variables["VIRTUAL_ENV"] = os.path.dirname(folder)  # noqa: PTH120
