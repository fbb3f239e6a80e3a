"""`onrecord snapshot`."""

from __future__ import annotations

from pathlib import Path

import click

from onrecord.cli.common import json_option, open_workspace, print_json
from onrecord.cli.text import narrate, printable, size


@click.command()
@click.argument("folder", default=".", type=click.Path(path_type=Path))
@json_option
def command(folder: Path, as_json: bool) -> None:
    """Snapshot FOLDER (default: the current one) into the workspace and print the snapshot's id."""
    from onrecord.submission import snapshot_of

    taken = snapshot_of(open_workspace(), folder.absolute())
    for skipped in taken.skipped:
        narrate(printable(f"not in the snapshot: {skipped.path} ({skipped.reason})"))
    for warning in taken.warnings:
        narrate(printable(warning))
    if as_json:
        print_json(
            {
                "snapshot_id": taken.snapshot_id,
                "files": taken.files,
                "bytes": taken.bytes,
                "bytes_stored": taken.bytes_stored,
            }
        )
        return
    print(taken.snapshot_id)
    narrate(f"{taken.files} files, {size(taken.bytes)}; stored {size(taken.bytes_stored)}")
