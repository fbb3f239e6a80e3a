"""`onrecord pull`."""

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
    """Bring files and sources of runs (default: all) that this workspace lacks from REMOTE, where they were pushed to.

    For a history that came back from a backup without its files. Every file is checked against the history.
    """
    from onrecord.copying import pull

    workspace = open_workspace()
    found = [workspace.get_run(run).id for run in runs] or None
    with progress_of("receiving") as progress:
        done = pull(workspace, remote, found, progress=progress)
    if as_json:
        print_json({"remote": remote, **done._asdict()})
    else:
        narrate(printable(f"received {counted(done.objects, 'object')} ({size(done.bytes)}) from {remote}"))
