"""`onrecord rename`."""

from __future__ import annotations

import click

from onrecord.cli.common import json_option, open_run, print_json, run_argument
from onrecord.wording import narrate, printable


@click.command()
@run_argument
@click.argument("name")
@json_option
def command(run: str, name: str, as_json: bool) -> None:
    """Give a run the display name NAME; an empty one is its experiment's name with its number."""
    found = open_run(run)
    before = found.display_name
    found.display_name = name
    now = found.display_name
    if as_json:
        print_json({"run_id": found.id, "name": now})
    else:
        narrate(printable(f"{before} is now {now}"))
