"""One run, an experiment or a workspace at a glance, for a notebook and for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from onrecord.documents import status_of
from onrecord.html import badge, code, escape, facts, html_table
from onrecord.ledger.arguments import parameters
from onrecord.run_table import RunTable, curve, html_cell
from onrecord.sparkline import text_sparkline
from onrecord.wording import columns, counted, duration, local_time, printable, size

if TYPE_CHECKING:
    from onrecord.experiment import Experiment
    from onrecord.run import Run
    from onrecord.workspace import Workspace

_MOST_METRICS = 12
_MOST_FILES = 8
_MOST_RUNS = 10
_TEXT_POINTS = 40


def run_html(run: Run) -> str:
    """A run: how it stands, what it was started with, its metrics as curves, its files."""
    query = run.workspace.query
    row, config = query.run(run.id), query.config(run.id)
    status = status_of(run.workspace, row)
    error = (row.error or {}).get("message", "")
    head = facts(
        {
            "run": f"{code(run.id)} {badge(status)}",
            "name": f"{escape(row.display_name)} of experiment {escape(row.experiment)}",
            "error": f"<pre>{escape(error)}</pre>" if error else "",
            "script": code(_command_of(config)) if config else "",
            "created": escape(local_time(row.created_at)),
            "duration": escape(duration(row.duration_seconds)) if row.started_at else "",
            "tags": ", ".join(code(f"{key}={value}" if value else key) for key, value in run.get_tags().items()),
            "source": code(row.snapshot_id[:10], row.snapshot_id) if row.snapshot_id else "",
        }
    )
    return f"<div>{head}{_metrics_html(run)}{_files_html(run)}</div>"


def _command_of(config: Mapping[str, Any]) -> str:
    return " ".join(map(str, [config.get("script", ""), *config.get("arguments", ())]))


def _metrics_html(run: Run) -> str:
    known = run.workspace.query.standings(run.id)
    if not known:
        return ""
    rows = [
        [escape(one.name), f"{one.points:,}", html_cell(run, one), _number(one.minimum), _number(one.maximum)]
        for one in known[:_MOST_METRICS]
    ]
    more = f"<p>and {counted(len(known) - _MOST_METRICS, 'metric')} more</p>" if len(known) > _MOST_METRICS else ""
    return html_table(["metric", "points", "last", "least", "greatest"], rows) + more


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _files_html(run: Run) -> str:
    rows = run.workspace.query.files(run.id)
    if not rows:
        return ""
    lines = [[code(row.name), escape(size(row.size))] for row in rows[:_MOST_FILES]]
    more = f"<p>and {counted(len(rows) - _MOST_FILES, 'file')} more</p>" if len(rows) > _MOST_FILES else ""
    return html_table(["file", "size"], lines) + more


def run_text(run: Run) -> str:
    """The same for a terminal, in as many lines as it needs."""
    query = run.workspace.query
    row, config = query.run(run.id), query.config(run.id)
    error = (row.error or {}).get("message", "")
    given = parameters(config.get("arguments", ())) if config else {}
    values = {
        "run": f"{run.id}  {status_of(run.workspace, row)}",
        "name": f"{row.display_name} of experiment {row.experiment}",
        "error": error,
        "script": str(config.get("script", "")),
        "parameters": ", ".join(f"{name}={value}" for name, value in given.items()),
        "created": local_time(row.created_at),
        "duration": duration(row.duration_seconds) if row.started_at else "",
        "tags": ", ".join(f"{key}={value}" if value else key for key, value in run.get_tags().items()),
    }
    lines = [f"{name:<10}  {printable(value)}" for name, value in values.items() if value]
    known = query.standings(run.id)[:_MOST_METRICS]
    table = [
        [printable(one.name), f"{one.points:,}", _number(one.last), text_sparkline(curve(run, one.name, _TEXT_POINTS))]
        for one in known
    ]
    lines += ["  ".join(cells).rstrip() for cells in columns(table, right=frozenset({1, 2}))]
    return "\n".join(lines)


def experiment_html(experiment: Experiment) -> str:
    """An experiment: its newest runs."""
    runs = list(islice(experiment.get_runs(), _MOST_RUNS + 1))
    return f"<h4>{escape(experiment.name)}</h4>{RunTable(runs, most=_MOST_RUNS)._repr_html_()}"


def workspace_html(workspace: Workspace) -> str:
    """A workspace: where it is, its experiments, its newest runs."""
    names = sorted(workspace.experiments)
    head = facts({"workspace": code(str(workspace.path)), "experiments": ", ".join(escape(name) for name in names)})
    return f"<div>{head}{RunTable(workspace.runs(), most=_MOST_RUNS)._repr_html_()}</div>"
