"""What may be logged as a metric's name, value and step."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from onrecord.errors import OnRecordError

_LONGEST_NAME = 255
# A whole number of this many bits can be spelled whatever limit Python has for it.
_MOST_BITS = 2000
# One value, spelled as JSON. What is larger belongs in a file: every reader of the run's metrics unpacks it.
MOST_BYTES = 64_000_000
_PLAIN = {type(None), bool, int, float, str}
_NONE_OF_THEM = object()


class BadMetric(OnRecordError):
    """A metric that cannot be logged. Attributes: `name`, `value`."""


def checked_name(name: object) -> str:
    """A metric's name: any text of 1 to 255 characters, kept exactly as it is."""
    if not isinstance(name, str) or not 1 <= len(name) <= _LONGEST_NAME or not _is_unicode(name):
        raise BadMetric(
            f"a metric cannot be called {name!r}",
            why=f"a name is a Unicode text of 1 to {_LONGEST_NAME} characters",
            next_step='run.log("loss", 0.25)',
            name=name,
            value=None,
        )
    return name


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def checked_value(name: str, value: object) -> Any:
    """A plain number, truth value, text or None; scalars of numpy, torch and tensorflow become plain numbers.

    A whole number stays one, whatever its type.
    """
    plain = _plain(value)
    if plain is _NONE_OF_THEM:
        raise _not_one_value(name, value)
    if isinstance(plain, str) or (isinstance(plain, int) and plain.bit_length() > _MOST_BITS):
        spelled("value", name, plain)
    return plain


def spelled(noun: str, name: str, value: object) -> str:
    """A checked value as JSON, in which NaN and infinities are spelled as Python does. Raises BadMetric."""
    try:
        text = json.dumps(value, separators=(",", ":"))
    except (ValueError, RecursionError) as problem:
        raise BadMetric(
            f"the {noun} that is to be logged as the metric '{name}' cannot be spelled",
            why=str(problem),
            next_step=f"log it as text in a form of your own, or write it to a file in outputs/: {name}",
            name=name,
            value=None,
        ) from None
    if len(text) > MOST_BYTES:
        raise _too_large(name, noun)
    return text


def is_plain(values: Iterable[object]) -> bool:
    """Whether all of them are what `checked_value` makes of them."""
    return set(map(type, values)) <= _PLAIN


def _too_large(name: str, noun: str) -> BadMetric:
    return BadMetric(
        f"the {noun} that is to be logged as the metric '{name}' is too large",
        why=f"one call logs at most {MOST_BYTES // 1_000_000} MB, spelled as JSON",
        next_step=f"log it in several calls, or write it to a file: outputs/{name}.parquet",
        name=name,
        value=None,
    )


def _plain(value: object) -> Any:
    """The plain value, or `_NONE_OF_THEM`."""
    if value is None or isinstance(value, bool):
        return value
    # The base class's own methods: an enum's text is its value, not its name.
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    array: Any = value if hasattr(value, "item") else getattr(value, "numpy", lambda: None)()
    item = getattr(array, "item", None)
    if item is not None and tuple(getattr(array, "shape", ())) in ((), (1,)):
        inner: Any = item()
        # numpy's longdouble has no plain number that is equal to it, and gives itself back.
        return array.__float__() if type(inner) is type(array) else _plain(inner)
    from numbers import Number

    # Fractions and decimals; complex numbers have no such method.
    return value.__float__() if isinstance(value, Number) and hasattr(value, "__float__") else _NONE_OF_THEM


def _not_one_value(name: str, value: object) -> BadMetric:
    shape = tuple(getattr(value, "shape", ()))
    many = "values" if shape else "items"
    why, call = "one call logs one number, text, truth value or None", f"run.log({name!r}, 0.25)"
    if isinstance(value, Mapping):
        why, call = f"{why}, not several", f"run.log_row({name!r}, **values)   (or run.log_many(values))"
    elif hasattr(value, "columns") or len(shape) > 1:
        why, call = f"{why}, not a table", f"run.log_table({name!r}, {{'column': [...]}})"
    elif shape or (isinstance(value, Iterable) and not isinstance(value, bytes | bytearray)):
        why, call = f"{why}, not a list of them", f"run.log_list({name!r}, {many})"
    return BadMetric(
        f"the value of the metric '{name}' is a {type(value).__name__}",
        why=why,
        next_step=call,
        name=name,
        value=value,
    )


def checked_step(name: str, step: object) -> int:
    """A whole number of 64 bits."""
    number = _plain(step)
    if isinstance(number, bool) or not isinstance(number, int) or not -(2**63) < number < 2**63:
        raise BadMetric(
            f"the step of the metric '{name}' is {step!r}",
            why="a step is a whole number of at most 64 bits",
            next_step=f"run.log({name!r}, value, step=epoch)",
            name=name,
            value=step,
        )
    return number
