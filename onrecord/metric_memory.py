"""What a run that is kept in memory has logged: the same forms as from the ledger."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from onrecord.metric_reading import as_v1

if TYPE_CHECKING:
    from onrecord.ledger.events import Series
    from onrecord.metric_columns import Metrics


class _Call(NamedTuple):
    kind: str
    value: Any
    step: int | None
    at: int


class MemoryMetrics:
    """Calls by the name of the metric, in the order of logging. `clock` gives nanoseconds since the epoch."""

    def __init__(self, *, clock: Callable[[], int] = time.time_ns) -> None:
        self._clock = clock
        self._calls: dict[str, list[_Call]] = {}

    def keep(self, kind: str, name: str, value: Any, step: int | None = None) -> None:
        """Keep a value; `kind` is json for a single one, else as `ledger.events.Series` has it."""
        if kind == "json":
            kind = _kind_of(value)
        self._calls.setdefault(name, []).append(_Call(kind, value, step, self._clock() // 1000))

    def in_v1_form(self, run_id: str, name: str | None = None) -> dict[str, Any]:
        """What `Run.get_metrics` gives."""
        from onrecord.pictures import reference

        image = partial(reference, run_id)
        return {
            key: as_v1([(call.kind, [call.value]) for call in calls], image)
            for key, calls in self._calls.items()
            if name is None or key == name
        }

    def columns(self) -> Metrics:
        """What `Run.metrics` gives."""
        from onrecord.metric_columns import MetricColumns, Metrics

        return Metrics(MetricColumns(name, _pieces(name, calls)) for name, calls in self._calls.items())


def _kind_of(value: Any) -> str:
    if type(value) is float:
        return "float64"
    return "int64" if type(value) is int and -(2**63) <= value < 2**63 else "json"


def _pieces(name: str, calls: list[_Call]) -> list[Series]:
    from onrecord.ledger.events import Series

    pieces = []
    for kind, group in groupby(calls, key=lambda call: call.kind):
        _, values, steps, times = (list(column) for column in zip(*group, strict=True))
        pieces.append(Series(name, kind, values, steps, times))
    return pieces
