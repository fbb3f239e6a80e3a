"""From a script's command line to that of the container engine which runs it.

What is shown inside, at the same paths as outside: the workspace, with the run's working copy, its spool and the
ledger. Below /opt/onrecord, read-only: onrecord itself where the image has none.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onrecord.container_probe import OLDEST_FOR_INIT, OLDEST_FOR_ONRECORD
from onrecord.executors import container_keeper
from onrecord.executors.container_engine import LABEL_RUN, Engine, mount, user_words
from onrecord.executors.environment import package_folder
from onrecord.executors.records import MARKER
from onrecord.layout import RunFolder

if TYPE_CHECKING:
    from onrecord.workspace import Workspace

INSIDE = "/opt/onrecord"
PLAN, REPORT, END, PLACE = "container.json", "container-report.json", "container-end.json", "container"
# Variables that would change what the engine's own command does; their values stand on its command line.
_ITS_OWN = re.compile(
    r"(?:PATH|HOME|TMPDIR|LD_.*|XDG_.*|CONTAINER.*|DOCKER_.*|STORAGE_.*|REGISTRY_.*|REGISTRIES_.*|BUILDAH_.*|GO.*|_.*"
    r"|LISTEN_.*|NOTIFY_SOCKET|DBUS_.*)"
)


def contained(
    command: Sequence[str],
    config: Mapping[str, Any],
    workspace: Workspace,
    folder: RunFolder,
    environment: dict[str, str],
    grace_seconds: float,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The command that runs `command` in the run's container, and the one that ends it; writes their plan.

    `environment` is the script's, and becomes that of the engine's command, which passes on what is the script's.
    Raises OSError.
    """
    container, docker = config["container"], config["environment"]["docker"]
    engine = Engine(**container["engine"])
    words = _inside(command, container, folder)
    has_init = _can_init(container["probe"])
    resources = config.get("resources") or {}
    limits = _limits(engine, docker, resources, environment)
    script_variables = _variables(config, container, environment)
    run_id = folder.path.name
    name = f"onrecord-{run_id}"
    run = [
        "run", "--name", name, "--pull", "never", "--log-driver", "none",
        "--label", f"{LABEL_RUN}={run_id}", "--label", f"onrecord.workspace={workspace.layout.root}",
        *[str(word) for word in docker.get("arguments", ())],
        *limits,
        *user_words(engine), "--security-opt", "label=disable",
        *_mounts(container, workspace),
        "--workdir", str(folder.work),
        *_passed_on(script_variables, environment),
        "--entrypoint", words[0], container["image"], *words[1:],
    ]  # fmt: skip
    plan = folder.records / PLAN
    place = folder.records / PLACE
    place.mkdir(exist_ok=True)
    _write(plan, {
        "engine": [engine.program], "kind": engine.kind, "name": name, "run": run, "grace_seconds": grace_seconds,
        "report": str(folder.records / REPORT), "end": str(folder.records / END), "place": str(place),
        "memory": resources.get("memory", 0),
            "has_init": has_init,
    })  # fmt: skip
    keeper = (sys.executable, "-I", "-S", str(Path(container_keeper.__file__)))
    return (*keeper, "run", str(plan)), (*keeper, "end", engine.program, name)


def _inside(command: Sequence[str], container: Mapping[str, Any], folder: RunFolder) -> list[str]:
    """The words as the container starts them: under `container_init.py` where the image's Python can run it."""
    from onrecord.executors import ranks

    words = list(command)
    probe = container["probe"]
    if words[:3] == [sys.executable, "-I", "-S"] and words[3] == ranks.__file__:
        words = [probe["executable"], "-I", "-S", f"{INSIDE}/onrecord/executors/ranks.py", *words[4:]]
    if not _can_init(probe):
        return words
    init = f"{INSIDE}/onrecord/executors/container_init.py"
    return [probe["executable"], "-I", "-S", init, str(folder.records / REPORT), *words]


def _can_init(probe: Mapping[str, Any]) -> bool:
    return tuple(probe.get("version") or ()) >= OLDEST_FOR_INIT


def _variables(
    config: Mapping[str, Any], container: Mapping[str, Any], environment: Mapping[str, str]
) -> dict[str, str]:
    """The script's own variables: what was configured and what onrecord sets; the submitter's others stay outside."""
    found = variables_inside(config, environment)
    # Passed on as every variable of a script is; it is what recognises a process of a run whose supervisor was killed.
    found[MARKER] = ""
    image, probe = container["variables"], container["probe"]
    found.setdefault("PYTHONUNBUFFERED", image.get("PYTHONUNBUFFERED") or "1")
    if _brings_onrecord(probe):
        path = found.get("PYTHONPATH", image.get("PYTHONPATH", ""))
        found["PYTHONPATH"] = os.pathsep.join(part for part in (INSIDE, path) if part)
    if os.geteuid() != 0:
        # The user has no home there, and / cannot be written.
        found.setdefault("HOME", image.get("HOME") or "/tmp")  # noqa: S108
    return found


def variables_inside(config: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, str]:
    """What of a script's environment is seen in its container: all but the submitter's own."""
    configured = {**config["environment"]["environment_variables"], **config.get("environment_variables", {})}
    found = {name: value for name, value in environment.items() if os.environ.get(name) != value}
    found |= {name: environment[name] for name in configured if name in environment}
    found |= {name: value for name, value in environment.items() if name.startswith("ONRECORD_")}
    found.pop("ONRECORD_CONTAINER_ENGINE", None)
    return found


def _passed_on(variables: Mapping[str, str], environment: dict[str, str]) -> list[str]:
    """The words that pass them on; their values go by the engine's own environment, where nobody else reads them."""
    words = []
    for name, value in variables.items():
        if name == MARKER:
            words += ["--env", name]
        elif _ITS_OWN.fullmatch(name):
            words += ["--env", f"{name}={value}"]
            if os.environ.get(name) is not None:
                environment[name] = os.environ[name]
            else:
                environment.pop(name, None)
        else:
            words += ["--env", name]
            environment[name] = value
    return words


def _mounts(container: Mapping[str, Any], workspace: Workspace) -> list[str]:
    root = str(workspace.layout.root)
    words = mount(root, root)
    package = package_folder("onrecord")
    words += mount(str(package), f"{INSIDE}/onrecord", read_only=True)
    for name in ("executors", "ledger", "snapshot"):
        if (package / name).is_symlink():
            # In a checkout these are links to folders beside the package.
            words += mount(str((package / name).resolve()), f"{INSIDE}/{name}", read_only=True)
    if _brings_onrecord(container["probe"]) and not container["probe"].get("attrs"):
        # Pure Python, and all that tags, properties and metrics that are read back need besides onrecord.
        for name in ("attr", "attrs"):
            words += mount(str(package_folder(name)), f"{INSIDE}/{name}", read_only=True)
    return words


def _brings_onrecord(probe: Mapping[str, Any]) -> bool:
    return not probe.get("onrecord") and tuple(probe.get("version") or ()) >= OLDEST_FOR_ONRECORD


def _limits(
    engine: Engine, docker: Mapping[str, Any], resources: Mapping[str, Any], environment: dict[str, str]
) -> list[str]:
    """What the run asked for, held by the container's control group."""
    words = []
    if resources.get("cores"):
        words += ["--cpus", f"{resources['cores']:g}"]
    if resources.get("memory"):
        # Without more of swap, which would only make it slow before it fails.
        words += ["--memory", str(resources["memory"]), "--memory-swap", str(resources["memory"])]
    if docker.get("shm_size"):
        words += ["--shm-size", str(docker["shm_size"])]
    if resources.get("gpus"):
        words += gpu_words(engine, int(resources["gpus"]), environment.get("CUDA_VISIBLE_DEVICES", ""))
        # Inside they are counted anew.
        environment.pop("CUDA_VISIBLE_DEVICES", None)
    return words


def gpu_words(engine: Engine, count: int, numbers: str) -> list[str]:
    """GPUs by number (`0,2`), or as many where the target does not number them.

    Sources: docker's reference, `--gpus`; the Container Device Interface of podman 4.1 and later.

    >>> gpu_words(Engine("podman", "podman"), 2, "0,2")
    ['--device', 'nvidia.com/gpu=0', '--device', 'nvidia.com/gpu=2']
    """
    if engine.kind == "docker":
        return ["--gpus", f'"device={numbers}"' if numbers else str(count)]
    chosen = numbers.split(",") if numbers else ["all"]
    return [word for number in chosen for word in ("--device", f"nvidia.com/gpu={number}")]


def _write(path: Path, plan: Mapping[str, Any]) -> None:
    # It may hold the values of variables.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(plan, file)
