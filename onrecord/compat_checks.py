"""Runs whose scripts import Azure ML's modules: which are, and which cannot be."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import attrs

from onrecord.config_errors import BadConfig
from onrecord.environment import Environment


def with_compat(environment: Environment) -> Environment:
    """The environment of a run that is submitted here: a program with Azure ML's names submits scripts with them."""
    layer = sys.modules.get("onrecord.azureml")
    if environment.compat is None and layer is not None and layer.is_installed():
        return attrs.evolve(environment, compat=layer.COMPAT)
    return environment


def check_compat(environment: Environment, hosts: Sequence[str]) -> None:
    """Refuse a place that has no onrecord to stand in for azureml. Raises BadConfig."""
    if hosts or environment.uses_container():
        raise BadConfig(
            f"a job {'on several hosts' if hosts else 'in a container'} cannot have compat='azureml'",
            why="the modules are part of the onrecord of this machine",
            next_step="run it here, or install onrecord there and change the imports: from onrecord import Run",
            field="compat",
        )
    interpreter = environment.interpreter()
    if environment.needs_build() or interpreter == sys.executable:
        return
    from onrecord.azureml.interpreter import has_onrecord

    if has_onrecord(interpreter) is False:
        raise BadConfig(
            f"{interpreter} has no onrecord, which compat='azureml' needs in the interpreter of the run",
            why="scripts that import azureml.core get onrecord under that name",
            next_step=f"{interpreter} -m pip install onrecord, or run it without compat",
            field="environment",
        )
