"""From the document of an environment to the recipe that the engine builds.

A cached environment must cost a start next to nothing, so this works on plain values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from onrecord import __version__
from onrecord.executors.environment import Recipe
from onrecord.executors.environment_errors import BadEnvironment

CARRIED = "onrecord"
# The packages that a virtual environment provides without conda.
_OWN = ("python", "pip")
_SPECIFICATION = re.compile(r"\s*(?:[\w.\-/]+::)?([A-Za-z0-9_][\w.\-]*)\s*(.*)$")
_CARRIED = re.compile(rf"{CARRIED}(?:\[[^\]]*\])?\s*(?:==\s*(\S+))?$", re.IGNORECASE)


def recipe_of(environment: Mapping[str, Any], interpreter: str) -> Recipe:
    """What to build for an environment's document. Raises BadEnvironment."""
    python = environment["python"]
    wanted = python.get("conda_dependencies") or {}
    conda = [item for item in wanted.get("dependencies", ()) if isinstance(item, str)]
    lines = [line for item in wanted.get("dependencies", ()) if isinstance(item, Mapping) for line in item["pip"]]
    lock = python.get("pylock") or ""
    if lock and (lines or conda):
        raise BadEnvironment(
            "an environment has a lock or dependencies, not both",
            why="a lock lists all that is installed",
            next_step="add them to what the lock is made from, and lock again",
            field="pylock",
        )
    of_conda = [one for one in conda if _split(one)[0] not in _OWN]
    requirements = [line for line in lines if not is_carried(line)]
    of_pip: list[str] = []
    if of_conda:
        _refuse_without_solver(of_conda)
    else:
        of_pip = [f"pip{_for_pip(version)}" for name, version in map(_split, conda) if name == "pip" and version]
    return Recipe(
        interpreter="" if of_conda else interpreter,
        requirements=(*of_pip, *requirements),
        pylock=lock,
        conda_channels=tuple(wanted.get("channels") or ("conda-forge",)) if of_conda else (),
        conda_packages=tuple(_with_python(conda)) if of_conda else (),
        carried=(CARRIED,) if any(map(is_carried, lines)) else (),
    )


def needs_conda(dependencies: Mapping[str, Any]) -> bool:
    """Whether there are packages that only conda has."""
    return any(isinstance(one, str) and _split(one)[0] not in _OWN for one in dependencies.get("dependencies", ()))


def _split(specification: str) -> tuple[str, str]:
    match = _SPECIFICATION.match(specification)
    return (match[1].lower(), match[2].strip()) if match else ("", "")


def is_carried(line: str) -> bool:
    """Whether a line asks for the very onrecord that submits."""
    match = _CARRIED.match(line.strip())
    return match is not None and match[1] in (None, __version__)


def _for_pip(version: str) -> str:
    # conda's single = asks for a start.
    return f"=={version[1:]}.*" if re.match(r"=[^=]", version) else version


def _with_python(packages: list[str]) -> list[str]:
    import sys

    if any(_split(one)[0] == "python" for one in packages):
        return packages
    return [f"python={sys.version_info.major}.{sys.version_info.minor}", *packages]


def _refuse_without_solver(packages: list[str]) -> None:
    if find_spec("rattler") is None:
        raise BadEnvironment(
            f"conda packages are asked for: {', '.join(packages)}",
            why="they are solved and installed by py-rattler, which is not here (conda itself is not needed)",
            next_step="pip install 'onrecord[conda]'   (or ask pip for them: pip_packages=[…])",
            field="conda_dependencies",
        )
