"""Runs that the calling process is: begun in a notebook or in a script that was started by hand."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from onrecord.tag_names import checked_tags

if TYPE_CHECKING:
    from onrecord.interactive_start import Source
    from onrecord.run import Run
    from onrecord.workspace import Workspace


class ExperimentLogging:
    """`start_logging`, for an experiment of a workspace."""

    workspace: Workspace
    name: str

    def start_logging(
        self,
        name: str | None = None,
        run_id: str | None = None,
        outputs: str | os.PathLike[str] | bool | None = None,
        snapshot_directory: str | os.PathLike[str] | None = ".",
        display_name: str | None = None,
        description: str | None = None,
        tags: Mapping[str, object] | None = None,
    ) -> Run:
        """Begin a run that this very process is; `with experiment.start_logging() as run:` ends it too.

        First the folder `snapshot_directory` is snapshotted and git asked about it, as for a submitted run; None
        leaves both out. Of `outputs/` and `logs/` in the current folder what is new goes into the history while the
        run is open; `outputs` names another folder, False none. A process that is killed leaves a run that has Failed.

        Returns a Run with `complete()`, `fail()` and `cancel()`. Raises BadTag, BadOutputs, BadRunId, RunExists, the
        snapshot's and the ledger's errors; then nothing was recorded.
        """
        from onrecord.interactive_folders import kept_folders
        from onrecord.interactive_start import Source, Wanted, begin
        from onrecord.run_ids import checked_new_id

        # As they are now, whatever becomes of the current folder.
        source = None if snapshot_directory is None else Path(snapshot_directory).absolute()
        wanted = Wanted(
            checked_new_id(run_id),
            self.name,
            display_name or name or "",
            checked_tags(tags or {}),
            kept=kept_folders(outputs, default=True),
            details={"source_directory": str(source or "")},
        )
        found = Source()

        def look() -> Source:
            nonlocal found
            found = Source() if source is None else look_at_source(self.workspace, source)
            return found

        run = begin(self.workspace, [wanted], look)[0]
        run.snapshot = found.snapshot
        if description:
            run.description = description
        for warning in found.snapshot.warnings if found.snapshot is not None else ():
            for line in warning.split("\n"):
                print(f"onrecord: {line}", file=sys.stderr)
        return run


def look_at_source(workspace: Workspace, source: Path, progress: Callable[[int, int], None] | None = None) -> Source:
    """Snapshot a folder and ask git about it. Raises what `snapshot_of` raises, and what `progress` does."""
    from onrecord.interactive_start import Source
    from onrecord.submission import git_question, patch_events, snapshot_of

    facts = git_question(workspace, source)
    snapshot = snapshot_of(workspace, source, progress=progress)
    answer = facts.answer()
    return Source(snapshot, answer.properties, patch_events(workspace, answer))
