"""Environments that are built, in a workspace: made ready for a run, made by hand, looked at and removed.

Imported only where there is something to build: a run in an interpreter as it is pays nothing for it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from onrecord.environment_recipe import recipe_of
from onrecord.executors.environment import key_of
from onrecord.executors.environment_cache import LOG, Cache, Held
from onrecord.executors.environment_errors import BadEnvironment, BuildStopped
from onrecord.ledger.states import CANCEL_REQUESTED
from onrecord.preparation import uses_container

if TYPE_CHECKING:
    from onrecord.environment import Environment
    from onrecord.layout import RunFolder
    from onrecord.workspace import Workspace

_LOOK_AT_LEDGER_SECONDS = 2.0
_TRIES = 20
# Held until this process ends, which for a conductor is the end of its run.
_held: list[Held] = []


class BuiltEnvironment(NamedTuple):
    """An environment that is there. `packages`: versions by name, as they were installed; `key`: 32 hex digits."""

    name: str
    key: str
    prefix: Path
    python: Path
    packages: dict[str, str]
    log: Path
    # Of a container: the image's id, `sha256:` and 64 hex digits, after its name where it was not built here.
    image: str = ""

    def wait_for_completion(self, show_output: bool = True) -> BuiltEnvironment:
        """Itself: `build` returns when it is there, unlike Azure ML's."""
        del show_output
        return self


def make_ready(workspace: Workspace, run_id: str, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The run's configuration with the interpreter of its environment, which is built if need be, and held.

    None where someone asks for the run's end meanwhile. Raises BadEnvironment, EnvironmentBuildFailed, OSError.
    """
    environment, folder = config["environment"], workspace.layout.run(run_id)
    if uses_container(environment):
        from onrecord import container_environment

        return container_environment.make_ready(workspace, run_id, config)
    recipe = recipe_of(environment, config["interpreter"])
    cache = Cache(workspace.layout.environments)
    held = cache.hold(key_of(recipe))
    if held is None:
        key_log = cache.root / key_of(recipe) / LOG
        show_log(folder, key_log)
        try:
            held = cache.ready(
                recipe,
                tell=Notes(folder),
                should_stop=StopAsked(workspace, run_id, folder),
                label=environment["name"],
            )
        except BuildStopped:
            return None
        finally:
            keep_log(folder, key_log)
    return _with(config, held)


def adopted(workspace: Workspace, config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a run that another conductor started, with its environment held again."""
    if uses_container(config["environment"]):
        from onrecord import container_environment

        return container_environment.adopted(workspace, config)
    cache = Cache(workspace.layout.environments)
    try:
        key = key_of(recipe_of(config["environment"], config["interpreter"]))
    except BadEnvironment:
        # What it was built from is gone by now; the script may run on all the same.
        return config
    for _ in range(_TRIES):
        held = cache.hold(key)
        if held is not None:
            return _with(config, held)
        if not (cache.root / key).is_dir():
            break
        # Someone looks whether it is in use, and has its lock for that long.
        time.sleep(0.01)
    return config


def build(
    workspace: Workspace, environment: Environment, tell: Callable[[str], None] | None = None
) -> BuiltEnvironment:
    """Make an environment now, or find it."""
    checked = environment.checked()
    if not checked.needs_build():
        import shutil

        python = Path(shutil.which(checked.interpreter()) or checked.interpreter())
        return BuiltEnvironment(checked.name, "", python.parent.parent, python, {}, Path(os.devnull))
    if checked.uses_container():
        return _image(workspace, checked, tell or _print)
    recipe = recipe_of(checked.as_document(), checked.interpreter())
    cache = Cache(workspace.layout.environments)
    held = cache.ready(recipe, tell=tell or _print, should_stop=lambda: False, label=checked.name)
    try:
        ok = next(entry.ok for entry in cache.entries() if entry.key == held.key)
    finally:
        os.close(held.fd)
    return BuiltEnvironment(checked.name, held.key, held.prefix, held.python, ok.get("packages", {}), held.log)


def key_of_definition(workspace: Workspace, checked: Environment) -> str | None:
    """The key that a checked environment has in the cache; None of an image that is used as it is."""
    document = checked.as_document()
    if uses_container(document):
        from onrecord.container_environment import key_in_use

        return key_in_use(workspace, {"environment": document})
    return key_of(recipe_of(document, checked.interpreter()))


def keys_in_use(workspace: Workspace) -> set[str]:
    """The environments of runs that have not ended, also where their conductor has died."""
    from onrecord.errors import OnRecordError
    from onrecord.preparation import needs_build

    keys = set()
    for row in workspace.query.unfinished():
        config = workspace.query.config(row.run_id)
        try:
            if config and uses_container(config["environment"]):
                from onrecord.container_environment import key_in_use

                keys.add(key_in_use(workspace, config) or "")
            elif config and needs_build(config):
                keys.add(key_of(recipe_of(config["environment"], config["interpreter"])))
        except (OnRecordError, KeyError):
            continue
    return keys


def _with(config: Mapping[str, Any], held: Held) -> dict[str, Any]:
    _held.append(held)
    return {**config, "interpreter": str(held.python), "prefix": str(held.prefix)}


def hold(held: Held) -> None:
    """Keep an environment from being removed until this process ends."""
    _held.append(held)


def _image(workspace: Workspace, checked: Environment, tell: Callable[[str], None]) -> BuiltEnvironment:
    from onrecord.container_environment import build as build_image

    ready = build_image(workspace, checked, tell)
    key, log = "", Path(os.devnull)
    if ready.held is not None:
        os.close(ready.held.fd)
        key, log = ready.held.key, ready.held.log
    image = f"{ready.image.name} ({ready.image.identity})" if key == "" else ready.image.identity
    return BuiltEnvironment(checked.name, key, Path(), Path(), {}, log, image)


class StopAsked:
    """Whether someone asked for the run's end: at once where its file is there, soon where only the ledger says so."""

    def __init__(self, workspace: Workspace, run_id: str, folder: RunFolder) -> None:
        self._workspace = workspace
        self._run_id = run_id
        self._file = folder.cancel
        self._next = time.monotonic() + _LOOK_AT_LEDGER_SECONDS

    def __call__(self) -> bool:
        now = time.monotonic()
        if not (now > self._next or self._file.exists()):
            return False
        self._next = now + _LOOK_AT_LEDGER_SECONDS
        return self._workspace.query.run(self._run_id).status == CANCEL_REQUESTED


class Notes:
    """Lines for whoever waits for the run."""

    def __init__(self, folder: RunFolder) -> None:
        self._path = folder.notes

    def __call__(self, text: str) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(text + "\n")


def show_log(folder: RunFolder, log: Path) -> None:
    """While it is built, whoever waits reads the build's own log."""
    folder.records.mkdir(parents=True, exist_ok=True)
    folder.build_log.unlink(missing_ok=True)
    folder.build_log.symlink_to(log)


def keep_log(folder: RunFolder, log: Path) -> None:
    """The run's own copy, which stays when the environment is removed."""
    import shutil

    folder.build_log.unlink(missing_ok=True)
    try:
        shutil.copyfile(log, folder.build_log)
    except FileNotFoundError:
        # It was stopped before there was one.
        pass


def _print(text: str) -> None:
    print(f"onrecord: {text}", file=sys.stderr, flush=True)
