"""A run's metrics as columns: values, steps, times and ranks, for charts, data frames and other programs."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from onrecord.errors import OnRecordError
from onrecord.ledger.events import Series
from onrecord.metric_reading import form_of

if TYPE_CHECKING:
    import pandas
    import pyarrow

_EXACT = 2**53


class NotInstalled(OnRecordError):
    """A package that only this question needs is not there. Attribute: `package`."""


class MetricColumns:
    """One metric: columns of equal length in the order of logging, an entry for each call.

    `values`: an `array` of float64 (`"d"`) or int64 (`"q"`) where every entry is such a number, else a list; of what a
    call logged as a whole, the list, dictionary of cells, dictionary of lists, document, or name of a picture's file.
    `steps`: whole numbers, None where none was given. `times`: microseconds since the epoch, UTC.
    `ranks`: which process of a distributed job logged it; None where no entry has one.
    `form`: scalar, list, row, table, document, image, or mixed.
    """

    def __init__(self, name: str, pieces: Sequence[Series]) -> None:
        self.name = name
        # As the ledger has them: each of one kind, which a mixed metric has several of.
        self.pieces = tuple(pieces)
        self.form = form_of(piece.kind for piece in pieces)
        self.values: Sequence[Any] = _joined([_values(piece) for piece in pieces])
        self.steps: Sequence[int | None] = _joined([piece.steps for piece in pieces])
        self.times: Sequence[int] = _joined([piece.times for piece in pieces])
        some = any(piece.ranks is not None for piece in pieces)
        self.ranks: Sequence[int | None] | None = _joined([_ranks(piece) for piece in pieces]) if some else None

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f"MetricColumns({self.name!r}, {self.form}, {len(self)} entries)"

    def to_pandas(self) -> pandas.DataFrame:
        """A data frame with the columns step, time, rank (where there are ranks) and value. Raises NotInstalled."""
        return Metrics([self]).to_pandas().drop(columns="metric")

    def to_arrow(self) -> pyarrow.Table:
        """A table with the columns step, time, rank (where there are ranks), value, json. Raises NotInstalled."""
        return Metrics([self]).to_arrow().drop_columns(["metric"])


class Metrics(Mapping[str, MetricColumns]):
    """The metrics of a run by name."""

    def __init__(self, metrics: Iterable[MetricColumns]) -> None:
        self._metrics = {metric.name: metric for metric in metrics}

    def __getitem__(self, name: str) -> MetricColumns:
        return self._metrics[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._metrics)

    def __len__(self) -> int:
        return len(self._metrics)

    def __repr__(self) -> str:
        return f"Metrics({list(self._metrics.values())})"

    def to_pandas(self) -> pandas.DataFrame:
        """A data frame with a row for each entry: metric, step, time (UTC), rank (where there are any), value.

        `value` is float64 or int64 where every entry is a number. Raises NotInstalled.
        """
        try:
            import pandas
        except ImportError:
            raise _not_installed("pandas") from None
        columns = self._columns()
        frame = {
            "metric": pandas.Series(columns.pop("metric"), dtype="object"),
            "step": pandas.array(_numpy(columns["step"]), dtype="Int64"),
            "time": pandas.to_datetime(_numpy(columns["time"]), unit="us", utc=True).as_unit("us"),
        }
        if "rank" in columns:
            frame["rank"] = pandas.array(_numpy(columns["rank"]), dtype="Int64")
        values = columns["value"]
        kind = {"d": "float64", "q": "int64"}[values.typecode] if isinstance(values, array) else "object"
        frame["value"] = pandas.Series(_numpy(values), dtype=kind)
        return pandas.DataFrame(frame)

    def to_arrow(self) -> pyarrow.Table:
        """A table with a row for each entry: metric, step, time (UTC), rank (where there are any), value, json.

        `value` is a float64, null where the entry is no number; `json` spells what a float64 does not hold, with NaN
        and infinities within lists and tables as Python spells them. Raises NotInstalled.
        """
        try:
            import pyarrow
        except ImportError:
            raise _not_installed("pyarrow", "arrow") from None
        columns = self._columns()
        values, spelled = _numbers_and_rest(columns["value"])
        table = {
            "metric": pyarrow.array(columns["metric"], pyarrow.string()).dictionary_encode(),
            "step": _arrow(columns["step"], pyarrow.int64()),
            "time": _arrow(columns["time"], pyarrow.timestamp("us", "UTC")),
        }
        if "rank" in columns:
            table["rank"] = _arrow(columns["rank"], pyarrow.int64())
        table["value"] = _arrow(values, pyarrow.float64())
        table["json"] = pyarrow.array(spelled, pyarrow.string())
        return pyarrow.table(table)

    def _columns(self) -> dict[str, Any]:
        metrics = list(self._metrics.values())
        columns = {
            "metric": [name for metric in metrics for name in [metric.name] * len(metric)],
            "step": _joined([metric.steps for metric in metrics]),
            "time": _joined([metric.times for metric in metrics]),
            "value": _joined([metric.values for metric in metrics]),
        }
        if any(metric.ranks is not None for metric in metrics):
            columns["rank"] = _joined([metric.ranks or [None] * len(metric) for metric in metrics])
        return columns


def _values(piece: Series) -> Sequence[Any]:
    if piece.kind == "float64":
        return _packed("d", piece.values)
    if piece.kind == "int64":
        return _packed("q", piece.values)
    return [value["file"] for value in piece.values] if piece.kind == "image" else list(piece.values)


def _packed(code: str, values: Sequence[Any]) -> Sequence[Any]:
    return values if isinstance(values, array) else array(code, values)


def _ranks(piece: Series) -> Sequence[int | None]:
    return [None] * len(piece.times) if piece.ranks is None else piece.ranks


def _joined(parts: Sequence[Sequence[Any]]) -> Sequence[Any]:
    """One column for several that follow one another; an array where all are arrays of one type."""
    if len(parts) == 1:
        return parts[0]
    codes = {part.typecode if isinstance(part, array) else "q" * isinstance(part, range) for part in parts}
    code = codes.pop() if len(codes) == 1 else ""
    joined: Any = array(code) if code else []
    for part in parts:
        joined.extend(part)
    return joined  # type: ignore[no-any-return]


def _numpy(column: Sequence[Any]) -> Any:
    """What pandas takes at once: an array of numpy, of which it has a copy of its own."""
    import numpy

    return numpy.array(column) if isinstance(column, array) else list(column)


def _arrow(column: Sequence[Any], kind: Any) -> Any:
    """A column of 8 bytes a number; an array's bytes are taken as they are."""
    import pyarrow

    if isinstance(column, array):
        return pyarrow.Array.from_buffers(kind, len(column), [None, pyarrow.py_buffer(column.tobytes())])
    return pyarrow.array(list(column), kind)


def _numbers_and_rest(values: Sequence[Any]) -> tuple[Any, list[str | None]]:
    if isinstance(values, array) and values.typecode == "d":
        return values, [None] * len(values)
    numbers, rest = list[float | None](), list[str | None]()
    for value in values:
        number = isinstance(value, float) or (type(value) is int and -_EXACT <= value <= _EXACT)
        numbers.append(float(value) if number else None)
        rest.append(None if number or value is None else json.dumps(value))
    return numbers, rest


def _not_installed(package: str, extra: str = "") -> NotInstalled:
    return NotInstalled(
        f"{package} is not installed",
        why=f"this form of a run's metrics is one of {package}'s",
        next_step=f"pip install 'onrecord[{extra or package}]'",
        package=package,
    )
