"""The source of a run, or why there is none."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from onrecord.documents import iso
from onrecord.ledger.events import PayloadErased, SnapshotTaken
from onrecord.run_errors import NothingKnown
from onrecord.workspace import Workspace

if TYPE_CHECKING:
    from onrecord.run_snapshot import RunSnapshot
    from onrecord.snapshot.take import Snapshot

_SNAPSHOT_ID = re.compile(r"[0-9a-f]{64}")


def snapshot_of_run(run: RunSnapshot) -> str:
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


def take_source(workspace: Workspace, run_id: str, path: Path) -> Snapshot:
    """Snapshot a folder, or a folder with nothing but a file, and put on record that it is the source of a run."""
    from onrecord.snapshot.take import take_snapshot
    from onrecord.submission import snapshot_of

    # What the snapshot finds stored already must not be erased with another run before this one refers to it.
    with workspace.store.in_use(), tempfile.TemporaryDirectory(prefix="onrecord-") as alone:
        if path.is_file():
            shutil.copy2(path, alone)
            taken = take_snapshot(Path(alone), workspace.store)
        else:
            taken = snapshot_of(workspace, path.resolve())
        event = SnapshotTaken(
            snapshot_id=taken.snapshot_id,
            snapshot={"files": taken.files, "bytes": taken.bytes, "bytes_stored": taken.bytes_stored},
        )
        workspace.journal.append(run_id, [event])
    return taken


def is_snapshot_id(text: str) -> bool:
    """Whether a text has the form of a snapshot's id; no run's id has it."""
    return _SNAPSHOT_ID.fullmatch(text) is not None


def snapshot_named(workspace: Workspace, text: str) -> str:
    """The id of the snapshot that a text names: its own, or that of a run. Raises UnknownRun, NothingKnown."""
    return text if is_snapshot_id(text) else snapshot_of_run(workspace.get_run(text))
