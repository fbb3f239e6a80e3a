"""`onrecord pull`."""

from __future__ import annotations

import click

from onrecord.cli.common import complete_run, json_option, open_workspace
from onrecord.cli.progress import progress_of
from onrecord.cli.remote_problems import RemoteProblems


@click.command()
@click.argument("remote")
@click.argument("runs", nargs=-1, metavar="[RUN]...", shell_complete=complete_run)
@json_option
def command(remote: str, runs: tuple[str, ...], as_json: bool) -> int:
    """Bring files and sources of runs (default: all) that this workspace lacks from REMOTE, where they were pushed to.

    For a history that came back from a backup without its files. Every file is checked against the history; what is
    damaged or lacking there is named, exit code 1, and the rest comes nevertheless.
    """
    from onrecord.copying import pull

    workspace, problems = open_workspace(), RemoteProblems(remote, as_json)
    found = [workspace.get_run(run).id for run in runs] or None
    with progress_of("receiving") as progress:
        done = pull(workspace, remote, found, progress=progress, tell=problems.tell)
    return problems.report({"received": done})
