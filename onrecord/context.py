"""Which run a script belongs to."""

from __future__ import annotations

import os
from pathlib import Path

from onrecord.offline_run import OfflineRun
from onrecord.run import Run
from onrecord.run_errors import NotInARun
from onrecord.script_variables import RUN_ID
from onrecord.workspace import VARIABLE, Workspace, WorkspaceNotFound


def current_run(allow_offline: bool) -> Run | OfflineRun:
    """The run of the environment variables that a conductor sets, or one in memory."""
    run_id, root = os.environ.get(RUN_ID), os.environ.get(VARIABLE)
    if run_id and root:
        try:
            return Run(Workspace(Path(root).parent), run_id)
        except WorkspaceNotFound:
            if not allow_offline:
                raise
    if not allow_offline:
        raise NotInARun(
            "this script was not started by onrecord, so there is no run to record into",
            next_step="onrecord run SCRIPT   (or Run.get_context() without allow_offline=False)",
        )
    return OfflineRun()
