"""What can go wrong when a process is to be started, each with its values as attributes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from onrecord.errors import OnRecordError


class ExecutorError(OnRecordError):
    """The base of every error of this package."""


class InvalidLaunch(ExecutorError):
    """A launch that no target could carry out: `field` names the part, `value` is what it was."""

    @classmethod
    def because(cls, field: str, value: object, why: str) -> Self:
        return cls(f"cannot launch with {field} {value!r}", why=why, field=field, value=value)


class AlreadyStarted(ExecutorError):
    """The folder `control` belongs to a launch already, whether that still runs or not."""

    @classmethod
    def in_folder(cls, control: Path) -> Self:
        return cls(
            f"something was started in {control} already",
            why="a control folder describes one process only, so that no script can run twice unnoticed",
            next_step="use a new, empty control folder",
            control=control,
        )


class NothingStarted(ExecutorError):
    """Nothing was ever started in the folder `control`."""

    @classmethod
    def in_folder(cls, control: Path) -> Self:
        return cls(f"nothing was started in {control}", control=control)


class CannotSupervise(ExecutorError):
    """The supervisor could not be started in `control`; `reason` says why. Nothing was run."""

    @classmethod
    def because(cls, control: Path, reason: str) -> Self:
        return cls(f"cannot start a supervisor in {control}: {reason}", control=control, reason=reason)


class CannotStop(ExecutorError):
    """A stop could neither be written to `control` nor signalled; `reason` says why."""

    @classmethod
    def because(cls, control: Path, reason: str) -> Self:
        return cls(f"cannot ask for a stop in {control}: {reason}", control=control, reason=reason)


class UnknownTarget(ExecutorError):
    """No executor is called `target`; `known` lists those there are."""

    @classmethod
    def named(cls, target: str, known: Sequence[str], close: Sequence[str]) -> Self:
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return cls(
            f"unknown compute target {target!r}{hint}",
            why=f"known targets: {', '.join(known)}",
            next_step=f"onrecord run --target {close[0] if close else 'local'} …   (compute_target= in Python)",
            target=target,
            known=tuple(known),
        )


class BrokenTarget(ExecutorError):
    """The executor `target` is installed but cannot be loaded; `reason` says why."""

    @classmethod
    def because(cls, target: str, reason: str) -> Self:
        return cls(f"compute target {target!r} cannot be loaded: {reason}", target=target, reason=reason)
