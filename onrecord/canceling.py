"""Asking runs for their end; their conductors see to it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from onrecord.ledger.errors import IllegalTransition, LedgerFull, UnknownRun
from onrecord.ledger.events import CancelRequested
from onrecord.ledger.states import CANCEL_REQUESTED, FINALIZING, may_cancel

if TYPE_CHECKING:
    from onrecord.workspace import Workspace

# A run submits children until it has ended: those that came meanwhile are found by looking again.
_MOST_ROUNDS = 20


def ask_for_end(workspace: Workspace, run_id: str) -> bool:
    """Put the request on record and where the run's conductor finds it at once; False where the run has ended.

    Where there is no room to record it, its processes are ended all the same, and it is Canceled when there is room;
    raises CannotStop where they could not be told. Whoever has asked for all calls `workspace.recover(0)`: a run
    without a conductor is given one to end it.
    """
    try:
        workspace.journal.append(run_id, [CancelRequested(by=f"pid {os.getpid()}")])
    except IllegalTransition:
        # It has ended, is ending, or was asked already, by someone who may have died before the next lines.
        row = workspace.query.run(run_id)
        waits_for_children = row.status == FINALIZING and workspace.query.config(run_id).get("fail_if_child_fails")
        if row.status != CANCEL_REQUESTED and not waits_for_children:
            return False
    except LedgerFull:
        return _stop_without_record(workspace, run_id)
    from onrecord.interactive_finish import cancel_child

    if cancel_child(workspace, run_id):
        return True
    folder = workspace.layout.run(run_id)
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.cancel.touch()
    return True


def _stop_without_record(workspace: Workspace, run_id: str) -> bool:
    from onrecord.preparation import executor_of

    if not may_cancel(workspace.query.run(run_id).status):
        return False
    target = workspace.query.config(run_id)["target"]
    executor_of(workspace, target).stop(workspace.layout.run(run_id).path)
    return True


def ask_for_ends_below(workspace: Workspace, run_id: str) -> list[str]:
    """Ask all runs that were started from this one, over all generations, for their end; returns their ids."""
    seen: set[str] = set()
    asked: list[str] = []
    for _ in range(_MOST_ROUNDS):
        left = [one for one in unfinished_below(workspace, run_id) if one not in seen]
        if not left:
            break
        seen.update(left)
        asked += [one for one in left if ask_for_end(workspace, one)]
    return asked


def unfinished_below(workspace: Workspace, run_id: str) -> list[str]:
    """The runs that were started from it, over all generations, and have not ended: a parent before its children."""
    # Through the unfinished runs of all, which are few, and up their parents.
    known: dict[str, bool] = {run_id: True}
    unfinished = workspace.query.unfinished()[::-1]
    return [row.run_id for row in unfinished if row.parent is not None and _is_below(workspace, row.parent, known)]


def _is_below(workspace: Workspace, run_id: str, known: dict[str, bool]) -> bool:
    """Whether a run is the one that `known` begins with or was started from it; a circle of parents is not."""
    path: list[str] = []
    parent: str | None = run_id
    while parent is not None and parent not in known and parent not in path:
        path.append(parent)
        try:
            parent = workspace.query.run(parent).parent
        except UnknownRun:
            parent = None
    found = parent is not None and known.get(parent, False)
    known.update(dict.fromkeys(path, found))
    return found
