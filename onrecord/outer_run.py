"""The run whose script this process belongs to, and what such a process may not do itself.

When a script has ended, its supervisor ends everything that it started: so that no run that was submitted from inside
another one is ended with it, its conductor is never started from inside. It waits as Queued, and the conductor of the
outer run, which is no part of that script's tree, is woken to start it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from onrecord.script_variables import RUN_ID
from onrecord.workspace import VARIABLE

if TYPE_CHECKING:
    from onrecord.workspace import Workspace


def outer_run(workspace: Workspace) -> str | None:
    """The id of the run of this workspace whose script this process belongs to, None outside of any.

    A variable that outlived its run, in a shell that was started from it, means nothing.
    """
    run_id, root = os.environ.get(RUN_ID), os.environ.get(VARIABLE)
    if not run_id or not root:
        return None
    from onrecord.ledger.errors import UnknownRun

    try:
        # The last one to be asked costs most.
        is_here = os.path.samefile(root, workspace.layout.root)  # noqa: PTH121
        return run_id if is_here and not workspace.query.run(run_id).ended else None
    except (OSError, UnknownRun):
        return None


def wake(workspace: Workspace, run_id: str) -> None:
    """Have the conductor of a run start what waits; where it has died, the next command outside of any run does."""
    try:
        workspace.layout.run(run_id).wake.touch()
    except OSError:
        # Its folder is gone, or there is no room: its conductor looks again when its script has ended.
        return
