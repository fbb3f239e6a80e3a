"""`onrecord push`."""

from __future__ import annotations

import click

from onrecord.cli.common import complete_run, json_option, open_workspace, print_json
from onrecord.cli.progress import progress_of
from onrecord.cli.text import counted, narrate, printable, size


@click.command()
@click.argument("remote")
@click.argument("runs", nargs=-1, metavar="[RUN]...", shell_complete=complete_run)
@json_option
def command(remote: str, runs: tuple[str, ...], as_json: bool) -> None:
    """Send files and sources of runs (default: all) to REMOTE, as far as it lacks them.

    REMOTE is ssh://host/folder or host:folder (the host needs python3, and nothing of onrecord), s3://bucket/prefix
    (with the extra onrecord[remote]), or a folder. The history itself is copied with onrecord backup or export.
    """
    from onrecord.copying import push

    workspace = open_workspace()
    found = [workspace.get_run(run).id for run in runs] or None
    with progress_of("sending") as progress:
        done = push(workspace, remote, found, progress=progress)
    if as_json:
        print_json({"remote": remote, **done._asdict()})
    else:
        narrate(printable(f"sent {counted(done.objects, 'object')} ({size(done.bytes)}) to {remote}"))
