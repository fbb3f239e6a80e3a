"""`onrecord rebuild`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from onrecord.cli.common import json_option, open_workspace, print_json, warn_of_changed_history
from onrecord.cli.text import narrate


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
    with _progress() as progress:
        events = journal.rebuild(progress)
    seconds = time.monotonic() - begun
    if as_json:
        print_json({"events": events, "seconds": round(seconds, 3)})
    else:
        narrate(f"replayed {events:,} events in {seconds:.2f} s")


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None] | None]:
    """A bar on stderr where that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("replaying events", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
