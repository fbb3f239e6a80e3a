"""`onrecord cancel`."""

from __future__ import annotations

import click

from onrecord.cli.common import json_option, open_run, print_json, run_argument
from onrecord.cli.text import narrate


@click.command()
@run_argument
@click.option("-w", "--wait", "waits", is_flag=True, help="Return when the run has ended.")
@json_option
def command(run: str, waits: bool, as_json: bool) -> None:
    """End a run and all its processes: SIGTERM, and SIGKILL ten seconds later."""
    found = open_run(run)
    had_ended = found.has_ended()
    found.cancel()
    if waits:
        found.wait_for_completion(raise_on_error=False)
    if as_json:
        print_json({"run_id": found.id, "status": found.status})
    elif had_ended:
        narrate(f"run {found.id} has ended already: {found.status}")
    else:
        narrate(f"run {found.id} is {found.status}")
