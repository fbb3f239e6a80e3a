"""`onrecord reactivate`."""

from __future__ import annotations

import click

from onrecord.cli.archiving import tell, what_is_named
from onrecord.cli.common import complete_run, json_option


@click.command()
@click.argument("runs", metavar="[RUN]...", nargs=-1, shell_complete=complete_run)
@click.option("-e", "--experiment", "experiments", multiple=True, help="An experiment; repeatable.")
@json_option
def command(runs: tuple[str, ...], experiments: tuple[str, ...], as_json: bool) -> None:
    """Have archived runs and experiments in every list again."""
    found, named = what_is_named(runs, experiments)
    for run in found:
        run.reactivate()
    for experiment in named:
        experiment.reactivate()
    tell("reactivated", found, named, as_json)
