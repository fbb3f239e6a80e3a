"""`onrecord restore`."""

from __future__ import annotations

import re
from pathlib import Path

import click

from onrecord.cli.common import complete_run, json_option, open_workspace, print_json
from onrecord.cli.text import narrate, printable


@click.command()
@click.argument("what", metavar="SNAPSHOT|RUN", shell_complete=complete_run)
@click.argument("destination", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Write into a folder that is not empty.")
@json_option
def command(what: str, destination: Path, force: bool, as_json: bool) -> None:
    """Write a snapshot, or the source of a run as it was at submit, into the folder DESTINATION."""
    from onrecord.snapshot.restore import restore_snapshot

    workspace = open_workspace()
    is_snapshot = re.fullmatch(r"[0-9a-f]{64}", what) is not None
    snapshot_id = what if is_snapshot else str(workspace.get_run(what).get_snapshot_id())
    files = restore_snapshot(workspace.store, snapshot_id, destination, force=force)
    if as_json:
        print_json({"snapshot_id": snapshot_id, "path": str(destination.absolute()), "files": files})
    else:
        narrate(printable(f"wrote {files} files into {destination}"))
