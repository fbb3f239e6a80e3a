"""Small things of Azure ML's modules that mean little here."""

from __future__ import annotations

from onrecord import __version__

# The release of September 2020 whose names these are; the rest says whose it is, in the form of PEP 440.
VERSION = f"1.15.0+onrecord.{__version__}"
# Kept with an environment where a script sets them; nothing is started from them.
DEFAULT_CPU_IMAGE = "mcr.microsoft.com/azureml/intelmpi2018.3-ubuntu16.04:20200821.v1"
DEFAULT_GPU_IMAGE = "mcr.microsoft.com/azureml/base-gpu:intelmpi2018.3-cuda10.0-cudnn7-ubuntu16.04"


def set_diagnostics_collection(send_diagnostics: bool = True, verbosity: object = None) -> None:
    """Nothing: onrecord sends nothing to anyone."""
    del send_diagnostics, verbosity
