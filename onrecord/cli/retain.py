"""`onrecord retain`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from onrecord.cli.common import confirm, json_option, open_workspace, print_json, state_named, yes_option
from onrecord.cli.duration import Duration
from onrecord.wording import ago, columns, counted, narrate, printable, size

if TYPE_CHECKING:
    from onrecord.ledger.query import RunRow
    from onrecord.workspace import Workspace


@click.command()
@click.option("--older-than", type=Duration(), required=True, metavar="TIME", help="Ended longer ago: 12h, 90d.")
@click.option("-e", "--experiment", help="Only runs of this experiment.")
@click.option("-s", "--status", help="Only runs in this state, for example Failed.")
@click.option("--files", is_flag=True, help="Also their files, sources and folders.")
@click.option("-n", "--dry-run", is_flag=True, help="Only list them.")
@yes_option
@json_option
def command(
    older_than: float, experiment: str | None, status: str | None, files: bool, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Erase runs that ended long ago, as `onrecord erase` does it; lists them first."""
    workspace = open_workspace()
    limit = int((time.time() - older_than) * 1e6)
    rows = [
        row
        for row in workspace.query.runs(experiment=experiment, status=state_named(status))
        if row.ended and not row.erased and (row.ended_at or row.created_at) < limit
    ]
    if files:
        rows = _without_models(workspace, rows)
    if not as_json:
        _list(rows)
    objects = freed = 0
    if rows and not dry_run:
        confirm(f"erase {counted(len(rows), 'run')}{' with their files' if files else ''}", yes)
        from onrecord.erasure import erase_runs

        done = erase_runs(workspace, [row.run_id for row in rows], files=files, reason="retention")
        objects, freed = done.objects, done.bytes
        for problem in done.problems:
            narrate(printable(problem))
    if as_json:
        runs = [row.run_id for row in rows]
        print_json({"runs": runs, "erased": bool(rows) and not dry_run, "objects": objects, "bytes": freed})
    elif rows and not dry_run:
        gone = f", {counted(objects, 'object')} ({size(freed)})" if files else ""
        narrate(f"erased {counted(len(rows), 'run')}{gone}")


def _without_models(workspace: Workspace, rows: list[RunRow]) -> list[RunRow]:
    from onrecord.model_registry import models

    of_models = {model.run for model in models(workspace)}
    kept = [row for row in rows if row.run_id in of_models]
    if kept:
        narrate(f"kept: {counted(len(kept), 'run')} whose files models are made of; onrecord models ls")
    return [row for row in rows if row.run_id not in of_models]


def _list(rows: list[RunRow]) -> None:
    if not rows:
        narrate("no run ended so long ago")
    cells = [[row.run_id, row.status, ago(row.ended_at or row.created_at), printable(row.display_name)] for row in rows]
    for line in columns(cells):
        print("  ".join(line))
