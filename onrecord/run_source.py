"""The source of a run, or why there is none."""

from __future__ import annotations

import re

from onrecord.documents import iso
from onrecord.ledger.events import PayloadErased
from onrecord.run import Run
from onrecord.run_errors import NothingKnown
from onrecord.workspace import Workspace

_SNAPSHOT_ID = re.compile(r"[0-9a-f]{64}")


def snapshot_of_run(run: Run) -> str:
    """The id of the snapshot that a run was started from: 64 hex digits. Raises NothingKnown where it has none."""
    snapshot_id = run.get_snapshot_id()
    if snapshot_id:
        return snapshot_id
    erased = [event for event in run.workspace.journal.read(run.id) if isinstance(event.event, PayloadErased)]
    why = f"it was erased on {iso(erased[0].at)}" if erased else "it was not started from a source folder"
    raise NothingKnown(
        f"run {run.id} has no source in the history{' any more' if erased else ''}",
        why=why,
        next_step=f"onrecord show {run.id}",
        run_id=run.id,
    )


def is_snapshot_id(text: str) -> bool:
    """Whether a text has the form of a snapshot's id; no run's id has it."""
    return _SNAPSHOT_ID.fullmatch(text) is not None


def snapshot_named(workspace: Workspace, text: str) -> str:
    """The id of the snapshot that a text names: its own, or that of a run. Raises UnknownRun, NothingKnown."""
    return text if is_snapshot_id(text) else snapshot_of_run(workspace.get_run(text))
