"""Make an environment: a virtual environment by uv, or by venv and pip, or one of conda's packages.

Whatever goes wrong, nothing is left but the log. What makes the environment whole is one file, written last.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from onrecord.executors import environment_cache as cache
from onrecord.executors.environment import Recipe, Tell, base_interpreter, package_folder, python_of
from onrecord.executors.environment_errors import BuildStopped, EnvironmentBuildFailed
from onrecord.executors.environment_installers import Installer, installer
from onrecord.executors.environment_inventory import installed
from onrecord.executors.environment_steps import RECORD, Steps
from onrecord.executors.identity import boot_id

REQUIREMENTS, PYLOCK, CONDA = "requirements.txt", "pylock.toml", "conda.json"


def build_in(folder: Path, recipe: Recipe, *, tell: Tell, should_stop: Callable[[], bool], label: str) -> None:
    """Build the recipe in its locked folder. Raises EnvironmentBuildFailed, BuildStopped."""
    begun = time.monotonic()
    try:
        prefix = cache.start_over(folder)
        tool = installer()
        tell(f"building the environment {label} with {tool.name}")
        steps = Steps(folder, folder / cache.LOG, should_stop)
        _make(folder, prefix, recipe, tool, steps)
        packages = installed(prefix)
        mark = {
            "prefix": prefix.name,
            "path": str(prefix),
            # conda writes the place into its files.
            "relocatable": not recipe.conda_packages,
            "label": label,
            "tool": tool.name,
            "built_at": time.time(),
            "seconds": round(time.monotonic() - begun, 3),
            "boot_id": boot_id(),
            "packages": packages,
            "recipe": recipe.as_document(),
        }
        (folder / RECORD).unlink(missing_ok=True)
        cache.commit(folder, mark)
    except (BuildStopped, EnvironmentBuildFailed):
        cache.clear_failed(folder)
        raise
    except OSError as problem:
        cache.clear_failed(folder)
        raise EnvironmentBuildFailed.because(
            f"the environment {label} cannot be written", folder / cache.LOG, why=str(problem)
        ) from problem
    except BaseException:
        cache.clear_failed(folder)
        raise
    tell(f"the environment {label} is ready: {len(packages)} packages in {time.monotonic() - begun:.1f} s")


def _make(folder: Path, prefix: Path, recipe: Recipe, tool: Installer, steps: Steps) -> None:
    if recipe.conda_packages:
        _make_of_conda(folder, prefix, recipe, steps)
    else:
        tool.make(steps, recipe.interpreter, prefix)
    if recipe.pylock:
        lock = folder / PYLOCK
        lock.write_text(recipe.pylock, encoding="utf-8")
        tool.install_lock(steps, prefix, lock)
    elif recipe.requirements:
        wanted = folder / REQUIREMENTS
        wanted.write_text("".join(f"{line}\n" for line in recipe.requirements), encoding="utf-8")
        tool.install(steps, prefix, wanted)
    if recipe.carried:
        from onrecord.executors.environment_carry import carry

        same = not recipe.conda_packages and os.path.realpath(recipe.interpreter) == base_interpreter()
        carry(recipe.carried, prefix, tool, steps, same_python=same)
    if not recipe.conda_packages:
        make_scripts_relocatable(prefix)


def _make_of_conda(folder: Path, prefix: Path, recipe: Recipe, steps: Steps) -> None:
    import json

    wanted = folder / CONDA
    wanted.write_text(json.dumps({"channels": recipe.conda_channels, "packages": recipe.conda_packages}))
    program = (
        "import sys; sys.path[:] = sys.argv.pop(1).splitlines();"
        " from onrecord.executors.environment_conda import run; run(sys.argv[1:])"
    )
    entries = [str(package_folder("onrecord").parent), *sys.path]
    path = "\n".join(os.path.abspath(entry) for entry in entries)  # noqa: PTH100 - it runs in another folder
    steps.run(
        [sys.executable, "-I", "-S", "-c", program, path, str(wanted), str(prefix)],
        "conda's packages cannot be installed",
    )
    if not python_of(prefix).exists():
        raise EnvironmentBuildFailed.because(
            "conda's packages have no Python among them", steps.log, next_step="add python to the conda packages"
        )


def make_scripts_relocatable(prefix: Path) -> None:
    """Let the environment's scripts find its interpreter beside them, wherever it is moved to (as uv writes them)."""
    inside = f"{prefix}/bin/python".encode()
    for path in (prefix / "bin").iterdir():
        if path.is_symlink() or not path.is_file():
            continue
        content = path.read_bytes()
        first, newline, rest = content.partition(b"\n")
        if not first.startswith(b"#!"):
            continue
        if first[2:].strip().startswith(inside):
            path.write_bytes(RELOCATABLE + newline + rest)
        elif first == b"#!/bin/sh" and rest.startswith(b"'''exec' ") and inside in rest.partition(b"\n")[0]:
            # pip's way around a path that is too long for a kernel or has blanks; two lines.
            path.write_bytes(RELOCATABLE + newline + rest.split(b"\n", 2)[2])


RELOCATABLE = b"""#!/bin/sh
'''exec' "$(dirname -- "$(realpath -- "$0")")"/'python' "$0" "$@"
' '''"""
