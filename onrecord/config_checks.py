"""Parts of a configuration, each as it is run with or refused."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from onrecord.config_errors import BadConfig
from onrecord.environment import Environment


def checked_source(given: str | os.PathLike[str]) -> Path:
    """The folder to snapshot, absolute. Raises BadConfig."""
    source = Path(given).absolute()
    if not source.is_dir():
        raise BadConfig(
            f"the source directory {source} {'is not a folder' if source.exists() else 'does not exist'}",
            next_step="give the folder that holds the script as source_directory (onrecord run --source DIR)",
            field="source_directory",
        )
    # `..` and links are resolved once, so that the same folder always has the same name in the history.
    return source.resolve()


def checked_script(source: Path, given: str | os.PathLike[str] | None) -> str:
    """The script as a POSIX path inside the source. Raises BadConfig."""
    if given is None or not os.fspath(given):
        raise BadConfig(
            "there is no script to run",
            next_step="ScriptRunConfig(..., script='train.py'), or command=['make', 'train']",
            field="script",
        )
    script = source / given
    resolved = script.resolve()
    if not resolved.is_relative_to(source):
        raise BadConfig(
            f"the script {script} lies outside the source directory {source}",
            why="only the source directory is snapshotted, so a script beside it could not be run again",
            next_step="move the script inside, or name a source directory that holds it",
            field="script",
        )
    if not resolved.is_file():
        raise BadConfig(
            f"there is no script {os.fspath(given)} in {source}",
            why="it is a folder" if resolved.is_dir() else _near_names(script, source),
            next_step=_instead_of(os.fspath(given)),
            field="script",
        )
    return Path(os.path.normpath(script)).relative_to(source).as_posix()


def _instead_of(given: str) -> str:
    if "/" not in given and shutil.which(given):
        return f"a program is run as a command: command=['{given}', …] (onrecord run -- {given} …)"
    return "give the script's path relative to the source directory"


def _near_names(script: Path, source: Path) -> str:
    from difflib import get_close_matches

    try:
        names = [path.name for path in script.parent.iterdir() if path.is_file()]
    except OSError:
        return ""
    near = get_close_matches(script.name, names)
    return f"did you mean {' or '.join(near)}?" if near else ""


def check_interpreter(environment: Environment, source: Path, folders: str) -> None:
    """Refuse an interpreter that the script could not be started with, as far as that can be told beforehand.

    `folders`: the PATH on which one without a slash is found. Raises BadConfig.
    """
    given = environment.interpreter()
    if "/" in given:
        # The script is started in its copy of the source, where a relative path begins.
        path = source / given
        problem = "it is a folder" if path.is_dir() else "" if os.access(path, os.X_OK) else "it is not executable"
        problem = problem if path.exists() else "there is no such file"
    else:
        problem = "" if shutil.which(given, path=folders) else "no program of this name is on the PATH"
    if problem:
        raise BadConfig(
            f"the interpreter {given} cannot run the script",
            why=problem,
            next_step="name an interpreter, or the folder that `python -m venv` made (onrecord run --env PYTHON)",
            field="environment",
        )


def checked_limit(given: float | None) -> float | None:
    """A time limit in seconds, None for none. Raises BadConfig."""
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float) or not given > 0:
        raise BadConfig(
            f"max_run_duration_seconds is {given!r}",
            why="a run's time limit is a number of seconds above 0, or None for no limit",
            next_step="max_run_duration_seconds=600",
            field="max_run_duration_seconds",
        )
    return float(given) if given != float("inf") else None


def checked_priority(given: int | None) -> int:
    """A priority; 0 where none is given. Raises BadConfig."""
    if given is None:
        return 0
    if isinstance(given, bool) or not isinstance(given, int):
        raise BadConfig(
            f"priority is {given!r}", why="it is a whole number; greater starts first", next_step="priority=1",
            field="priority",
        )  # fmt: skip
    return given


def checked_variables(given: Mapping[str, object]) -> dict[str, str]:
    """Environment variables as texts. Raises BadConfig for what no process can be given."""
    if not isinstance(given, Mapping):
        raise BadConfig(
            f"environment_variables is {given!r}",
            why="it is a dict, name to value",
            next_step="environment_variables={'OMP_NUM_THREADS': '1'}",
            field="environment_variables",
        )
    found = {}
    for name, value in given.items():
        text = os.fsdecode(value) if isinstance(value, bytes | os.PathLike) else str(value)
        if not isinstance(name, str) or not name or "=" in name or "\0" in name + text:
            raise BadConfig(
                f"{name!r} cannot be an environment variable with the value {text!r}",
                why="a name is a text without '=', and neither it nor its value holds a NUL character",
                next_step="environment_variables={'OMP_NUM_THREADS': '1'}",
                field="environment_variables",
            )
        found[name] = text
    return found
