"""The source of a run: the snapshot that it was started from, or that was taken for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from onrecord.run_errors import SnapshotExists
from onrecord.run_handle import RunHandle

if TYPE_CHECKING:
    from onrecord.snapshot.take import Snapshot


class RunSnapshot(RunHandle):
    """A run has one source, which never changes."""

    def get_snapshot_id(self) -> str | None:
        """The snapshot of its source: 64 hex digits; None where it has none."""
        return self._row().snapshot_id

    def take_snapshot(self, file_or_folder_path: str | os.PathLike[str]) -> Snapshot:
        """Snapshot a file or a folder as the source of this run, which was started without one.

        Raises SnapshotExists where it has a source, SnapshotError.
        """
        from onrecord.run_source import take_source

        found = self._row().snapshot_id
        if found is not None:
            raise SnapshotExists(
                f"run {self.id} has a source already",
                why=f"it was taken when the run was submitted, and a run has one: snapshot {found}",
                next_step=f"keep more files with the run by writing them to outputs/; onrecord files {self.id}",
                run_id=self.id,
                snapshot_id=found,
            )
        return take_source(self.workspace, self.id, Path(file_or_folder_path))

    def restore_snapshot(
        self, snapshot_id: str | os.PathLike[str] | None = None, path: str | os.PathLike[str] | None = None
    ) -> Path:
        """Write its source as it was at submit into the empty folder `path`; returns the folder.

        By default a folder in the current one that has the snapshot's id as its name. The first argument may be the
        path too: nothing but a snapshot's id is spelled in 64 hex digits. Raises NothingKnown where the run has no
        source, or had one that was erased; the snapshot's errors.
        """
        from onrecord.run_source import is_snapshot_id, snapshot_of_run
        from onrecord.snapshot.restore import restore_snapshot

        given = None if snapshot_id is None else os.fspath(snapshot_id)
        if given is not None and not is_snapshot_id(given):
            given, path = (None if path is None else os.fspath(path)), given
        wanted = given or snapshot_of_run(self)
        destination = Path(path if path is not None else wanted)
        restore_snapshot(self.workspace.store, wanted, destination)
        return destination
