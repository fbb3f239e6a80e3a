"""What the ends of its children mean for a run that comes to its own.

A failed child is always named: in a warning, or, where the run was to fail with its children, as why it failed. Such a
run, whose script has ended well, waits for the children that have not ended, because its verdict depends on them; any
other one ends at once and says which they were.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs

from onrecord.documents import status_of
from onrecord.ledger.events import Event, RunCanceled, RunCompleted, RunFailed
from onrecord.ledger.states import FAILED, NOT_RESPONDING

if TYPE_CHECKING:
    from onrecord.ledger.query import RunRow
    from onrecord.workspace import Workspace

CHILD_FAILED = "ChildFailed"
_NAMED = 5
_MOST_CHARACTERS = 3000
_LOOK_SECONDS = 0.5
# A child that nobody conducts is given a conductor at each look; one that gets none for so long will not end.
_PATIENCE_SECONDS = 30.0


def with_children(workspace: Workspace, run_id: str, event: Event) -> Event:
    """The run's last event, which would be `event`, with what its children add; waits for them where it has to.

    A request to cancel, which the run's folder tells of, ends the waiting.
    """
    strict = bool(workspace.query.config(run_id).get("fail_if_child_fails")) and isinstance(event, RunCompleted)
    if strict and not wait_for_children(workspace, run_id):
        warnings = [*_warnings_of(event), *warnings_about_children(workspace, run_id)]
        message = "its script had ended; it was canceled while it waited for its children"
        return RunCanceled(message=message, exit_code=0, warnings=warnings)
    return verdict(workspace, run_id, event, fail_if_child_fails=strict)


def verdict(workspace: Workspace, run_id: str, event: Event, *, fail_if_child_fails: bool) -> Event:
    """The run's last event with what its children add, as they are now."""
    failed = _failed(workspace, run_id)
    if isinstance(event, RunCompleted) and fail_if_child_fails:
        failed += workspace.query.unfinished_children(run_id)
        if failed:
            error = _error(workspace, run_id, failed)
            return RunFailed(error=error, exit_code=event.exit_code, warnings=event.warnings)
        return event
    if not isinstance(event, RunCompleted | RunFailed | RunCanceled):
        return event
    return attrs.evolve(event, warnings=[*event.warnings, *warnings_about_children(workspace, run_id)])


def warnings_about_children(workspace: Workspace, run_id: str) -> list[str]:
    """Which of its children have failed, and which have not ended; empty where all is well."""
    failed, unfinished = _failed(workspace, run_id), workspace.query.unfinished_children(run_id)
    warnings = []
    if failed:
        warnings.append(f"{_of_its_children(workspace, run_id, failed)} failed: {_names(failed)}")
    if unfinished:
        counted = _of_its_children(workspace, run_id, unfinished)
        warnings.append(f"{counted} had not ended when it did: {_names(unfinished)}")
    return warnings


def wait_for_children(workspace: Workspace, run_id: str) -> bool:
    """Wait until its children have ended, taking care of them meanwhile; False where its cancelation was asked for."""
    folder, alone_since = workspace.layout.run(run_id), time.monotonic()
    while (unfinished := workspace.query.unfinished_children(run_id)) and not folder.cancel.exists():
        # Some may wait for the room that this run's script had.
        workspace.recover(0)
        now = time.monotonic()
        if any(status_of(workspace, row) != NOT_RESPONDING for row in unfinished):
            alone_since = now
        elif now - alone_since > _PATIENCE_SECONDS:
            return True
        time.sleep(_LOOK_SECONDS)
    # Whoever cancels all generations may end the last child between two looks.
    return not folder.cancel.exists()


def _failed(workspace: Workspace, run_id: str) -> list[RunRow]:
    return workspace.query.children(run_id, FAILED)


def _error(workspace: Workspace, run_id: str, failed: list[RunRow]) -> dict[str, str]:
    message = f"{_of_its_children(workspace, run_id, failed)} failed: {_names(failed)}"
    lines = []
    for row in failed:
        why = (row.error or {}).get("message") or ("it does not respond" if not row.ended else "no reason was recorded")
        lines.append(f"{row.run_id} ({row.display_name}): {why}")
    return {"code": CHILD_FAILED, "message": message, "details": "\n".join(lines)[:_MOST_CHARACTERS]}


def _of_its_children(workspace: Workspace, run_id: str, some: list[RunRow]) -> str:
    count = sum(workspace.query.children_by_status(run_id).values())
    return f"{len(some)} of its {count} children" if count > 1 else "its only child"


def _names(rows: list[RunRow]) -> str:
    # The oldest first, as they were started.
    named = [f"{row.run_id} ({row.display_name})" for row in reversed(rows)][:_NAMED]
    more = len(rows) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")


def _warnings_of(event: Event) -> list[str]:
    return list(getattr(event, "warnings", ()))
