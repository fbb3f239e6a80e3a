"""What is known of a run: its state, its warnings, its logs, and everything in one document."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from onrecord.run_files import RunFiles
from onrecord.run_labels import RunLabels


class RunDetails(RunFiles, RunLabels):
    """Read from the ledger at each question."""

    @property
    def status(self) -> str:
        """NotStarted, Queued, Preparing, Running, CancelRequested, Finalizing, Completed, Failed, Canceled,
        or NotResponding where nobody conducts it."""
        return self.get_status()

    def get_status(self) -> str:
        """The same as `status`."""
        from onrecord.documents import status_of

        return status_of(self.workspace, self._row())

    def get_detailed_status(self) -> dict[str, str]:
        """`status`, and `details`: what it waits for, why it failed, or nothing."""
        from onrecord.documents import detailed_status_document

        return detailed_status_document(self)

    def has_ended(self) -> bool:
        """Whether it is Completed, Failed or Canceled."""
        return self._row().ended

    def get_details(self) -> dict[str, Any]:
        """Everything about it, with Azure ML's names where it has one (runId, status, startTimeUtc …)."""
        from onrecord.documents import details_document

        return details_document(self)

    def get_details_with_logs(self) -> dict[str, Any]:
        """The same with the text of each log in `logFiles`, also while the run goes on; at most the last 1 MiB each."""
        from onrecord.run_logs import texts_of_logs

        details = self.get_details()
        details["logFiles"] = texts_of_logs(self)
        return details

    def get_all_logs(self, destination: str | os.PathLike[str] | None = None) -> list[Path]:
        """Copy its logs into a folder, by default one with the run's id in the current folder; returns the files.

        Those of a run that goes on as they are now.
        """
        from onrecord.run_logs import copy_logs

        return copy_logs(self, Path(destination if destination is not None else self.id))

    def get_warnings(self) -> list[str]:
        """What its conductor could not do, or what a reader should know; empty until it has ended."""
        row = self._row()
        # The terminal event is the last one before the seal; later facts only add to the reading.
        for recorded in self.workspace.journal.read(self.id, after=max(0, row.sealed - 1)):
            warnings = getattr(recorded.event, "warnings", None)
            if warnings is not None:
                return list(warnings)
        return []

    def get_resources(self) -> dict[str, list[Any]]:
        """What its processes used, a column a quantity, an item a look, in the order of time.

        `time` in microseconds since the epoch, UTC; `elapsed_seconds` since the script's start; `cpu_seconds` of all
        its processes so far, `cpu_percent` of one core since the look before; `rss_bytes`, `threads`, `processes`;
        `read_bytes`, `written_bytes` from and to storage so far; `gpu_percent`, `gpu_memory_bytes`. None where the
        machine did not say. A run of less than a moment may have no look: `onrecord show` has its sums.
        """
        from onrecord.resource_summary import resource_columns

        return resource_columns(self.workspace, self.id)
