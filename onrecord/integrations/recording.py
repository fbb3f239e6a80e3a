"""What all integrations share: the run, and what of a library's values it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onrecord.metric_values import BadMetric, checked_name, checked_value
from onrecord.run import Run

_LONGEST_VALUE = 1000
_MOST_PARAMETERS = 200


def run_or_current(run: Run | None) -> Run:
    """The run that was given, or the one that the script belongs to."""
    return run if run is not None else Run.get_context()


def loggable(values: Mapping[str, Any] | None) -> dict[str, Any]:
    """Those values that a metric takes: a library also reports lists, tensors and objects, which are left out."""
    taken: dict[str, Any] = {}
    for name, value in (values or {}).items():
        try:
            taken[checked_name(name)] = checked_value(name, value)
        except BadMetric:
            continue
    return taken


def keep_parameters(run: Run, prefix: str, parameters: Mapping[str, Any]) -> None:
    """What a model or a trainer was set to, as tags `prefix.name`: they may be set again when it is fitted again."""
    tags = {
        f"{prefix}.{name}": _text_of(value)
        for name, value in list(_flat(parameters).items())[:_MOST_PARAMETERS]
        if value is not None
    }
    if tags:
        run.set_tags(tags)


def _flat(parameters: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in parameters.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{before}{name}.")
        else:
            found[f"{before}{name}"] = value
    return found


def _text_of(value: Any) -> str:
    return str(value)[:_LONGEST_VALUE]
