"""`onrecord erase`."""

from __future__ import annotations

import click

from onrecord.cli.common import confirm, json_option, open_run, print_json, run_argument, yes_option
from onrecord.wording import counted, narrate, printable, size


@click.command()
@run_argument
@click.option("--files", is_flag=True, help="Also its files, its source and its folder.")
@click.option("--experiment-too", is_flag=True, help="Also the name of its experiment.")
@click.option("--reason", default="", metavar="TEXT", help="Why; this is kept.")
@yes_option
@json_option
def command(run: str, files: bool, experiment_too: bool, reason: str, yes: bool, as_json: bool) -> None:
    """Erase what is known of a run that has ended: arguments, tags, metrics, errors.

    That it was there, when, and how it ended stays, and every proof keeps checking. Files that another run has too
    stay. Without --files, the files stay where they are, and cannot be found by the run any more.
    """
    found = open_run(run)
    row = found.workspace.query.run(found.id)
    name = f"{printable(row.display_name)} ({row.run_id}, {row.status})"
    confirm(f"erase {name} with its files and its source" if files else f"erase {name} and leave its files", yes)
    from onrecord.erasure import erase_runs

    done = erase_runs(found.workspace, [found.id], files=files, reason=reason, experiment_too=experiment_too)
    for problem in done.problems:
        narrate(printable(problem))
    count = done.events[found.id]
    if as_json:
        print_json({"run_id": found.id, "events": count, "objects": done.objects, "bytes": done.bytes})
    elif count == 0:
        narrate(f"run {found.id} was erased before; nothing was left of it")
    else:
        freed = f", {counted(done.objects, 'object')} ({size(done.bytes)})" if files else ""
        narrate(f"erased {counted(count, 'event')}{freed} of run {found.id}")
