"""Executors by name: the built-in `local` and `inline`, and whatever installed packages offer.

A package adds a target with an entry point of the group `onrecord.executors` that names a class (or any
callable without arguments) whose result satisfies `protocol.Executor`:

    [project.entry-points."onrecord.executors"]
    cluster = "my_package:ClusterExecutor"
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onrecord.executors.errors import BrokenTarget, UnknownTarget
from onrecord.executors.protocol import Executor

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "onrecord.executors"
LOCAL = "local"
INLINE = "inline"


def executor_named(target: str) -> Executor:
    """The executor of that name. `local` costs no look-up of entry points (15-30 ms).

    Raises `UnknownTarget` with the known names, `BrokenTarget` when one is installed but fails to load.
    """
    if target == LOCAL:
        from onrecord.executors.local import LocalExecutor

        return LocalExecutor()
    if target == INLINE:
        from onrecord.executors.inline import InlineExecutor

        return InlineExecutor()
    installed = _installed()
    if target not in installed:
        raise unknown_target(target, known_targets())
    try:
        made: Executor = installed[target].load()()
    except Exception as error:
        raise BrokenTarget.because(target, f"{type(error).__name__}: {error}") from error
    return made


def known_targets() -> tuple[str, ...]:
    """All names that `executor_named` knows, sorted; loads none of them."""
    return tuple(sorted({LOCAL, INLINE, *_installed()}))


def _installed() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=GROUP)}


def unknown_target(target: str, known: tuple[str, ...]) -> UnknownTarget:
    """The error for a name that is none of `known`, with the nearest of them."""
    from difflib import get_close_matches

    return UnknownTarget.named(target, known, get_close_matches(target, known, n=1))
