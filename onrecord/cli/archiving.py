"""What `onrecord archive` and `onrecord reactivate` share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from onrecord.cli.common import open_workspace, print_json
from onrecord.wording import counted, narrate, printable

if TYPE_CHECKING:
    from onrecord.experiment import Experiment
    from onrecord.run import Run


def what_is_named(runs: Sequence[str], experiments: Sequence[str]) -> tuple[list[Run], list[Experiment]]:
    """The runs and experiments, all of them found before anything is done."""
    from onrecord.deleting import experiment_named

    if not runs and not experiments:
        raise click.UsageError("Name a RUN, or an --experiment.")
    workspace = open_workspace()
    return [workspace.get_run(run) for run in runs], [experiment_named(workspace, name) for name in experiments]


def tell(done: str, runs: Sequence[Run], experiments: Sequence[Experiment], as_json: bool) -> None:
    """Say what was done."""
    if as_json:
        print_json({"runs": [run.id for run in runs], "experiments": [one.name for one in experiments]})
        return
    names = [run.id[:10] for run in runs] if len(runs) <= 3 else [counted(len(runs), "run")]
    narrate(printable(f"{done} {', '.join([*names, *(f'experiment {one.name}' for one in experiments)])}"))
