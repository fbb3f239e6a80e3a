"""Azure ML's module names for what onrecord has, so that scripts written for it run with their imports as they are.

Switched on for a run by `onrecord run --compat azureml`, for an environment by `environment.compat = "azureml"`, for a
script that submits runs by `python -m onrecord.azureml script.py`, in a notebook by `install()`. The names are there
in that process and in those that it starts, by PYTHONPATH; nothing is installed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping
from pathlib import Path

from onrecord.script_variables import AZUREML, COMPAT

# The folder that holds nothing but a package of the name `azureml`.
PATH = str(Path(__file__).parent / "path")


def install() -> None:
    """Have the names in this process, before anything of Azure ML's own is imported, and in those that it starts."""
    if PATH not in sys.path:
        sys.path.insert(0, PATH)
    os.environ[COMPAT] = AZUREML
    add_to(os.environ)


def add_to(variables: MutableMapping[str, str]) -> None:
    """Let a Python that is started with these variables find the names, before any other package of that name."""
    parts = [part for part in variables.get("PYTHONPATH", "").split(os.pathsep) if part and part != PATH]
    variables["PYTHONPATH"] = os.pathsep.join([PATH, *parts])
