"""What an environment is made of, and the key that its content has.

Two recipes with the same content have the same key, whatever they are called: an environment is built once.
Looking a finished one up is part of starting a script, so nothing here imports more than it needs.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from onrecord.executors.environment_errors import BadEnvironment

# Raised when the same recipe is built differently.
FORMAT = 1
KEY_LENGTH = 32

Tell = Callable[[str], None]


class Recipe(NamedTuple):
    """All that decides what is in an environment.

    - `interpreter`: the Python that a virtual environment is made from, a path; not used with `conda_packages`.
    - `requirements`: lines of a requirements file, in order (pip's documentation, "Requirements File Format").
    - `pylock`: the text of a pylock.toml (PEP 751), instead of requirements.
    - `conda_channels`, `conda_packages`: match specifications, Python among them; the requirements come after.
    - `carried`: packages that are copied from the running interpreter with what they need, and no index is asked.
    """

    interpreter: str
    requirements: tuple[str, ...] = ()
    pylock: str = ""
    conda_channels: tuple[str, ...] = ()
    conda_packages: tuple[str, ...] = ()
    carried: tuple[str, ...] = ()

    def as_document(self) -> dict[str, Any]:
        """The recipe as plain values."""
        return self._asdict()

    def key(self) -> str:
        """`key_of` it."""
        return key_of(self)

    def build_in(self, folder: Path, *, tell: Tell, should_stop: Callable[[], bool], label: str) -> None:
        """Build it in its locked folder. Raises EnvironmentBuildFailed, BuildStopped."""
        from onrecord.executors.environment_build import build_in

        build_in(folder, self, tell=tell, should_stop=should_stop, label=label)


def key_of(recipe: Recipe) -> str:
    """32 hex digits: the BLAKE3 of the recipe, of the interpreter's file, and of the packages carried along.

    The order of requirements counts, because it does for who installs them. Raises BadEnvironment where the
    interpreter is not there.
    """
    from blake3 import blake3

    machine = os.uname()
    content = {
        "format": FORMAT,
        "machine": [machine.sysname, machine.machine],
        "recipe": recipe.as_document(),
        "interpreter": [] if recipe.conda_packages else _file_identity(recipe.interpreter),
        "carried": [_package_identity(name) for name in recipe.carried],
    }
    text = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return blake3(text.encode()).hexdigest()[:KEY_LENGTH]


def base_interpreter() -> str:
    """The interpreter behind this process's virtual environment: links followed, so that it is always the same."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def python_of(prefix: Path) -> Path:
    """An environment's interpreter."""
    return prefix / "bin" / "python"


def _file_identity(path: str) -> list[str | int]:
    real = os.path.realpath(path)
    try:
        found = os.stat(real)  # noqa: PTH116 - pathlib is no part of this path otherwise
    except OSError as problem:
        raise BadEnvironment(
            f"there is no interpreter {path}",
            why=problem.strerror or str(problem),
            next_step="name one that is installed (python.interpreter_path), or none for the one that submits",
            field="interpreter_path",
        ) from problem
    # A Python that was replaced by another of the same name makes another environment.
    return [real, found.st_size, found.st_mtime_ns]


def package_folder(name: str) -> Path:
    """Where the running interpreter has a package. Raises BadEnvironment."""
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if file is None:
        from importlib.util import find_spec

        spec = find_spec(name)
        file = spec.origin if spec is not None else None
    if not file:
        raise BadEnvironment(f"the package {name} cannot be carried along", why="it is not here", field="carried")
    return Path(file).parent


def _package_identity(name: str) -> list[str | int]:
    # By size and time of each file, as make does it: reading them all would cost more than a start may.
    from blake3 import blake3

    hashed, folder = blake3(), os.fspath(package_folder(name))
    for path in _source_files(folder, ""):
        found = os.stat(os.path.join(folder, path))  # noqa: PTH116, PTH118
        hashed.update(f"{path}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
    return [name, hashed.hexdigest()[:KEY_LENGTH]]


def _source_files(folder: str, inside: str) -> list[str]:
    files: list[str] = []
    folders: list[str] = []
    with os.scandir(os.path.join(folder, inside)) as entries:  # noqa: PTH118
        for entry in entries:
            if entry.name == "__pycache__":
                continue
            (folders if entry.is_dir() else files).append(inside + entry.name)
    found = sorted(files)
    for name in sorted(folders):
        found += _source_files(folder, name + "/")
    return found
