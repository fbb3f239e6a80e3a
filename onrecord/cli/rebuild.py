"""`onrecord rebuild`."""

from __future__ import annotations

import time

import click

from onrecord.cli.common import json_option, open_workspace, print_json, warn_of_changed_history
from onrecord.cli.progress import progress_of
from onrecord.wording import counted, narrate


@click.command()
@json_option
def command(as_json: bool) -> None:
    """Drop every table that is derived from the events and make it again.

    All or nothing: when it is interrupted, the former tables are there. Runs that want to record something
    meanwhile wait for it.
    """
    workspace = open_workspace()
    warn_of_changed_history(workspace)
    journal, begun = workspace.journal, time.monotonic()
    with progress_of("replaying", "event") as progress:
        events = journal.rebuild(progress)
    seconds = time.monotonic() - begun
    if as_json:
        print_json({"events": events, "seconds": round(seconds, 3)})
    else:
        narrate(f"replayed {counted(events, 'event')} in {seconds:.2f} s")
