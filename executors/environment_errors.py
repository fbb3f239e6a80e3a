"""What can go wrong when an environment is to be made, each with its values as attributes."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from onrecord.executors.errors import ExecutorError


class BadEnvironment(ExecutorError):
    """An environment that could not be made anywhere: `field` names the part of its definition that is wrong."""


class EnvironmentBuildFailed(ExecutorError):
    """The environment could not be made; nothing of it is left. `log`: the whole log; `details`: its last lines."""

    @classmethod
    def because(cls, what: str, log: Path, *, why: str = "", next_step: str = "") -> Self:
        details = last_lines(log)
        return cls(
            what,
            why=why or details.rpartition("\n")[2],
            next_step=next_step or f"the whole log: {log}",
            log=log,
            details=details,
        )


class BuildStopped(ExecutorError):
    """Someone asked for the end of what the environment was made for; nothing of it is left."""


def last_lines(log: Path, lines: int = 30, characters: int = 3000) -> str:
    """The end of a log, or "" where there is none."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - 4 * characters))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.strip().splitlines()[-lines:])[-characters:]
