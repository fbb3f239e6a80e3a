"""What another interpreter has, asked before a run is made for it; and what a run says of it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

_ASK = "import importlib.util as u; print(u.find_spec('onrecord') is not None)"
_SECONDS = 30
_REAL = "azureml-core"


def has_onrecord(interpreter: str) -> bool | None:
    """Whether it can import onrecord; None where it does not answer, which its start will tell better."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONHOME"}
    words = [interpreter, "-c", _ASK]
    try:
        # From a folder of its own: what lies in the current one is not what it has.
        done = subprocess.run(
            words, capture_output=True, text=True, check=False, timeout=_SECONDS, env=variables, cwd="/"
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() == "True" if done.returncode == 0 else None


def azure_is_there(inventory: Path | None) -> list[str]:
    """A warning where the interpreter of a run has Azure's own library, whose names its script did not get."""
    if inventory is None:
        return []
    packages = json.loads(inventory.read_bytes()).get("packages", {})
    if _REAL not in packages:
        return []
    return [f"{_REAL} {packages[_REAL]} is installed; with compat=azureml the script imported onrecord in its place"]
