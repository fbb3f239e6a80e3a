"""`onrecord metrics`."""

from __future__ import annotations

import math
from typing import Any

import click

from onrecord.cli.common import json_option, open_run, print_json, run_argument
from onrecord.cli.text import columns, metric, narrate, printable


@click.command()
@run_argument
@json_option
def command(run: str, as_json: bool) -> None:
    """Print the metrics of a run: how many points, the last, least and greatest value."""
    metrics = open_run(run).get_metrics()
    if as_json:
        print_json({name: _plain(value) for name, value in metrics.items()})
        return
    if not metrics:
        narrate("no metrics")
        return
    rows = [["METRIC", "POINTS", "LAST", "MIN", "MAX"]]
    for name, value in metrics.items():
        values = value if isinstance(value, list) else [value]
        numbers = [item for item in values if isinstance(item, int | float) and not math.isnan(item)]
        least, greatest = (metric(min(numbers)), metric(max(numbers))) if numbers else ("-", "-")
        rows.append([printable(name), str(len(values)), metric(values[-1]), least, greatest])
    for cells in columns(rows, right=frozenset({1, 2, 3, 4})):
        print("  ".join(cells).rstrip())


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become text."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
