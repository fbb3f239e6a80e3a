"""Pythons of this machine, by what is asked of their version."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator

from onrecord.executors.environment import base_interpreter
from onrecord.executors.environment_errors import BadEnvironment

Version = tuple[int, ...]
_CONDITION = re.compile(r"(===|==|=|!=|>=|<=|~=|>|<)?\s*v?(\d+(?:\.\d+)*)(\.\*)?$")
_ASK = (
    "import os, sys; print(os.path.realpath(getattr(sys, '_base_executable', None) or sys.executable));"
    " print(*sys.version_info[:3])"
)


def interpreter_for(version: str | None, given: str | None = None) -> str:
    """The base interpreter of `given`, or one whose version is `version` (`3.11`, `>=3.9,<3.12`).

    The one that runs this is preferred. Raises BadEnvironment where there is none.
    """
    conditions = [_condition(part) for part in (version or "").split(",") if part.strip() and part.strip() != "*"]
    if given is None and _fits(sys.version_info[:3], conditions):
        return base_interpreter()
    for candidate in [given] if given is not None else _candidates(version or ""):
        found = _asked(candidate)
        if found is not None and _fits(found[1], conditions):
            return found[0]
    raise BadEnvironment(
        f"there is no Python {version or given} on this machine",
        why=f"python.interpreter_path is {given}" if given else "neither the running one nor one on the PATH is that",
        next_step=f"install it (uv python install {version or '3.12'}), or ask for another version",
        field="python",
    )


def _candidates(version: str) -> Iterator[str]:
    minors = re.findall(r"\b3\.(\d+)", version)
    for minor in dict.fromkeys([*(int(minor) for minor in minors), *range(20, 7, -1)]):
        path = shutil.which(f"python3.{minor}")
        if path is not None:
            yield path
    from onrecord.executors.environment_installers import find_uv

    uv = find_uv()
    if uv is not None:
        wanted = version if version[:1] in "<>=!~" else f"=={version}.*"
        words = [uv, "python", "find", "--offline", "--no-python-downloads", "--no-project", wanted]
        found = subprocess.run(words, capture_output=True, text=True, check=False, cwd="/")
        if found.returncode == 0 and found.stdout.strip():
            yield found.stdout.strip()


def _asked(path: str) -> tuple[str, Version] | None:
    try:
        done = subprocess.run([path, "-I", "-c", _ASK], capture_output=True, text=True, check=False, timeout=30)
        base, numbers = done.stdout.splitlines()
        return base, tuple(int(number) for number in numbers.split())
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def _condition(text: str) -> tuple[str, Version, bool]:
    match = _CONDITION.match(text.strip())
    if match is None:
        raise BadEnvironment(
            f"{text!r} is no version of Python",
            next_step="write 3.11, 3.11.7, or conditions such as >=3.9,<3.12",
            field="python",
        )
    numbers = tuple(int(number) for number in match[2].split("."))
    # conda's single = and a bare version ask for a start, as does a star.
    return match[1] or "=", numbers, bool(match[3]) or match[1] in (None, "=")


def _fits(found: Version, conditions: list[tuple[str, Version, bool]]) -> bool:
    return all(_holds(found, *condition) for condition in conditions)


def _holds(found: Version, operator: str, wanted: Version, is_start: bool) -> bool:
    padded = wanted + (0,) * (3 - len(wanted))
    same = found[: len(wanted)] == wanted if is_start else found == padded
    if operator == "~=":
        return found >= padded and found[: len(wanted) - 1] == wanted[:-1]
    return {
        "=": same, "==": same, "===": same, "!=": not same,
        ">=": found >= padded, "<=": found <= padded, ">": found > padded, "<": found < padded,
    }[operator]  # fmt: skip
