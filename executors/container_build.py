"""Make an image from a Dockerfile and a build context, under a key that is the hash of both.

The image lies in the engine; what the cache of environments keeps of it is the mark, the log, and the context that it
was built from.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from onrecord.executors import environment_cache as cache
from onrecord.executors.container_engine import LABEL_KEY, Engine, image_named
from onrecord.executors.environment import KEY_LENGTH, Tell
from onrecord.executors.environment_errors import BadEnvironment, EnvironmentBuildFailed
from onrecord.executors.environment_steps import RECORD, Steps
from onrecord.executors.identity import boot_id

FORMAT = 1
FACTS, CONTEXT, DOCKERFILE = "image.json", "context", "Dockerfile.onrecord"
EXTRA = "onrecord-requirements"
REPOSITORY = "localhost/onrecord-environment"
_MOST_BYTES = 1 << 30


class ImageRecipe(NamedTuple):
    """All that decides what is in an image.

    - `engine`: what builds it and has it afterwards.
    - `dockerfile`: its text. `context`: the folder that it copies from, "" for none; `context_digest`: its content when
      the environment was defined (`digest_of`), which it must still have.
    - `extra`: files that are put into the context below `onrecord-requirements/`: name, and content or a path.
    """

    engine: Engine
    dockerfile: str
    context: str = ""
    context_digest: str = ""
    extra: tuple[tuple[str, str | Path], ...] = ()

    def as_document(self) -> dict[str, Any]:
        """The recipe as plain values."""
        extra = [[name, content if isinstance(content, str) else _file_digest(content)] for name, content in self.extra]
        return {"dockerfile": self.dockerfile, "context": self.context_digest, "extra": extra}

    def key(self) -> str:
        """32 hex digits: the BLAKE3 of the Dockerfile, the context's content, the engine's kind and the machine's."""
        from blake3 import blake3

        content = {"format": FORMAT, "machine": os.uname().machine, "engine": self.engine.kind, **self.as_document()}
        return blake3(json.dumps(content, sort_keys=True).encode()).hexdigest()[:KEY_LENGTH]

    def build_in(self, folder: Path, *, tell: Tell, should_stop: Callable[[], bool], label: str) -> None:
        """Build it in its locked folder. Raises EnvironmentBuildFailed, BuildStopped, BadEnvironment."""
        try:
            _build(self, folder, tell, should_stop, label)
        except OSError as problem:
            cache.clear_failed(folder)
            raise EnvironmentBuildFailed.because(
                f"the image {label} cannot be built", folder / cache.LOG, why=str(problem)
            ) from problem
        except BaseException:
            cache.clear_failed(folder)
            raise


def _build(recipe: ImageRecipe, folder: Path, tell: Tell, should_stop: Callable[[], bool], label: str) -> None:
    begun, engine = time.monotonic(), recipe.engine
    prefix = cache.start_over(folder)
    prefix.mkdir()
    tell(f"building the image {label} with {engine.kind}")
    steps = Steps(folder, folder / cache.LOG, should_stop)
    context = _context_in(prefix, recipe)
    tag, identity = f"{REPOSITORY}:{folder.name}", prefix / "iid"
    steps.run(
        [engine.program, "build", "--tag", tag, "--label", f"{LABEL_KEY}={folder.name}", "--iidfile", str(identity),
         "--file", str(context / DOCKERFILE), str(context)],
        f"the image {label} cannot be built",
    )  # fmt: skip
    image = image_named(engine, identity.read_text(encoding="ascii").strip())
    if image is None:
        raise EnvironmentBuildFailed.because(f"{engine.kind} built an image and does not have it", steps.log)
    (prefix / FACTS).write_text(json.dumps(image._asdict()), encoding="utf-8")
    mark = {
        "prefix": prefix.name, "path": str(prefix), "relocatable": True, "proof": FACTS, "label": label,
        "tool": engine.kind, "engine": engine.program, "image": image.identity, "bytes": image.size,
        "built_at": time.time(), "seconds": round(time.monotonic() - begun, 3), "boot_id": boot_id(), "packages": {},
        "recipe": recipe.as_document(),
    }  # fmt: skip
    (folder / RECORD).unlink(missing_ok=True)
    cache.commit(folder, mark)
    tell(f"the image {label} is ready: {image.size / 1e6:.1f} MB in {time.monotonic() - begun:.1f} s")


def _context_in(prefix: Path, recipe: ImageRecipe) -> Path:
    """A copy of the build context, which nobody changes while it is built from."""
    context = prefix / CONTEXT
    if recipe.context:
        shutil.copytree(recipe.context, context, symlinks=True)
        if digest_of(context) != recipe.context_digest:
            raise BadEnvironment(
                f"the build context {recipe.context} is not what it was",
                why="its files have changed since the environment was defined",
                next_step="define it again: Environment.from_docker_build_context(…), or name the folder again",
                field="build_context",
            )
    context.mkdir(exist_ok=True)
    (context / DOCKERFILE).write_text(recipe.dockerfile, encoding="utf-8")
    for name, content in recipe.extra:
        path = context / EXTRA / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        else:
            shutil.copyfile(content, path)
    return context


def digest_of(folder: Path) -> str:
    """64 hex digits: the BLAKE3 of all names, contents, links and executable bits in a folder. Reads every file.

    Raises BadEnvironment for what no build context can have, and for more than 1 GiB.
    """
    from blake3 import blake3

    hashed, total = blake3(), 0
    for path in _entries(folder):
        name, found = os.fsencode(path.relative_to(folder)), path.lstat()
        if stat.S_ISLNK(found.st_mode):
            hashed.update(b"link\0" + name + b"\0" + os.fsencode(path.readlink()) + b"\0")
        elif stat.S_ISDIR(found.st_mode):
            hashed.update(b"folder\0" + name + b"\0")
        elif stat.S_ISREG(found.st_mode):
            total += found.st_size
            if total > _MOST_BYTES:
                raise _bad_context(folder, "it has more than 1 GiB", "name a folder that holds only what is copied")
            mode = b"x" if found.st_mode & 0o111 else b"-"
            hashed.update(b"file\0" + name + b"\0" + mode + _file_digest(path).encode())
        else:
            raise _bad_context(folder, f"{path.name} is neither a file nor a folder nor a link", "take it out")
    return hashed.hexdigest()


def _entries(folder: Path) -> Iterator[Path]:
    for inside, folders, files in os.walk(folder):
        folders.sort()
        yield from (Path(inside, name) for name in sorted([*folders, *files]))


def _file_digest(path: Path) -> str:
    from blake3 import blake3

    hashed = blake3()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            hashed.update(piece)
    return hashed.hexdigest()


def _bad_context(folder: Path, why: str, next_step: str) -> BadEnvironment:
    return BadEnvironment(f"{folder} cannot be a build context", why=why, next_step=next_step, field="build_context")


def pull(engine: Engine, name: str, folder: Path, log: Path, should_stop: Callable[[], bool]) -> None:
    """Bring an image onto this machine. `folder` holds the record of who does it. Raises EnvironmentBuildFailed,
    BuildStopped."""
    from onrecord.executors.environment_steps import end_leftovers

    end_leftovers(folder)
    try:
        Steps(folder, log, should_stop).run([engine.program, "pull", name], f"the image {name} cannot be pulled")
    finally:
        (folder / RECORD).unlink(missing_ok=True)
