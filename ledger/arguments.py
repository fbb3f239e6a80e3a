"""The parameters in a script's arguments, as far as their spelling tells.

Read are `--name value`, `--name=value`, `-n value`, `--flag` (true) and Hydra's `key=value`, `+key=value`.
Which words an option takes only the script knows: an option is taken to have one value when the next word does
not look like a parameter itself. Words that stand alone are left out, and so is everything after `--`. The last one of
several with one name counts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache

# More than people and sweeps write; a command line may be megabytes long, and all of it would be indexed.
MOST = 1000
LONGEST_NAME = 200
LONGEST_VALUE = 1000
_SHORT = 100

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_OPTION = re.compile(r"--?([^\W\d_][^\s=]*)(?:=(.*))?", re.DOTALL)
_PAIR = re.compile(r"\+{0,2}([^\W\d][\w.\-/@]*)=(.*)", re.DOTALL)


def parameters(arguments: object) -> dict[str, str]:
    """Name to value of the words in `arguments`; a value is cut after 1,000 characters.

    Anything but a list has none, and so have items that are neither text nor numbers.

    >>> parameters(["--alpha", "-0.5", "--fast", "-n=3", "model.depth=4", "data.csv"])
    {'alpha': '-0.5', 'fast': 'true', 'n': '3', 'model.depth': '4'}
    """
    words = _words(arguments) if isinstance(arguments, list | tuple) else []
    found: dict[str, str] = {}
    place, end = 0, len(words)
    while place < end and words[place] != "--" and len(found) < MOST:
        name, value = _named(words[place])
        place += 1
        if value is None:
            value = "true"
            if place < end and _is_value(words[place]):
                value = words[place]
                place += 1
        if name and len(name) <= LONGEST_NAME:
            found[name] = value[:LONGEST_VALUE]
    return found


def number(text: str) -> float | None:
    """The number that `text` spells, or None; `nan`, `inf`, `1_000` and `0x10` are words.

    >>> number("1e-3"), number("1e999"), number("nan")
    (0.001, None, None)
    """
    return _cached_number(text) if len(text) <= _SHORT else _number(text)


def _number(text: str) -> float | None:
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


def _words(arguments: Sequence[object]) -> list[str]:
    return [item if type(item) is str else str(item) for item in arguments if isinstance(item, str | int | float)]


def _named(word: str) -> tuple[str, str | None]:
    """The name of a parameter, empty where the word is none, and its value; None where that is in the next word."""
    if word.startswith("-"):
        return _cached_option(word) if len(word) <= _SHORT else _option(word)
    pair = _PAIR.fullmatch(word) if "=" in word else None
    return (pair[1], pair[2]) if pair else ("", "")


def _option(word: str) -> tuple[str, str | None]:
    option = _OPTION.fullmatch(word)
    return (option[1], option[2]) if option else ("", "")


def _is_value(word: str) -> bool:
    if word.startswith("-"):
        return word == "-" or number(word) is not None
    return "=" not in word or _PAIR.fullmatch(word) is None


# The same options and numbers come again in run after run.
_cached_option = lru_cache(maxsize=1024)(_option)
_cached_number = lru_cache(maxsize=1024)(_number)
