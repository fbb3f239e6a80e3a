"""Which run a script belongs to."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from onrecord.run import Run
from onrecord.run_errors import NotInARun
from onrecord.script_variables import INTERACTIVE_RUN, RUN_ID
from onrecord.workspace import VARIABLE, Workspace, WorkspaceNotFound

if TYPE_CHECKING:
    from onrecord.offline_run import OfflineRun

_offline: OfflineRun | None = None


def current_run(allow_offline: bool) -> Run:
    """The run that this process belongs to: submitted, begun by it or by the process that started it, or by hand."""
    run = _submitted(allow_offline) or _begun_here() or _begun_above()
    if run is not None:
        return run
    if not allow_offline:
        raise NotInARun(
            "this script was not started by onrecord, so there is no run to record into",
            next_step="onrecord run SCRIPT   (or Run.get_context() without allow_offline=False)",
        )
    return _by_hand()


def _submitted(allow_offline: bool) -> Run | None:
    run_id, root = os.environ.get(RUN_ID), os.environ.get(VARIABLE)
    if not run_id or not root:
        return None
    try:
        return Run(Workspace(Path(root).parent), run_id)
    except WorkspaceNotFound:
        if not allow_offline:
            raise
        return None


def _begun_here() -> Run | None:
    # A process that has begun none has not imported what begins them.
    sessions = sys.modules.get("onrecord.interactive_session")
    known = sessions.current() if sessions is not None else None
    return known.handle if known is not None else None


def _begun_above() -> Run | None:
    run_id, _, root = os.environ.get(INTERACTIVE_RUN, "").partition(":")
    if not root:
        return None
    from onrecord.errors import OnRecordError

    try:
        run = Run(Workspace(Path(root).parent), run_id)
        return None if run.has_ended() else run
    except OnRecordError:
        # Its workspace is gone: no reason not to train.
        return None


def _by_hand() -> Run:
    global _offline
    if _offline is None:
        from onrecord.offline_run import OfflineRun

        _offline = OfflineRun()
    return _offline


def _after_fork() -> None:
    if _offline is not None:
        from onrecord.offline_run import after_fork

        after_fork(_offline)


os.register_at_fork(after_in_child=_after_fork)
