"""`onrecord push`."""

from __future__ import annotations

import click

from onrecord.cli.common import complete_run, json_option, open_workspace
from onrecord.cli.progress import progress_of
from onrecord.cli.remote_problems import RemoteProblems


@click.command()
@click.argument("remote")
@click.argument("runs", nargs=-1, metavar="[RUN]...", shell_complete=complete_run)
@click.option("--check", is_flag=True, help="Then read all of it there again, and compare it with its addresses.")
@json_option
def command(remote: str, runs: tuple[str, ...], check: bool, as_json: bool) -> int:
    """Send files and sources of runs (default: all) to REMOTE, as far as it lacks them.

    REMOTE is ssh://host/folder or host:folder (the host needs python3, and nothing of onrecord), s3://bucket/prefix
    (with the extra onrecord[remote]), or a folder. The history itself is copied with onrecord backup or export.
    """
    from onrecord.copying import check_remote, push

    workspace, problems = open_workspace(), RemoteProblems(remote, as_json)
    found = [workspace.get_run(run).id for run in runs] or None
    with progress_of("sending") as progress:
        done = push(workspace, remote, found, progress=progress)
    if not check:
        return problems.report({"sent": done})
    with progress_of("reading there") as progress:
        right = check_remote(workspace, remote, found, progress=progress, tell=problems.tell)
    return problems.report({"sent": done, "found right": right})
