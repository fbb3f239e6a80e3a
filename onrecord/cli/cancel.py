"""`onrecord cancel`."""

from __future__ import annotations

import click

from onrecord.cli.common import json_option, open_run, print_json, run_argument
from onrecord.ledger.states import CANCEL_REQUESTED, TERMINAL
from onrecord.run import Run
from onrecord.wording import counted, narrate, printable


@click.command()
@run_argument
@click.option("-w", "--wait", "waits", is_flag=True, help="Return when the run has ended.")
@click.option("--children", is_flag=True, help="Also the runs that were started from it, over all generations.")
@json_option
def command(run: str, waits: bool, children: bool, as_json: bool) -> None:
    """End a run and all its processes: SIGTERM, and SIGKILL ten seconds later."""
    found = open_run(run)
    had_ended, below = found.has_ended(), _unfinished_below(found) if children else []
    found.cancel(children=children)
    if waits:
        for one in (found, *below):
            one.wait_for_completion(raise_on_error=False)
    if as_json:
        told = {"children": [{"run_id": one.id, "status": one.status} for one in below]} if children else {}
        print_json({"run_id": found.id, "status": found.status, **told})
        return
    narrate(f"run {found.id} has ended already: {found.status}" if had_ended else _asked(found))
    for one in below:
        narrate(f"run {one.id} ({printable(one.display_name)}), which was started from it, is {one.status}")
    if not children and (left := _unfinished_below(found)):
        narrate(_left_alone(found, len(left)))


def _asked(run: Run) -> str:
    status = run.status
    if status in (CANCEL_REQUESTED, *TERMINAL):
        return f"run {run.id} is {status}"
    return f"the end of run {run.id} was asked for; it is Canceled when there is room to record that"


def _left_alone(run: Run, count: int) -> str:
    several = count > 1
    went, them = ("were started from it go on", "them") if several else ("was started from it goes on", "it")
    return f"{counted(count, 'run')} that {went}; onrecord cancel --children {run.id} ends {them}"


def _unfinished_below(run: Run) -> list[Run]:
    from onrecord.canceling import unfinished_below

    return [Run(run.workspace, run_id) for run_id in unfinished_below(run.workspace, run.id)]
