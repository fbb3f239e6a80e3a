"""A run that goes on from another one: the outputs of that run, as the history has them, in a folder of its own."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from onrecord.errors import OnRecordError
from onrecord.workspace import Workspace

if TYPE_CHECKING:
    from onrecord.run import Run

_OUTPUTS = "outputs/"


class CannotResume(OnRecordError):
    """A run that no other can go on from. Attribute: `run_id`."""


def run_to_resume(workspace: Workspace, given: Run | str) -> str:
    """The id of the run that is meant, which has outputs. Raises CannotResume, UnknownRun, AmbiguousRun."""
    if not isinstance(given, str):
        if given.workspace.path.resolve() != workspace.path.resolve():
            raise CannotResume(
                f"run {given.id} belongs to the workspace in {given.workspace.path}",
                why=f"this job is submitted to the one in {workspace.path}",
                next_step="onrecord export there and onrecord import here, then resume from it",
                run_id=given.id,
            )
        given = given.id
    run_id = workspace.query.find(given)
    if not _outputs(workspace, run_id):
        row = workspace.query.run(run_id)
        why = "what is known of it was erased" if row.erased else f"it is {row.status}, and wrote nothing into outputs/"
        raise CannotResume(
            f"run {run_id} has no outputs in the history to go on from",
            why=why,
            next_step="onrecord ls --status Completed; onrecord files RUN lists what a run has",
            run_id=run_id,
        )
    return run_id


def bring_outputs(workspace: Workspace, run_id: str, folder: Path) -> None:
    """Copy the outputs of a run, each verified, into `folder`, in place of what is there. Raises the store's errors."""
    take_away(folder)
    folder.mkdir()
    for name, digest in _outputs(workspace, run_id).items():
        place = folder / name
        if not Path(os.path.normpath(place)).is_relative_to(folder):
            raise CannotResume(
                f"run {run_id} has a file {name!r}", why="its name leads out of any folder it is copied to",
                next_step=f"onrecord files {run_id}", run_id=run_id,
            )  # fmt: skip
        place.parent.mkdir(parents=True, exist_ok=True)
        workspace.store.copy_to(digest, place)


def take_away(folder: Path) -> None:
    """Remove such a folder; the history has what is in it."""
    shutil.rmtree(folder, ignore_errors=True)


def _outputs(workspace: Workspace, run_id: str) -> dict[str, str]:
    """Contents by name below `outputs/`."""
    rows = workspace.query.files(run_id)
    return {row.name[len(_OUTPUTS) :]: row.digest for row in rows if row.name.startswith(_OUTPUTS)}
