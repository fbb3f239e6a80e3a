"""Jobs on several hosts: which hosts those are, and the plan by which `executors/hosts.py` starts processes there."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onrecord.compute_target import ComputeTarget
from onrecord.distributed import BadDistribution
from onrecord.executors import hosts as launcher
from onrecord.kept_folders import FOLDERS
from onrecord.layout import RunFolder
from onrecord.script_environment import Words
from onrecord.snapshot.remotes import SSH_VARIABLE
from onrecord.workspace import VARIABLE

_FOLDER = "~/.cache/onrecord"
_OPTIONS = ("-T", "-o", "ConnectTimeout=30", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4")


def placed(
    job: Mapping[str, Any] | None, given: Sequence[str], target: ComputeTarget, is_built: bool
) -> dict[str, Any] | None:
    """The distribution of a job with the hosts that it runs on; as it is where there are none.

    `given`: hosts of the job itself, which win over those of the target. Raises BadDistribution.
    """
    hosts = tuple(given) or target.hosts
    if not hosts:
        return dict(job) if job else None
    if job is None or job["scheme"] == "mpi":
        raise _refused(
            f"{'an MPI job' if job else 'a job of one process'} cannot be sent to the hosts {', '.join(hosts)}",
            "processes on other hosts meet as PyTorch's or TensorFlow's do",
            'distributed_job_config=PyTorchConfiguration("Gloo", process_count=2, node_count=2)', hosts,
        )  # fmt: skip
    if job.get("parameter_server_count"):
        raise _refused(
            "parameter servers cannot be sent to other hosts", "they would have to be ended from there",
            "TensorflowConfiguration(worker_count=2, parameter_server_count=0)", hosts,
        )  # fmt: skip
    nodes = min(job["process_count"], len(hosts)) if job["scheme"] == "tensorflow" else job["node_count"]
    if nodes > len(hosts):
        raise _refused(
            f"the job wants {nodes} nodes, and there are {len(hosts)} hosts", f"they are {', '.join(hosts)}",
            f"node_count={len(hosts)}, or more hosts", hosts,
        )  # fmt: skip
    if is_built:
        raise _refused(
            "an environment that is built here is not on other hosts", "only the working copy is carried there",
            "name an interpreter that every host has (onrecord run --env /path/to/python)", hosts,
        )  # fmt: skip
    for host in hosts:
        if not host or host.startswith("-") or any(letter.isspace() for letter in host):
            raise _refused(f"{host!r} is no host", "it is a name as ssh takes it, with a port after a colon",
                           'hosts = ["a", "user@b:2222"]', hosts)  # fmt: skip
    folder = {"folder": target.folder} if target.folder else {}
    return {**job, "node_count": nodes, "hosts": list(hosts[:nodes]), "python": target.python or "python3", **folder}


def _refused(what: str, why: str, step: str, hosts: Sequence[str]) -> BadDistribution:
    return BadDistribution(what, why=why, next_step=step, field="hosts", value=list(hosts))


def hosts_command(
    words: Words, config: Mapping[str, Any], folder: RunFolder, variables: Mapping[str, str], grace: float
) -> tuple[str, ...]:
    """The command that starts `words` on all hosts of the job; writes the plan. Raises OSError."""
    job = config["distribution"]
    own = {**config["environment"]["environment_variables"], **config.get("environment_variables", {})}
    told = {name: value for name, value in variables.items() if name in own or name.startswith("ONRECORD_")}
    for name in ("PYTHONUNBUFFERED", "AZUREML_DATAREFERENCE_MODEL_LOCATION"):
        if name in variables:
            told[name] = variables[name]
    plan: dict[str, Any] = {
        **job,
        "hosts": [_reached(host) for host in job["hosts"]],
        "command": list(words.all),
        "expanded": [len(words.program), len(words.program) + len(words.arguments)],
        "variables": told,
        "workspace_variable": VARIABLE,
        "run_id": folder.path.name,
        "folder": f"{job.get('folder', _FOLDER)}/{folder.path.name}",
        "kept": [*FOLDERS, *config.get("directories_to_watch", ())],
        "work": str(folder.work),
        "resumed": str(folder.resumed) if config.get("resume_from") else "",
        "logs": str(folder.work / "logs"),
        "spool": str(folder.spool),
        "token": os.urandom(16).hex(),
        "grace_seconds": grace,
    }
    path = folder.records / "hosts.json"
    path.write_text(json.dumps(plan))
    return (sys.executable, "-I", "-S", str(Path(launcher.__file__)), str(path))


def _reached(host: str) -> dict[str, Any]:
    """How a host is reached, and the address by which the others find it: what ssh's own settings say of its name."""
    name, _, port = host.rpartition(":") if host.rpartition(":")[2].isdigit() else (host, "", "")
    words = [*shlex.split(os.environ.get(SSH_VARIABLE, "ssh")), *_OPTIONS, *(("-p", port) if port else ())]
    address = name.rpartition("@")[2]
    asked = subprocess.run(
        [*words, "-G", "--", name], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    for line in asked.stdout.splitlines():
        if line.startswith("hostname "):
            address = line.split(None, 1)[1]
    return {"name": host, "address": address, "words": [*words, "--", name]}
