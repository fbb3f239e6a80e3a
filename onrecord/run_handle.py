"""A run by its workspace and its id: what everything that can be done with a run stands on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onrecord.workspace import Workspace

if TYPE_CHECKING:
    from onrecord.ledger.query import RunRow


class RunHandle:
    """One run of a workspace. Cheap to make; every question reads the ledger as it is now."""

    def __init__(self, workspace: Workspace, run_id: str) -> None:
        self.workspace = workspace
        self.id = run_id

    def _row(self) -> RunRow:
        return self.workspace.query.run(self.id)
