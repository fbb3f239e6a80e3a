"""The command line and the environment variables that a script is started with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from onrecord.ledger.query import RunRow
from onrecord.script_variables import EXPERIMENT, INTERACTIVE_RUN, RUN_ID, azure_variables
from onrecord.workspace import VARIABLE, Workspace


def command_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The script's command line: interpreter, script, arguments."""
    script = config["script"]
    # A name that starts with a dash would be read as an option.
    words: tuple[str, ...] = (
        config["interpreter"],
        f"./{script}" if script.startswith("-") else script,
        *config["arguments"],
    )
    return words


def environment_of(config: Mapping[str, Any], workspace: Workspace, row: RunRow) -> dict[str, str]:
    """The submitter's environment, the configured variables over it, and what tells a script its run."""
    variables = dict(os.environ)
    # Output reaches the log as it is written; without this Python keeps it back until 8 KiB have gathered.
    variables.setdefault("PYTHONUNBUFFERED", "1")
    prefix = config.get("prefix")
    if prefix:
        _activate(variables, prefix)
    variables.update(azure_variables(row.run_id, row.experiment, workspace.name, config))
    variables.update(config["environment"]["environment_variables"])
    if (config.get("resources") or {}).get("gpus"):
        from onrecord.waiting_runs import gpus_of

        given = gpus_of(workspace, row.run_id, dict(config))
        if given:
            variables["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, given))
    # The submitter may itself be an interactive run, which this script is no part of.
    variables.pop(INTERACTIVE_RUN, None)
    variables[VARIABLE] = str(workspace.layout.root)
    variables[RUN_ID] = row.run_id
    variables[EXPERIMENT] = row.experiment
    return variables


def _activate(variables: dict[str, str], prefix: str) -> None:
    """As an environment's own `activate` does it; what the submitter's Python sees besides is no part of it."""
    for name in ("PYTHONPATH", "PYTHONHOME", "CONDA_PREFIX"):
        variables.pop(name, None)
    variables["PYTHONNOUSERSITE"] = "1"
    variables["VIRTUAL_ENV"] = prefix
    variables["PATH"] = os.pathsep.join(part for part in (f"{prefix}/bin", variables.get("PATH", "")) if part)
