"""Scripts written for Azure ML's SDK v1, run as they are: its modules under their own names.

    import onrecord.azureml
    onrecord.azureml.install()          # in a notebook or a program; from here on `import azureml.core` works

or `python -m onrecord.azureml submit.py`, `onrecord run --compat azureml train.py`, `Environment(…, compat="azureml")`.
"""

from __future__ import annotations

COMPAT = "azureml"


def install() -> None:
    """Let this process, and those that it starts, import Azure ML's modules from here.

    Runs that it submits can too. Raises AzureIsLoaded where Azure's own are in use in this process already.
    """
    from onrecord.azureml.finder import install

    install()


def shim_folder() -> str:
    """The folder that a process needs at the front of its PYTHONPATH."""
    import os

    return os.path.join(os.path.dirname(os.path.abspath(__file__)), "path")  # noqa: PTH100, PTH118, PTH120


def with_shim(given: str) -> str:
    """A PYTHONPATH with that folder at its front, once."""
    import os

    parts = [part for part in given.split(os.pathsep) if part and part != shim_folder()]
    return os.pathsep.join([shim_folder(), *parts])


def is_installed() -> bool:
    """Whether Azure ML's names are these in this process."""
    import sys

    finder = sys.modules.get("onrecord.azureml.finder")
    return finder is not None and bool(finder.is_installed())
