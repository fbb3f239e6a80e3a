"""`onrecord rebuild`."""

from __future__ import annotations

import click

from onrecord.cli.common import json_option, open_workspace, print_json, warn_of_changed_history
from onrecord.cli.text import narrate


@click.command()
@json_option
def command(as_json: bool) -> None:
    """Drop every table that is derived from the events and make it again."""
    workspace = open_workspace()
    warn_of_changed_history(workspace)
    events = workspace.journal.rebuild()
    if as_json:
        print_json({"events": events})
    else:
        narrate(f"replayed {events} events")
