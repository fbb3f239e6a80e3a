"""A run's metrics as TensorBoard's event files, with the steps and times at which they were logged."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator
from logging import Logger
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from onrecord.errors import OnRecordError
from onrecord.event_file import FAILURE, RUNNING, SUCCESS, EventFile, event_file_name, image_size
from onrecord.ledger.arguments import parameters
from onrecord.ledger.events import RunMetrics, Series
from onrecord.run import Run

if TYPE_CHECKING:
    from onrecord.experiment import Experiment

_STATUSES = {"Completed": SUCCESS, "Failed": FAILURE, "Canceled": FAILURE}
_MICROSECONDS = 1_000_000


def export_to_tensorboard(
    run_data: Run | Iterable[Run] | Experiment,
    logsdir: str | os.PathLike[str],
    logger: Logger | None = None,
    recursive: bool = True,
) -> list[Path]:
    """Write the metrics of runs to `logsdir/RUN_ID/`, one event file a run; returns the files.

    `run_data`: a run, several, or an experiment with all its runs; `recursive`: also the runs below each. Steps and
    wall times are those of the points; a point without a step has its place among the metric's points. Numbers become
    scalars, text becomes text, and what the script was started with hyperparameters. Writing again replaces the files.
    """
    written = []
    for run in _with_children(run_data, recursive):
        folder = Path(logsdir) / run.id
        if logger is not None:
            logger.info("exporting run %s to %s", run.id, folder)
        written.append(_export(run, folder))
    return written


class MetricsFile:
    """A run's metrics in an event file that grows with them."""

    def __init__(self, run: Run, path: Path) -> None:
        self._run = run
        row = run.workspace.query.run(run.id)
        self._file = EventFile(path, row.created_at / _MICROSECONDS)
        self._version = 0
        self._counts: dict[str, int] = {}
        self._has_ended = False
        arguments = run.workspace.query.config(run.id).get("arguments", ())
        self._parameters = {name: _number_or_text(text) for name, text in parameters(arguments).items()}
        if self._parameters:
            self._file.hyperparameters(self._parameters, run.id, row.created_at / _MICROSECONDS)

    def advance(self) -> None:
        """Write what was logged since the last time."""
        row = self._run.workspace.query.run(self._run.id)
        self._run._take_in_points()
        for recorded in self._run.workspace.journal.read(self._run.id, after=self._version):
            self._version = recorded.version
            if isinstance(recorded.event, RunMetrics):
                for series in recorded.event.series:
                    self._write(series)
        if row.ended and not self._has_ended and self._parameters:
            self._has_ended = True
            ended = (row.ended_at or row.created_at) / _MICROSECONDS
            self._file.session_end(_STATUSES.get(row.status, RUNNING), ended)
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, series: Series) -> None:
        for value, step, at in zip(series.values, series.steps, series.times, strict=True):
            for tag, one in _shown(series.name, series.kind, value):
                count = self._counts.get(tag, 0)
                self._counts[tag] = count + 1
                self._one(tag, one, count if step is None else step, at / _MICROSECONDS)

    def _one(self, tag: str, value: Any, step: int, wall_time: float) -> None:
        if isinstance(value, int | float):
            self._file.scalar(tag, float(value), step, wall_time)
        elif isinstance(value, str):
            self._file.text(tag, value, step, wall_time)
        elif isinstance(value, Histogram):
            self._file.histogram(tag, value.edges, value.counts, step, wall_time)
        elif isinstance(value, Picture):
            self._picture(tag, value.file, step, wall_time)

    def _picture(self, tag: str, name: str, step: int, wall_time: float) -> None:
        try:
            encoded = self._run.read_file(name)
        except OnRecordError:
            # Erased, or not captured yet: the metric's text says where it was.
            self._file.text(tag, name, step, wall_time)
            return
        size = image_size(encoded)
        if size is not None:
            self._file.image(tag, encoded, size, step, wall_time)


class Histogram(NamedTuple):
    """Counts between ascending edges, one more than counts."""

    edges: list[float]
    counts: list[float]


class Picture(NamedTuple):
    """A picture, by the name of the run's file."""

    file: str


def _shown(name: str, kind: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What is shown of one logged value, by tag: a list and a table give one point for each of their items."""
    if kind == "list":
        yield from ((name, item) for item in value)
    elif kind == "row":
        yield from ((f"{name}/{column}", item) for column, item in value.items())
    elif kind == "table":
        for column, items in value.items():
            yield from ((f"{name}/{column}", item) for item in (items if isinstance(items, list) else [items]))
    elif kind == "image":
        yield name, Picture(str(value.get("file", "")))
    elif kind == "document":
        yield from _of_document(name, value)
    else:
        yield name, value


def _of_document(name: str, document: Any) -> Iterator[tuple[str, Any]]:
    data = document.get("data", {}) if isinstance(document, dict) else {}
    edges, counts = data.get("bin_edges"), data.get("bin_counts")
    if isinstance(edges, list) and isinstance(counts, list) and len(edges) == len(counts) + 1 > 1:
        yield name, Histogram(edges, counts)
    else:
        yield name, f"```json\n{json.dumps(document, indent=1)}\n```"


def _export(run: Run, folder: Path) -> Path:
    path = folder / event_file_name(run.workspace.query.run(run.id).created_at // _MICROSECONDS)
    # Under a name that no reader looks at until it is whole.
    new = folder / f".onrecord.{os.getpid()}.part"
    try:
        written = MetricsFile(run, new)
        try:
            written.advance()
        finally:
            written.close()
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
    return path


def _number_or_text(text: str) -> float | str:
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def _below(run: Run) -> Iterator[Run]:
    return run.workspace.runs(f"descendant of {run.id}")


def _with_children(run_data: Run | Iterable[Run] | Experiment, recursive: bool) -> Iterator[Run]:
    runs: Iterable[Run]
    if isinstance(run_data, Run):
        runs = [run_data]
    elif hasattr(run_data, "get_runs"):
        runs = run_data.get_runs()
    else:
        runs = run_data
    seen: set[str] = set()
    for run in runs:
        for one in [run, *(_below(run) if recursive else ())]:
            if one.id not in seen:
                seen.add(one.id)
                yield one
