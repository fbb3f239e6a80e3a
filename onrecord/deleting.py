"""Runs deleted: erased with their files, and left out of lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from onrecord.erasure import Erased, erase_runs
from onrecord.errors import OnRecordError
from onrecord.ledger.events import RunArchived
from onrecord.submission import user_name
from onrecord.workspace import Workspace

if TYPE_CHECKING:
    from onrecord.experiment import Experiment


def delete_runs(workspace: Workspace, run_ids: Sequence[str], *, reason: str = "") -> Erased:
    """Erase runs with their files and archive them; deleting again does what was left undone.

    Raises RunNotEnded and RunHasModels before anything is erased; ErasureUnfinished when old copies are left.
    """
    try:
        return erase_runs(workspace, run_ids, files=True, reason=reason)
    finally:
        # After it, so that no run is hidden that was refused; and also where only copies of what was erased are left.
        for run_id in run_ids:
            row = workspace.query.run(run_id)
            if row.erased and row.archived_at is None:
                workspace.journal.append(run_id, [RunArchived(by=user_name())])


class UnknownExperiment(OnRecordError):
    """No run is in an experiment of this name. Attributes: `name`, `candidates`."""


def delete_experiment(workspace: Workspace, name: str, *, reason: str = "") -> int:
    """Delete every run of an experiment, and archive it; how many runs. Raises as `delete_runs`, UnknownExperiment."""
    experiment = experiment_named(workspace, name)
    runs = [row.run_id for row in workspace.query.runs(experiment=name)]
    delete_runs(workspace, runs, reason=reason)
    experiment.archive()
    return len(runs)


def experiment_named(workspace: Workspace, name: str) -> Experiment:
    """The experiment of this name, which has runs. Raises UnknownExperiment."""
    from onrecord.experiment import Experiment

    known = workspace.query.experiments()
    if name in known:
        return Experiment(workspace, name)
    from difflib import get_close_matches

    near = get_close_matches(str(name), known)
    raise UnknownExperiment(
        f"there is no experiment {name!r}",
        why=f"near ones: {', '.join(near)}" if near else "no run is in it",
        next_step="onrecord ls",
        name=name,
        candidates=near,
    )
