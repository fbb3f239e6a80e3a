"""`onrecord restore`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from onrecord.cli.common import complete_run, json_option, open_workspace, print_json
from onrecord.cli.progress import files_progress_of
from onrecord.errors import OnRecordError
from onrecord.wording import counted, narrate, printable
from onrecord.workspace import Workspace


@click.command()
@click.argument("what", metavar="SNAPSHOT|RUN", shell_complete=complete_run)
@click.argument("destination", type=click.Path())
@click.option("--path", default="", help="Only this file or folder of it.")
@click.option("--force", is_flag=True, help="Write into a folder that is not empty; replace files in the way.")
@json_option
def command(what: str, destination: str, path: str, force: bool, as_json: bool) -> None:
    """Write a snapshot, or the source of a run as it was at submit, into the folder DESTINATION.

    With --path a file is written to the file DESTINATION, or into it where that is a folder, and a folder's
    contents into DESTINATION.
    """
    from onrecord.run_source import snapshot_named
    from onrecord.snapshot.manifest import read_root
    from onrecord.snapshot.part import restore_part

    workspace = open_workspace()
    _refuse_own_folder(workspace, destination)
    snapshot_id = snapshot_named(workspace, what)
    into = destination.endswith(("/", os.sep))
    root = read_root(workspace.store, snapshot_id)
    # How much there is in a part of it is not known before it has been written.
    totals = (0, 0) if path else (root.files, root.size)
    with files_progress_of("restoring", *totals) as progress:
        done = restore_part(
            workspace.store, snapshot_id, path, Path(destination), force=force, into=into, progress=progress
        )
    # A submit counts files, and so is the same number said here.
    links = _links_in(workspace, snapshot_id, path) if path else done.files - root.files
    if as_json:
        counts = {"files": done.files - links, "links": links}
        print_json({"snapshot_id": snapshot_id, "path": str(done.path.absolute()), **counts})
    elif done.path.is_dir() and not done.path.is_symlink():
        more = f" and {counted(links, 'link')}" if links else ""
        narrate(printable(f"wrote {counted(done.files - links, 'file')}{more} into {destination}"))
    else:
        narrate(printable(f"wrote {done.path}"))


def _links_in(workspace: Workspace, snapshot_id: str, path: str) -> int:
    from onrecord.snapshot.manifest import walk_snapshot

    part = os.fsencode(os.path.normpath(path)).strip(b"/")
    entries = (entry for entry in walk_snapshot(workspace.store, snapshot_id) if entry.kind == "link")
    return sum(entry.path == part or entry.path.startswith(part + b"/") for entry in entries)


def _refuse_own_folder(workspace: Workspace, destination: str) -> None:
    root = workspace.layout.root.resolve()
    if Path(destination).resolve().is_relative_to(root):
        raise OnRecordError(
            f"{destination} is a part of the workspace's own folder {root}",
            why="what is written there could take the place of the history or of an object",
            next_step="name a folder outside of it",
        )
