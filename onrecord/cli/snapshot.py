"""`onrecord snapshot`."""

from __future__ import annotations

from pathlib import Path

import click

from onrecord.cli.common import (
    default_excludes_option,
    json_option,
    narrate_taken,
    open_workspace,
    print_json,
    rehash_option,
)
from onrecord.cli.progress import files_progress_of
from onrecord.wording import counted, narrate, size


@click.command()
@click.argument("folder", default=".", type=click.Path(path_type=Path))
@default_excludes_option
@rehash_option
@json_option
def command(folder: Path, default_excludes: bool, rehash: bool, as_json: bool) -> None:
    """Snapshot FOLDER (default: the current one) into the workspace and print the snapshot's id."""
    from onrecord.snapshot.ignore import Rules
    from onrecord.submission import snapshot_of

    workspace, rules = open_workspace(), Rules(defaults=default_excludes)
    with workspace.store.in_use():
        with files_progress_of("snapshotting") as progress:
            taken = snapshot_of(workspace, folder.absolute(), rules=rules, rehash=rehash, progress=progress)
        # No run refers to it: its grace period begins now, also where all of it was stored long ago.
        workspace.store.freshen(taken.snapshot_id)
    narrate_taken(taken)
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
    narrate(f"{counted(taken.files, 'file')}, {size(taken.bytes)}; stored {size(taken.bytes_stored)}")
