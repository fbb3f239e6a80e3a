"""`onrecord import`."""

from __future__ import annotations

from pathlib import Path

import click

from onrecord.cli.common import json_option, open_workspace, print_json
from onrecord.cli.progress import progress_of
from onrecord.wording import counted, narrate


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@json_option
def command(file: Path, as_json: bool) -> None:
    """Take in the runs of FILE, which onrecord export wrote; those that are here already are left as they are.

    All of FILE is checked first: nothing is written when anything in it is not as it was exported.
    """
    from onrecord.importing import import_bundle

    with progress_of("reading") as progress:
        done = import_bundle(open_workspace(), file, progress=progress)
    if as_json:
        print_json(done._asdict())
        return
    for run_id in done.imported:
        narrate(f"imported {run_id}")
    for run_id in done.present:
        narrate(f"{run_id} is here already")
    added = [(len(done.imported), "run"), (done.events, "event"), (done.objects, "object")]
    narrate(f"{', '.join(counted(*each) for each in added)} added; from {done.origin}")
