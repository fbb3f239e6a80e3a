"""`onrecord metrics`."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from onrecord.cli.common import json_option, open_run, print_json, run_argument
from onrecord.cli.metric_text import blocks, is_single, last_text, number
from onrecord.ledger.series import Standing
from onrecord.metric_reading import SINGLE_KINDS
from onrecord.run import Run
from onrecord.run_errors import NothingKnown
from onrecord.wording import Style, columns, narrate, printable, shortened

_LONGEST_NAME = 40


@click.command()
@run_argument
@click.argument("names", metavar="[METRIC]...", nargs=-1)
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print every point; of one table or list its rows.")
def command(run: str, names: Sequence[str], as_json: bool, as_csv: bool) -> None:
    """Print what a run logged: of values how many, the last, least and greatest; lists, tables and documents.

    All of it, or the metrics that are named.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv cannot be printed at once.")
    found = open_run(run)
    standings = _standings(found, names)
    if as_json:
        print_json({name: value for one in standings for name, value in _plain(found.get_metrics(one.name)).items()})
    elif as_csv:
        _print_csv(found, standings)
    elif not standings:
        narrate("no metrics")
    else:
        _print_text(found, standings)


def _standings(run: Run, names: Sequence[str]) -> list[Standing]:
    standings = run.get_metric_standings()
    missing = [name for name in names if name not in {one.name for one in standings}]
    if missing:
        from difflib import get_close_matches

        known = [one.name for one in standings]
        near = get_close_matches(missing[0], known) or known[:10]
        raise NothingKnown(
            f"run {run.id} has no metric '{missing[0]}'",
            why=f"it has {', '.join(map(repr, near))}" if near else "it logged nothing",
            next_step=f"onrecord metrics {run.id}",
            run_id=run.id,
        )
    return [one for one in standings if not names or one.name in names]


def _print_text(run: Run, standings: Sequence[Standing]) -> None:
    style = Style(sys.stdout)
    rows = [["METRIC", "POINTS", "LAST", "MIN", "MAX"]]
    for one in filter(is_single, standings):
        least, greatest = number(one.minimum, one.kind), number(one.maximum, one.kind)
        name = shortened(printable(one.name), _LONGEST_NAME)
        rows.append([name, f"{one.points:,}", last_text(run, one), least, greatest])
    if len(rows) > 1:
        for cells in columns(rows, right=frozenset({1, 2, 3, 4})):
            print("  ".join(cells).rstrip())
    gap = len(rows) > 1
    for one in standings:
        if not is_single(one):
            if gap:
                print()
            gap = True
            print(style.bold(printable(one.name)))
            for line in blocks(run, one):
                print(f"  {line}")


# ---- CSV -------------------------------------------------------------------------------------------


def _print_csv(run: Run, standings: Sequence[Standing]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    if len(standings) == 1 and standings[0].kind in ("row", "table", "list"):
        value = run.get_metrics(standings[0].name)[standings[0].name]
        if isinstance(value, dict):
            writer.writerow(value)
            cells = [column if isinstance(column, list) else [column] for column in value.values()]
            writer.writerows(map(_spelled, zip(*cells, strict=True)))
            return
        if not any(isinstance(one, dict) for one in value):
            writer.writerow([standings[0].name])
            writer.writerows([_cell(one)] for one in value)
            return
    writer.writerow(["metric", "step", "time", "rank", "value"])
    for one in standings:
        writer.writerows(_points(run, one.name))


def _points(run: Run, name: str) -> Iterable[list[Any]]:
    for piece in run.workspace.query.points(run.id, name):
        ranks = piece.ranks if piece.ranks is not None else [""] * len(piece.times)
        for value, step, at, rank in zip(piece.values, piece.steps, piece.times, ranks, strict=True):
            time = datetime.fromtimestamp(at / 1_000_000, UTC).isoformat(timespec="microseconds")
            text = _cell(value) if piece.kind in SINGLE_KINDS else json.dumps(value)
            yield [name, "" if step is None else step, time, rank, text]


def _spelled(cells: Iterable[Any]) -> list[Any]:
    return [_cell(cell) for cell in cells]


def _cell(value: Any) -> Any:
    return "" if value is None else value


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become text."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
