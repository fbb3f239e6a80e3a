"""`onrecord ls`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from onrecord.cli.common import json_option, open_workspace, print_json, state_named
from onrecord.cli.text import Style, ago, columns, duration, narrate, printable
from onrecord.documents import run_document, status_of
from onrecord.workspace import Workspace

if TYPE_CHECKING:
    from onrecord.ledger.query import RunRow

_SHOWN = 30
_SHORT_ID = 10


@click.command()
@click.option("-e", "--experiment", help="Only runs of this experiment.")
@click.option("-s", "--status", help="Only runs in this state, for example Failed.")
@click.option("-t", "--tag", "tags", multiple=True, metavar="KEY[=VALUE]", help="Only runs with this tag; repeatable.")
@click.option("-n", "--limit", type=click.IntRange(1), help=f"At most this many (default {_SHOWN}; --json: all).")
@click.option("-a", "--all", "everything", is_flag=True, help="All of them.")
@json_option
def command(
    experiment: str | None,
    status: str | None,
    tags: tuple[str, ...],
    limit: int | None,
    everything: bool,
    as_json: bool,
) -> None:
    """List runs, newest first."""
    workspace = open_workspace()
    wanted = {key: value if given else None for key, given, value in (tag.partition("=") for tag in tags)}
    if limit is None and not everything and not as_json:
        limit = _SHOWN
    # One more than is shown tells whether there are more.
    rows = workspace.query.runs(
        experiment=experiment, status=state_named(status), tags=wanted, limit=-1 if limit is None else limit + 1
    )
    more = limit is not None and len(rows) > limit
    rows = rows[:limit]
    if as_json:
        tags_of, properties_of = workspace.query.tags(), workspace.query.properties()
        print_json(
            [
                run_document(workspace, row, tags_of.get(row.run_id, {}), properties_of.get(row.run_id, {}))
                for row in rows
            ]
        )
        return
    if not rows:
        narrate("no runs" if experiment or status or tags else "no runs yet; onrecord run SCRIPT makes one")
        return
    _print_table(workspace, rows)
    if more:
        narrate("there are more; -n N or --all shows them")


def _print_table(workspace: Workspace, rows: list[RunRow]) -> None:
    style, tags = Style(sys.stdout), workspace.query.tags()
    shorten = short_ids([row.run_id for row in rows])
    table = [["RUN", "STATUS", "NAME", "CREATED", "DURATION", "EXIT", "TAGS"]]
    for row in rows:
        exit_code = "-" if row.exit_code is None else str(row.exit_code)
        marks = " ".join(f"{key}={value}" if value else key for key, value in tags.get(row.run_id, {}).items())
        table.append(
            [shorten[row.run_id], status_of(workspace, row), _name(row), ago(row.created_at),
             duration(row.duration_seconds),
             exit_code, printable(marks)]
        )  # fmt: skip
    lines = columns(table, right=frozenset({4, 5}))
    print(style.bold("  ".join(lines[0]).rstrip()))
    for cells, texts in zip(lines[1:], table[1:], strict=True):
        cells[1] = style.status(texts[1], len(cells[1]))
        cells[6] = style.dim(cells[6])
        print("  ".join(cells).rstrip())


def _name(row: RunRow) -> str:
    name = printable(row.display_name)
    return f"{name} (erased)" if row.erased and row.experiment else name


def short_ids(run_ids: list[str]) -> dict[str, str]:
    """The start of each id, long enough to tell it from the others."""
    length = _SHORT_ID
    while length < 26 and len({run_id[:length] for run_id in run_ids}) < len(run_ids):
        length += 1
    return {run_id: run_id[:length] for run_id in run_ids}
