"""The plan by which `executors/ranks.py` starts the processes of a distributed job."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onrecord.errors import OnRecordError
from onrecord.executors import ranks
from onrecord.layout import RunFolder
from onrecord.script_environment import Words, is_python

_LAUNCHERS = ("mpirun", "mpiexec")


class NoMpi(OnRecordError):
    """There is no program that starts MPI processes. Attribute: `searched`, the PATH."""


def ranked_command(
    words: Words, config: Mapping[str, Any], folder: RunFolder, variables: Mapping[str, str], grace: float
) -> tuple[str, ...]:
    """The command that starts `words` in all of the job's processes; writes the plan. Raises NoMpi, OSError."""
    job, program = config["distribution"], list(words.program)
    if job["scheme"] == "mpi" and is_python(config):
        program[1:1] = _aborting(program[0], variables)
    plan: dict[str, Any] = {
        **job,
        "command": [*program, *words.arguments, *words.added],
        # Of the command, from where to where each process replaces `$NAME`.
        "expanded": [len(program), len(program) + len(words.arguments)],
        "logs": str(folder.work / "logs"),
        "records": str(folder.records),
        "stderr": str(folder.stderr),
        "grace_seconds": grace,
    }
    if job["scheme"] == "mpi":
        plan["launcher"] = find_launcher(config["interpreter"], variables)
    path = folder.records / "ranks.json"
    path.write_text(json.dumps(plan))
    # This interpreter: the script's own may be older than the program, or no Python at all.
    return (sys.executable, "-I", "-S", str(Path(ranks.__file__)), str(path))


def _aborting(interpreter: str, variables: Mapping[str, str]) -> tuple[str, ...]:
    """Words that let a Python script that fails end the whole job, where its interpreter has mpi4py.

    Without them a process that raises waits at its exit for the others, and they for it, for ever
    (https://mpi4py.readthedocs.io, "mpi4py.run").
    """
    asked = subprocess.run(
        [interpreter, "-c", "import mpi4py.run"], env=dict(variables), stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    return ("-m", "mpi4py") if asked.returncode == 0 else ()


def find_launcher(interpreter: str, variables: Mapping[str, str]) -> str:
    """The MPI launcher beside an interpreter, where pip puts it, or on the PATH. Raises NoMpi."""
    searched = variables.get("PATH", os.defpath)
    beside = os.path.dirname(interpreter)  # noqa: PTH120 - an empty one stays empty
    for name in _LAUNCHERS:
        found = (shutil.which(name, path=beside) if beside else None) or shutil.which(name, path=searched)
        if found:
            return found
    raise NoMpi(
        "there is no mpirun to start the processes of this job",
        why=f"neither {' nor '.join(_LAUNCHERS)} is beside {interpreter} or on the PATH",
        next_step="pip install mpich mpi4py   (or apt-get install mpich)",
        searched=searched,
    )
