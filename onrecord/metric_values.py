"""What may be logged as a metric's value, and how logged points are handed back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from onrecord.errors import OnRecordError

if TYPE_CHECKING:
    from onrecord.ledger.events import Series

_LONGEST_NAME = 255


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
    """A plain number, truth value, text or None; scalars of numpy, torch and tensorflow become plain numbers."""
    if value is None or isinstance(value, bool | str):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    item = getattr(value, "item", None) or getattr(getattr(value, "numpy", lambda: None)(), "item", None)
    if item is not None and getattr(value, "shape", ()) in ((), (1,)):
        return checked_value(name, item())
    raise BadMetric(
        f"the value of the metric '{name}' is a {type(value).__name__}",
        why="one call logs one number, text, truth value or None",
        next_step=f"log each value with a call of its own: for v in values: run.log({name!r}, v)",
        name=name,
        value=value,
    )


def checked_step(name: str, step: object) -> int:
    """A whole number of 64 bits."""
    item = getattr(step, "item", None)
    number = item() if item is not None else step
    if isinstance(number, bool) or not isinstance(number, int) or not -(2**63) < number < 2**63:
        raise BadMetric(
            f"the step of the metric '{name}' is {step!r}",
            why="a step is a whole number of at most 64 bits",
            next_step=f"run.log({name!r}, value, step=epoch)",
            name=name,
            value=step,
        )
    return number


def as_v1(pieces: Sequence[Series]) -> Any:
    """The form that Azure ML returns: a value logged once as itself, several as a list in order."""
    values: list[Any] = []
    for piece in pieces:
        values.extend(piece.values)
    return values[0] if len(values) == 1 else values
