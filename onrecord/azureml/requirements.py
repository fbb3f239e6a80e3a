"""Requirements of scripts for Azure ML: its own packages are what onrecord stands in for."""

from __future__ import annotations

import re

import attrs

from onrecord.conda_dependencies import CondaDependencies
from onrecord.environment import PythonSection

_AZURE = re.compile(r"azureml[-_.](defaults|core|sdk|train|train-core|telemetry|widgets|tensorboard)\b", re.IGNORECASE)


def without_azure(python: PythonSection) -> PythonSection:
    """The same section with onrecord in place of azureml-defaults, azureml-core and the like."""
    if python.pylock is not None:
        return python
    wanted = CondaDependencies(_underlying_structure=python.conda_dependencies.as_dict())
    for package in list(wanted.pip_packages):
        if _AZURE.match(package):
            wanted.remove_pip_package(package)
    wanted.add_pip_package("onrecord")
    return attrs.evolve(python, conda_dependencies=wanted)
