"""What to run: a source folder, a script in it, its arguments, where, in what, and for how long."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from onrecord.distributed import Distribution, checked_distribution
from onrecord.environment import Environment
from onrecord.errors import OnRecordError
from onrecord.resources import Resources

MAX_DURATION_SECONDS_DEFAULT = 30 * 24 * 3600


class BadConfig(OnRecordError):
    """A configuration that cannot be run. Attribute: `field`, the part of it that is wrong."""


@attrs.define
class ScriptRunConfig:
    """One job.

    `source_directory` is snapshotted at submit; `script` is relative to it. `arguments` are passed as
    `str()` writes them, without a shell. Without a `compute_target` the run is local, without an
    `environment` it uses the interpreter that submits. `max_run_duration_seconds`: the run is ended
    after that (default 30 days; None is no limit). `distributed_job_config`: run the script in several processes,
    each with its own `logs/rank-N.txt`. `resources`: what the run takes of a target with limits, where it waits
    until there is room; of those that wait, one with a greater `priority` starts first. `directories_to_watch`:
    folders that the script writes besides `outputs` and `logs` and that belong into the history too.
    `default_excludes`: what no run needs is left out of the snapshot although no ignore file says so (.git, virtual
    environments, caches, outputs/, logs/).
    """

    source_directory: str | os.PathLike[str] = "."
    script: str | os.PathLike[str] | None = None
    arguments: Sequence[object] | None = None
    compute_target: str | None = attrs.field(default=None, kw_only=True)
    environment: Environment | None = attrs.field(default=None, kw_only=True)
    max_run_duration_seconds: float | None = attrs.field(default=MAX_DURATION_SECONDS_DEFAULT, kw_only=True)
    distributed_job_config: Distribution | None = attrs.field(default=None, kw_only=True)
    resources: Resources = attrs.field(default=Resources(), kw_only=True)
    priority: int = attrs.field(default=0, kw_only=True)
    directories_to_watch: Sequence[str] = attrs.field(default=(), kw_only=True)
    default_excludes: bool = attrs.field(default=True, kw_only=True)

    def checked(self) -> CheckedConfig:
        """The same job with every path resolved and every mistake refused. Raises BadConfig, BadDistribution."""
        source, target = _checked_source(self.source_directory), self.compute_target or "local"
        environment = (self.environment or Environment("current-interpreter")).checked()
        if target == "local" and not environment.needs_build():
            _check_interpreter(environment, source)
        return CheckedConfig(
            source=source,
            script=_checked_script(source, self.script),
            arguments=_checked_arguments(self.arguments),
            target=target,
            environment=environment,
            time_limit_seconds=_checked_limit(self.max_run_duration_seconds),
            directories_to_watch=_checked_folders(self.directories_to_watch),
            default_excludes=bool(self.default_excludes),
            distribution=checked_distribution(self.distributed_job_config),
            resources=self.resources.as_document() if self.resources != Resources() else None,
            priority=_checked_priority(self.priority),
        )


@attrs.frozen
class CheckedConfig:
    """A job that can be run: `source` absolute, `script` a POSIX path inside it."""

    source: Path
    script: str
    arguments: tuple[str, ...]
    target: str
    environment: Environment
    time_limit_seconds: float | None
    directories_to_watch: tuple[str, ...] = ()
    default_excludes: bool = True
    distribution: dict[str, Any] | None = None
    resources: dict[str, Any] | None = None
    priority: int = 0

    def as_document(self) -> dict[str, Any]:
        """The job as plain values, as the ledger keeps it."""
        # Said only where it is not as usual, so that an ordinary run has the bytes that it always had.
        unusual: dict[str, Any] = {} if self.default_excludes else {"default_excludes": False}
        more = {"distribution": self.distribution, "resources": self.resources, "priority": self.priority}
        unusual |= {name: value for name, value in more.items() if value}
        return {
            "source_directory": str(self.source),
            "script": self.script,
            "arguments": list(self.arguments),
            "target": self.target,
            "environment": self.environment.as_document(),
            "interpreter": self.environment.interpreter(),
            "max_run_duration_seconds": self.time_limit_seconds,
            "directories_to_watch": list(self.directories_to_watch),
            **unusual,
        }


def _checked_source(given: str | os.PathLike[str]) -> Path:
    source = Path(given).absolute()
    if not source.is_dir():
        raise BadConfig(
            f"the source directory {source} {'is not a folder' if source.exists() else 'does not exist'}",
            next_step="give the folder that holds the script as source_directory (onrecord run --source DIR)",
            field="source_directory",
        )
    # `..` and links are resolved once, so that the same folder always has the same name in the history.
    return source.resolve()


def _checked_script(source: Path, given: str | os.PathLike[str] | None) -> str:
    if given is None or not os.fspath(given):
        raise BadConfig(
            "there is no script to run", next_step="ScriptRunConfig(..., script='train.py')", field="script"
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
            next_step="give the script's path relative to the source directory",
            field="script",
        )
    return Path(os.path.normpath(script)).relative_to(source).as_posix()


def _near_names(script: Path, source: Path) -> str:
    from difflib import get_close_matches

    try:
        names = [path.name for path in script.parent.iterdir() if path.is_file()]
    except OSError:
        return ""
    near = get_close_matches(script.name, names)
    return f"did you mean {' or '.join(near)}?" if near else ""


def _check_interpreter(environment: Environment, source: Path) -> None:
    """Refuse an interpreter that the script could not be started with, as far as that can be told beforehand."""
    given = environment.interpreter()
    if "/" in given:
        # The script is started in its copy of the source, where a relative path begins.
        path = source / given
        problem = "it is a folder" if path.is_dir() else "" if os.access(path, os.X_OK) else "it is not executable"
        problem = problem if path.exists() else "there is no such file"
    else:
        import shutil

        folders = environment.environment_variables.get("PATH", os.environ.get("PATH", os.defpath))
        problem = "" if shutil.which(given, path=folders) else "no program of this name is on the PATH"
    if problem:
        raise BadConfig(
            f"the interpreter {given} cannot run the script",
            why=problem,
            next_step="name an interpreter, or the folder that `python -m venv` made (onrecord run --env PYTHON)",
            field="environment",
        )


def _checked_arguments(given: Sequence[object] | None) -> tuple[str, ...]:
    if isinstance(given, str | bytes):
        raise BadConfig(
            "arguments is one text",
            why="arguments are passed one by one, without a shell that would split them",
            next_step=f"arguments={given.split()!r}",
            field="arguments",
        )
    arguments = tuple(str(item) for item in given or ())
    for argument in arguments:
        if "\0" in argument:
            raise BadConfig(
                f"the argument {argument!r} holds a NUL character",
                why="no program can be given one",
                next_step="write it to a file and pass the file's name",
                field="arguments",
            )
    return arguments


def _checked_limit(given: float | None) -> float | None:
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


def _checked_priority(given: int) -> int:
    if isinstance(given, bool) or not isinstance(given, int):
        raise BadConfig(
            f"priority is {given!r}", why="it is a whole number; greater starts first", next_step="priority=1",
            field="priority",
        )  # fmt: skip
    return given


def _checked_folders(given: Sequence[str]) -> tuple[str, ...]:
    folders = tuple(os.path.normpath(folder) for folder in ((given,) if isinstance(given, str) else given))
    for folder in folders:
        if folder in (".", "") or folder.startswith("..") or Path(folder).is_absolute():
            raise BadConfig(
                f"{folder!r} cannot be kept",
                why="only folders below the script's working folder can: the source itself is in the snapshot",
                next_step="directories_to_watch=['checkpoints'] (onrecord run --keep checkpoints)",
                field="directories_to_watch",
            )
    return folders
