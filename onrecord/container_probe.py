"""What an image's own Python is and has, asked once for each image in a container of it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from onrecord.executors.container_engine import Engine, Image, complaint, user_words
from onrecord.executors.container_errors import ImageUnfit
from onrecord.inventory import PROGRAM
from onrecord.script_environment import is_python

if TYPE_CHECKING:
    from onrecord.executors.environment import Tell
    from onrecord.workspace import Workspace

FORMAT = 1
# What an image may call its Python; Debian's have no `python`.
_NAMES = ("python3", "python")
# docker's reference, "Exit status": the engine failed, the command cannot be run, it is not there.
_ENGINE_FAILED, _CANNOT_RUN, _NOT_THERE = 125, 126, 127
_SECONDS = 120.0
# Of a script's run: logging needs nothing but Python, all else onrecord's own version of it.
OLDEST_FOR_ONRECORD = (3, 8)
OLDEST_FOR_ALL = (3, 11)
OLDEST_FOR_INIT = (3, 6)

# For Pythons from 3.6 on: one line of facts, then the inventory as every run has it.
_QUESTION = """
import json, sys
from importlib.util import find_spec
def folder(name):
    found = find_spec(name)
    return list(found.submodule_search_locations)[0] if found and found.submodule_search_locations else None
print(json.dumps({"version": list(sys.version_info[:3]), "onrecord": folder("onrecord"), "attrs": folder("attrs"),
                  "pyspark": folder("pyspark"), "executable": sys.executable}))
""" + PROGRAM  # fmt: skip


class Probe(NamedTuple):
    """What is known of an image's Python. `interpreter`: as the container starts it, "" where it has none; `facts`:
    `version` (three numbers), the folders of `onrecord`, `attrs`, `pyspark` or None; `inventory`: as JSON text."""

    interpreter: str
    facts: dict[str, Any]
    inventory: str

    def inventory_with(self, container: Mapping[str, str]) -> str:
        """The inventory as the run's file has it, with what container it is of."""
        found = json.loads(self.inventory) if self.inventory else {"packages": {}}
        return json.dumps({**found, "container": dict(container)}, indent=1, sort_keys=True) + "\n"

    @property
    def version(self) -> tuple[int, ...]:
        """Of its Python; () where it has none."""
        return tuple(self.facts.get("version") or ())


def probed(workspace: Workspace, engine: Engine, image: Image, config: Mapping[str, Any], tell: Tell) -> Probe:
    """The image's Python, from what was learnt before, or in a container. Raises ImageUnfit, EngineFailed, OSError."""
    docker, wanted = config["environment"]["docker"], str(config.get("interpreter") or "")
    arguments = [str(word) for word in docker.get("arguments", ())]
    path = _place(workspace, engine, image, arguments, wanted)
    found = _known(path)
    if found is None:
        found = _asked(engine, image, arguments, wanted)
        if found.interpreter:
            _keep(path, found)
    if not found.interpreter and is_python(config):
        raise ImageUnfit(
            f"the image {image.name} has no Python to run {config['script']} with",
            why=f"{wanted or ' and '.join(_NAMES)} cannot be started in it: {found.inventory}",
            next_step="name it: environment.python.interpreter_path = '/opt/conda/bin/python'",
            image=image.name,
        )
    if found.interpreter and not found.facts.get("onrecord") and found.version < OLDEST_FOR_ALL:
        had = ".".join(map(str, found.version))
        can = "only log metrics" if found.version >= OLDEST_FOR_ONRECORD else "not log into its run"
        tell(f"the image's Python is {had}: a script in it can {can}; from 3.11 on it can do everything with its run")
    return found if found.interpreter else found._replace(inventory="")


def _asked(engine: Engine, image: Image, arguments: list[str], wanted: str) -> Probe:
    said = ""
    for name in [wanted] if wanted else _NAMES:
        asked = engine.call(
            "run", "--rm", "--pull", "never", *arguments, *user_words(engine), "--security-opt", "label=disable",
            "--entrypoint", name, image.identity, "-c", _QUESTION, seconds=_SECONDS,
        )  # fmt: skip
        said = said or complaint(asked.stderr) or f"it ended with exit code {asked.returncode}"
        facts, _, inventory = asked.stdout.partition("\n")
        if asked.returncode == 0 and facts.startswith("{"):
            return Probe(name, json.loads(facts), inventory)
        if asked.returncode == _ENGINE_FAILED:
            raise ImageUnfit(
                f"no container of the image {image.name} can be started",
                why=said,
                next_step=f"{engine.kind} run --rm {image.name} true   (says more)",
                image=image.name,
            )
    return Probe("", {}, said)


def _place(workspace: Workspace, engine: Engine, image: Image, arguments: list[str], wanted: str) -> Path:
    from blake3 import blake3

    asked = [FORMAT, engine.kind, image.identity, arguments, wanted, os.geteuid()]
    name = blake3(json.dumps(asked).encode()).hexdigest()[:32]
    return workspace.layout.caches / "images" / f"{name}.json"


def _known(path: Path) -> Probe | None:
    try:
        return Probe(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _keep(path: Path, found: Probe) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(found._asdict()), encoding="utf-8")
    draft.replace(path)
