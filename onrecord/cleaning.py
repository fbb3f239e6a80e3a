"""A run's working folder, removed once all that belongs into the history is there."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from onrecord.capture import Capture
from onrecord.conductor_process import take_lock
from onrecord.kept_folders import FOLDERS
from onrecord.ledger.errors import RunNotEnded

if TYPE_CHECKING:
    from onrecord.ledger.events import Event
    from onrecord.workspace import Workspace

# What the conductor still has to do after it sealed the run.
_CONDUCTOR_SECONDS = 10.0


def clean(workspace: Workspace, run_id: str) -> None:
    """Remove the working copy of a run that has ended. Raises RunNotEnded, DiskFull, OSError; then it stays."""
    row, folder = workspace.query.run(run_id), workspace.layout.run(run_id)
    if row.ended and not folder.work.exists():
        return
    deadline = time.monotonic() + _CONDUCTOR_SECONDS
    while (lock := take_lock(folder.lock) if row.ended else None) is None:
        if not row.ended or time.monotonic() > deadline:
            raise RunNotEnded(
                f"run {run_id} is {row.status}, and its working folder is in use",
                why="its conductor is still at work in it" if row.ended else "it has not ended",
                next_step=f"run.wait_for_completion() first, or onrecord cancel {run_id}",
                run_id=run_id,
                status=row.status,
            )
        time.sleep(0.02)
    try:
        if not row.erased:
            _take_what_is_missing(workspace, run_id)
        shutil.rmtree(folder.work)
    finally:
        os.close(lock)


def _take_what_is_missing(workspace: Workspace, run_id: str) -> None:
    """A conductor that found no room ends its run with a warning, and leaves here what it could not keep."""
    folder = workspace.layout.run(run_id)

    def record(events: Sequence[Event]) -> None:
        workspace.journal.append(run_id, events)

    kept = (*FOLDERS, *workspace.query.config(run_id).get("directories_to_watch", ()))
    with workspace.store.in_use():
        capture = Capture(folder.work, workspace.store, record, kept)
        capture.already_recorded(workspace.query.files(run_id))
        # What is not there was large and given up, or lies elsewhere.
        capture.look(final=True, removals=False)
