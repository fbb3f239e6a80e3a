"""What a script or a command is given on its command line, as the texts that programs are started with."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from onrecord.config_errors import BadConfig


def checked_arguments(given: Sequence[object] | None, field: str = "arguments") -> tuple[str, ...]:
    """The arguments as `str()` writes them, as Azure ML does; paths as the operating system spells them.

    Numbers, truth values, None, paths, enums and the scalars of numpy are single values. Raises BadConfig for bytes,
    for what holds several values (lists, dicts, arrays, tensors, datasets), for functions and for objects without a
    text of their own.

    >>> import pathlib
    >>> checked_arguments(["--alpha", 0.03, True, None, pathlib.Path("data")])
    ('--alpha', '0.03', 'True', 'None', 'data')
    """
    if isinstance(given, str | bytes):
        told = given.decode("utf-8", "replace") if isinstance(given, bytes) else given
        raise BadConfig(
            f"{field} is one text",
            why="arguments are passed one by one, without a shell that would split them",
            next_step=f"{field}={_split(told)!r}",
            field=field,
        )
    if given is not None and (isinstance(given, Mapping) or not hasattr(given, "__iter__")):
        raise BadConfig(
            f"{field} is {_shown(given)}",
            why="arguments are a list, in the order in which the script gets them",
            next_step=f"{field}=['--alpha', 0.03]",
            field=field,
        )
    return tuple(_as_text(item, field) for item in given or ())


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _as_text(item: object, field: str) -> str:
    problem, instead = _problem(item)
    if problem:
        raise BadConfig(
            f"the argument {_shown(item)} cannot be passed to a program", why=problem, next_step=instead, field=field
        )
    text = os.fsdecode(item) if isinstance(item, os.PathLike) else str(item)
    if "\0" in text:
        raise BadConfig(
            f"the argument {text!r} holds a NUL character",
            why="no program can be given one",
            next_step="write it to a file and pass the file's name",
            field=field,
        )
    return text


def _problem(item: object) -> tuple[str, str]:
    """Why a value is no single text, and what to write instead; empty where it is one."""
    kind: Any = type(item)
    if isinstance(item, str | os.PathLike):
        return "", ""
    if isinstance(item, bytes | bytearray | memoryview):
        return "it is bytes, and what Python writes of them (b'…') is no name of anything", "data.decode()"
    if isinstance(item, Mapping):
        return "it is a dict, which has no spelling that programs agree on", "json.dumps(value), and json.loads there"
    if hasattr(kind, "ndim") and getattr(item, "ndim", 1) == 0 and hasattr(item, "__iter__"):
        return f"it is a {kind.__name__} without dimensions, whose text is not only its number", "value.item()"
    if hasattr(item, "__iter__"):
        return "it holds several values", "['--layers', *map(str, values)], or json.dumps(values)"
    if callable(item):
        return "it is a function or a class", "pass its name, and look it up in the script"
    if kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__:
        return f"a {kind.__name__} has no text but its address in memory", "pass what the script needs of it"
    return "", ""


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def checked_command(given: object) -> str | tuple[str, ...] | None:
    """A command: a text for `/bin/sh -c`, or a program with its arguments; None where there is none.

    Raises BadConfig.
    """
    if given is None:
        return None
    if isinstance(given, str):
        if not given.strip() or "\0" in given:
            raise BadConfig(
                "the command is empty" if not given.strip() else "the command holds a NUL character",
                why="it is what /bin/sh -c is given",
                next_step="command='python train.py --alpha 0.03 | tee outputs/log.txt'",
                field="command",
            )
        return given
    if isinstance(given, bytes | Mapping) or not hasattr(given, "__iter__"):
        raise BadConfig(
            f"command is {_shown(given)}",
            why="it is a text for the shell, or a list: a program and its arguments",
            next_step="command=['make', 'train']",
            field="command",
        )
    words = checked_arguments(given, "command")  # type: ignore[arg-type]
    if not words or not words[0]:
        raise BadConfig(
            "the command names no program", why="its first item is the program", next_step="command=['make', 'train']",
            field="command",
        )  # fmt: skip
    return words
