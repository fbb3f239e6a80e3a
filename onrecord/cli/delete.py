"""`onrecord delete`."""

from __future__ import annotations

import click

from onrecord.cli.common import complete_run, confirm, json_option, open_workspace, print_json, yes_option
from onrecord.wording import counted, narrate, printable, size


@click.command()
@click.argument("runs", metavar="[RUN]...", nargs=-1, shell_complete=complete_run)
@click.option("-e", "--experiment", "experiment", help="All runs of this experiment, which is archived too.")
@click.option("--reason", default="", metavar="TEXT", help="Why; this is kept.")
@yes_option
@json_option
def command(runs: tuple[str, ...], experiment: str | None, reason: str, yes: bool, as_json: bool) -> None:
    """Delete runs that have ended: all that is known of them, their files, sources and folders.

    That they were there, when, and how they ended stays, and every proof keeps checking; lists leave them out.
    Files that another run or a model has too stay.
    """
    if not runs and experiment is None:
        raise click.UsageError("Name a RUN, or an --experiment.")
    workspace = open_workspace()
    found = list(dict.fromkeys(workspace.get_run(run) for run in runs))
    of_experiment = None
    if experiment is not None:
        from onrecord.deleting import experiment_named

        of_experiment = experiment_named(workspace, experiment)
        rows = workspace.query.runs(experiment=experiment)
        found = list(dict.fromkeys([*found, *(workspace.get_run(row.run_id) for row in rows)]))
    names = ", ".join(f"{printable(run.display_name)} ({run.id[:10]}, {run.status})" for run in found[:5])
    confirm(f"delete {names if len(found) <= 5 else counted(len(found), 'run')} with files and source", yes)
    from onrecord.deleting import delete_runs

    done = delete_runs(workspace, [run.id for run in found], reason=reason)
    if of_experiment is not None:
        of_experiment.archive()
    for problem in done.problems:
        narrate(printable(problem))
    if as_json:
        print_json({"runs": [run.id for run in found], "objects": done.objects, "bytes": done.bytes})
    else:
        narrate(f"deleted {counted(len(found), 'run')}, {counted(done.objects, 'object')} ({size(done.bytes)})")
