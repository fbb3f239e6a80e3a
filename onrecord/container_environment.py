"""Environments that are images, in a workspace: found or pulled or built for a run, and made by hand.

Imported only where a run has a container.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlsplit

from onrecord.container_probe import Probe, probed
from onrecord.errors import OnRecordError
from onrecord.executors.container_build import EXTRA, ImageRecipe, pull
from onrecord.executors.container_engine import Engine, Image, can_be_pulled, complaint, find_engine, image_named
from onrecord.executors.container_errors import ImageUnavailable
from onrecord.executors.environment_cache import LOG, Cache, Held, forget
from onrecord.executors.environment_errors import BadEnvironment, BuildStopped, EnvironmentBuildFailed, last_lines
from onrecord.inventory import ANSWER

if TYPE_CHECKING:
    from onrecord.environment import Environment
    from onrecord.executors.environment import Tell
    from onrecord.workspace import Workspace

_TRIES = 20


class ReadyImage(NamedTuple):
    """An image that is on this machine; `held` where it was built here, so that nobody removes it."""

    engine: Engine
    image: Image
    held: Held | None


# ---- definitions -----------------------------------------------------------------------------------


def checked(environment: Environment) -> Environment:
    """The environment with all files named by path and content. Raises BadEnvironment, NoContainerEngine."""
    import attrs

    from onrecord.environment_files import resolved

    find_engine()
    found = attrs.evolve(environment, docker=environment.docker.checked())
    if not found.python.user_managed_dependencies:
        _refuse_what_images_bring(found)
        dependencies = resolved(found.python.conda_dependencies, Path.cwd())
        found = attrs.evolve(found, python=attrs.evolve(found.python, conda_dependencies=dependencies))
    return found


def _refuse_what_images_bring(environment: Environment) -> None:
    python = environment.python
    conda = [one for one in python.conda_dependencies.conda_packages if one.strip() not in ("python", "pip")]
    if conda or python.pylock is not None:
        raise BadEnvironment(
            f"{', '.join(conda) or 'what a lock lists'} cannot be installed over an image",
            why="an image brings its own Python; pip's packages can be installed over it",
            next_step="list them for pip, or write a Dockerfile that installs them",
            field="conda_dependencies",
        )


def recipe_of(environment: Mapping[str, Any], engine: Engine) -> ImageRecipe | None:
    """What is to be built for an environment's document; None where its image is used as it is."""
    docker, lines = environment["docker"], _pip_lines(environment)
    context = docker.get("build_context") or {}
    if context:
        folder = Path(str(context["location"]))
        try:
            text = (folder / context["dockerfile_path"]).read_text(encoding="utf-8")
        except OSError as problem:
            raise BadEnvironment(
                f"the build context {folder} cannot be read", why=str(problem), next_step="put it back",
                field="build_context",
            ) from problem  # fmt: skip
        base = ImageRecipe(engine, text, str(folder), str(context["digest"]))
    elif docker.get("base_dockerfile"):
        base = ImageRecipe(engine, str(docker["base_dockerfile"]))
    elif lines:
        base = ImageRecipe(engine, f"FROM {docker['base_image']}\n")
    else:
        return None
    return _with_packages(base, lines, environment["python"].get("interpreter_path") or "python3") if lines else base


def _pip_lines(environment: Mapping[str, Any]) -> list[str]:
    from onrecord.environment_recipe import is_carried

    python = environment.get("python") or {}
    if python.get("user_managed_dependencies"):
        return []
    wanted = (python.get("conda_dependencies") or {}).get("dependencies", ())
    lines = [str(line) for item in wanted if isinstance(item, Mapping) for line in item["pip"]]
    # onrecord itself is shown to every container.
    return [line for line in lines if not is_carried(line)]


def _with_packages(recipe: ImageRecipe, lines: list[str], python: str) -> ImageRecipe:
    """The recipe with pip's packages installed last; files that the lines name go into the context."""
    extra: list[tuple[str, str | Path]] = []
    written = []
    for number, given in enumerate(lines):
        line = given
        option, _, value = given.partition(" ")
        _, at, url = given.partition(" @ file://")
        if option == "--find-links" and value.startswith("/"):
            found = sorted(path for path in Path(value).iterdir() if path.is_file())
            extra += [(f"links-{number}/{path.name}", path) for path in found]
            line = f"--find-links /tmp/{EXTRA}/links-{number}"
        elif at:
            path = Path(unquote(urlsplit(f"file://{url}").path))
            extra.append((f"{number}/{path.name}", path))
            line = line.replace(f"file://{url.partition('#')[0]}", f"file:///tmp/{EXTRA}/{number}/{path.name}")
        written.append(line)
    extra.append(("requirements.txt", "".join(f"{line}\n" for line in written)))
    install = f'["{python}", "-m", "pip", "install", "--no-cache-dir", "-r", "/tmp/{EXTRA}/requirements.txt"]'
    text = f"{recipe.dockerfile.rstrip()}\nUSER 0\nCOPY {EXTRA} /tmp/{EXTRA}\nRUN {install}\n"
    return recipe._replace(dockerfile=text, extra=tuple(extra))


# ---- in a workspace ----------------------------------------------------------------------------------


def engine_of(workspace: Workspace | None) -> Engine:
    """The engine that config.toml or ONRECORD_CONTAINER_ENGINE names, or whichever is here.

    Raises NoContainerEngine, BadConfig.
    """
    return find_engine(_configured(workspace.layout.config) if workspace is not None else "")


def _configured(config: Path) -> str:
    text = config.read_text(encoding="utf-8")
    if "containers" not in text:
        return ""
    import tomllib

    try:
        engine = tomllib.loads(text).get("containers", {}).get("engine", "")
    except (tomllib.TOMLDecodeError, AttributeError) as problem:
        raise _bad_config(config, str(problem)) from problem
    if not isinstance(engine, str):
        raise _bad_config(config, f"engine is {engine!r}")
    return engine


def _bad_config(config: Path, why: str) -> OnRecordError:
    return OnRecordError(
        f"[containers] in {config} does not name an engine", why=why, next_step='write there: engine = "podman"'
    )


def make_ready(workspace: Workspace, run_id: str, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The run's configuration with the Python of its image, and with what `container_launch` needs.

    None where someone asks for the run's end meanwhile. Raises BadEnvironment, EnvironmentBuildFailed,
    ImageUnavailable, ImageUnfit, NoContainerEngine, EngineFailed, OSError.
    """
    from onrecord.built_environment import Notes, StopAsked, hold

    folder = workspace.layout.run(run_id)
    folder.records.mkdir(parents=True, exist_ok=True)
    stop = StopAsked(workspace, run_id, folder)
    notes = Notes(folder)
    try:
        ready = _ready(workspace, config["environment"], notes, stop, run_folder=folder)
    except BuildStopped:
        return None
    if ready.held is not None:
        hold(ready.held)
    probe = probed(workspace, ready.engine, ready.image, config, notes)
    if stop():
        return None
    # Put on record once the script is on its way: the ledger's events take longer to import than all of this.
    (folder.records / ANSWER).write_text(probe.inventory_with(_facts(ready)), encoding="utf-8")
    return {**config, "interpreter": probe.interpreter, "container": _described(ready, probe)}


def _ready(
    workspace: Workspace,
    environment: Mapping[str, Any],
    tell: Tell,
    stop: Callable[[], bool],
    run_folder: Any = None,
) -> ReadyImage:
    engine = engine_of(workspace)
    recipe = recipe_of(environment, engine)
    if recipe is not None:
        return _built(workspace, recipe, tell, stop, str(environment["name"]), run_folder)
    name = str(environment["docker"]["base_image"])
    image = image_named(engine, name)
    if image is None:
        image = _pulled(engine, name, tell, stop, run_folder.records if run_folder else workspace.layout.caches)
    return ReadyImage(engine, image, None)


def _built(
    workspace: Workspace, recipe: ImageRecipe, tell: Tell, stop: Callable[[], bool], label: str, run_folder: Any
) -> ReadyImage:
    from onrecord.built_environment import keep_log, show_log

    cache = Cache(workspace.layout.environments)
    key = recipe.key()
    log = cache.root / key / LOG
    held = cache.hold(key)
    image = _image_of(cache, held, recipe.engine)
    if image is not None:
        return ReadyImage(recipe.engine, image._replace(name=label), held)
    if run_folder is not None:
        show_log(run_folder, log)
    try:
        held = cache.ready(recipe, tell=tell, should_stop=stop, label=label)
        image = _image_of(cache, held, recipe.engine)
        if image is None:
            # The engine was told to remove it between the two.
            held = cache.ready(recipe, tell=tell, should_stop=stop, label=label)
            image = _image_of(cache, held, recipe.engine)
    finally:
        if run_folder is not None:
            keep_log(run_folder, log)
    if image is None:
        raise EnvironmentBuildFailed.because(f"{recipe.engine.kind} does not keep the image {label}", log)
    return ReadyImage(recipe.engine, image._replace(name=label), held)


def _image_of(cache: Cache, held: Held | None, engine: Engine) -> Image | None:
    """The image of a cached build; where the engine has it no more, the mark comes off and it is let go of."""
    import json
    import os

    if held is None:
        return None
    identity = json.loads((held.prefix / "image.json").read_bytes())["identity"]
    image = image_named(engine, identity)
    if image is None:
        forget(cache.root / held.key)
        os.close(held.fd)
    return image


def _pulled(engine: Engine, name: str, tell: Tell, stop: Callable[[], bool], folder: Path) -> Image:
    if not can_be_pulled(name):
        raise _unavailable(engine, name, "a name that begins with localhost/ and an id are in no registry", "")
    log = folder / "environment-build.log"
    tell(f"pulling the image {name} with {engine.kind}")
    begun = time.monotonic()
    try:
        pull(engine, name, folder, log, stop)
    except EnvironmentBuildFailed as problem:
        raise _unavailable(engine, name, complaint(last_lines(log)), last_lines(log)) from problem
    image = image_named(engine, name)
    if image is None:
        raise _unavailable(engine, name, f"{engine.kind} pulled it and does not have it", last_lines(log))
    tell(f"the image {name} is here: {image.size / 1e6:.1f} MB in {time.monotonic() - begun:.1f} s")
    return image


def _unavailable(engine: Engine, name: str, why: str, details: str) -> ImageUnavailable:
    return ImageUnavailable(
        f"the image {name} is not on this machine and cannot be pulled",
        why=why,
        next_step=f"{engine.kind} images   (lists those that are here; {engine.kind} load takes one from a file)",
        image=name,
        details=details,
    )


def adopted(workspace: Workspace, config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a run that another conductor started, with its image held again where it was built here."""
    from onrecord.built_environment import hold

    cache = Cache(workspace.layout.environments)
    try:
        recipe = recipe_of(config["environment"], engine_of(workspace))
    except OnRecordError:
        # What it was built from is gone by now; the script may run on all the same.
        return config
    for _ in range(_TRIES if recipe is not None else 0):
        held = cache.hold(recipe.key()) if recipe is not None else None
        if held is not None:
            hold(held)
            break
        time.sleep(0.01)
    return config


def key_in_use(workspace: Workspace, config: Mapping[str, Any]) -> str | None:
    """The key of the image that a run needs; None where it was not built here."""
    recipe = recipe_of(config["environment"], engine_of(workspace))
    return recipe.key() if recipe is not None else None


def problem_of_image(ok: Mapping[str, Any]) -> list[str]:
    """What is wrong with an image that was built here. Raises EngineFailed."""
    image = image_named(Engine(str(ok["tool"]), str(ok["engine"])), str(ok["image"]))
    return [] if image is not None else [f"{ok['tool']} has it no more; the next run in it builds it again"]


def build(workspace: Workspace, environment: Environment, tell: Tell) -> ReadyImage:
    """Pull or build a checked environment's image now, or find it. Raises as `make_ready`."""
    workspace.layout.caches.mkdir(parents=True, exist_ok=True)
    return _ready(workspace, environment.as_document(), tell, lambda: False)


def _facts(ready: ReadyImage) -> dict[str, str]:
    image = ready.image
    return {"engine": ready.engine.kind, "image": image.name, "image_id": image.identity, "digest": image.digest}


def _described(ready: ReadyImage, probe: Probe) -> dict[str, Any]:
    return {
        "engine": ready.engine._asdict(),
        "image": ready.image.identity,
        "variables": ready.image.variables,
        "probe": probe.facts,
    }
