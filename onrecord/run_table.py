"""Runs side by side, for a notebook and for a terminal: status, times, parameters, and curves of their metrics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, overload

from onrecord.documents import status_of
from onrecord.html import badge, code, escape, html_table
from onrecord.ledger.arguments import parameters
from onrecord.run import Run
from onrecord.sparkline import svg_sparkline, text_sparkline
from onrecord.wording import ago, columns, duration, metric, printable, shortened

if TYPE_CHECKING:
    from onrecord.ledger.series import Standing

_MOST_METRICS = 4
_MOST_PARAMETERS = 4
_POINTS = 60
_TEXT_POINTS = 12
_WIDEST = 40


class RunTable(Sequence[Run]):
    """Some runs, in their order, as a table. The last expression of a notebook's cell shows it.

    `metrics`: the names of those to show; by default those that most of the runs have, at most four.
    """

    def __init__(self, runs: Iterable[Run], *, metrics: Sequence[str] | None = None, most: int = 100) -> None:
        self._runs = list(islice(runs, most + 1))
        self._is_cut = len(self._runs) > most
        del self._runs[most:]
        self._given = list(metrics) if metrics is not None else None

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> list[Run]: ...
    def __getitem__(self, index: int | slice) -> Run | list[Run]:
        return self._runs[index]

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs)

    def __repr__(self) -> str:
        if not self._runs:
            return "no runs"
        standings, metrics = self._standings()
        names = self._parameters()
        head = ["RUN", "STATUS", "NAME", "CREATED", "DURATION", *map(printable, [*names, *metrics])]
        rows = [head]
        for run, known in zip(self._runs, standings, strict=True):
            row, given = run.workspace.query.run(run.id), _parameters_of(run)
            cells = [run.id[:10], status_of(run.workspace, row), printable(row.display_name)]
            cells += [ago(row.created_at), duration(row.duration_seconds)]
            cells += [printable(shortened(given.get(name, "-"), _WIDEST)) for name in names]
            cells += [_text_cell(run, known.get(name)) for name in metrics]
            rows.append(cells)
        lines = ["  ".join(cells).rstrip() for cells in columns(rows, right=frozenset({4}))]
        return "\n".join([*lines, *(["…"] if self._is_cut else [])])

    def _repr_html_(self) -> str:
        if not self._runs:
            return "<p>no runs</p>"
        standings, metrics = self._standings()
        names = self._parameters()
        head = ["run", "status", "name", "created", "duration", *names, *metrics]
        rows = []
        for run, known in zip(self._runs, standings, strict=True):
            row, given = run.workspace.query.run(run.id), _parameters_of(run)
            cells = [code(run.id[:10], run.id), badge(status_of(run.workspace, row)), escape(row.display_name)]
            cells += [escape(ago(row.created_at)), escape(duration(row.duration_seconds))]
            cells += [escape(shortened(given.get(name, ""), _WIDEST)) for name in names]
            cells += [html_cell(run, known.get(name)) for name in metrics]
            rows.append(cells)
        return html_table(head, rows) + ("<p>… and more</p>" if self._is_cut else "")

    def _standings(self) -> tuple[list[dict[str, Standing]], list[str]]:
        known = [{one.name: one for one in run.workspace.query.standings(run.id)} for run in self._runs]
        if self._given is not None:
            return known, self._given
        return known, _most_common(known, _MOST_METRICS)

    def _parameters(self) -> list[str]:
        return _most_common([_parameters_of(run) for run in self._runs], _MOST_PARAMETERS)


def html_cell(run: Run, known: Standing | None) -> str:
    """A metric of a run for a page: its last value and its curve."""
    if known is None:
        return ""
    last = escape(_last(run, known))
    if known.points < 2 or known.minimum is None:
        return last
    values = curve(run, known.name, _POINTS)
    label = f"{known.name}: {known.points:,} points, {known.minimum:.6g} to {known.maximum:.6g}"
    return f"{last} {svg_sparkline(values, label=label)}"


def curve(run: Run, name: str, points: int) -> list[float | None]:
    """A metric in so many points at most, each bucket's first and last value."""
    buckets = run.get_metric_overview(name, max(points // 2, 1))
    return [
        value
        for bucket in buckets
        for value in ((bucket.first,) if bucket.points == 1 else (bucket.first, bucket.last))
    ]


def _text_cell(run: Run, known: Standing | None) -> str:
    if known is None:
        return "-"
    last = _last(run, known)
    return last if known.points < 2 else f"{last} {text_sparkline(curve(run, known.name, _TEXT_POINTS))}".rstrip()


def _last(run: Run, known: Standing) -> str:
    value = known.last if known.last is not None else run.workspace.query.last_value(run.id, known.name)
    return shortened(metric(value), _WIDEST)


def _parameters_of(run: Run) -> dict[str, str]:
    return parameters(run.workspace.query.config(run.id).get("arguments", ()))


def _most_common(found: Iterable[Iterable[str]], most: int) -> list[str]:
    counts: dict[str, int] = {}
    for names in found:
        for name in names:
            counts[name] = counts.get(name, 0) + 1
    return sorted(counts, key=lambda name: -counts[name])[:most]
