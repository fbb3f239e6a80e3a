"""`onrecord archive`."""

from __future__ import annotations

import click

from onrecord.cli.archiving import tell, what_is_named
from onrecord.cli.common import complete_run, json_option


@click.command()
@click.argument("runs", metavar="[RUN]...", nargs=-1, shell_complete=complete_run)
@click.option("-e", "--experiment", "experiments", multiple=True, help="All runs so far of an experiment; repeatable.")
@json_option
def command(runs: tuple[str, ...], experiments: tuple[str, ...], as_json: bool) -> None:
    """Leave runs out of lists; everything about them stays. `onrecord ls --archived` lists them.

    An experiment that is archived is active again as soon as it has a new run.
    """
    found, named = what_is_named(runs, experiments)
    for run in found:
        run.archive()
    for experiment in named:
        experiment.archive()
    tell("archived", found, named, as_json)
