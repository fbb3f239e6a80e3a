"""Runs whose conductor died: found by their free locks, and given a new one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from onrecord.conductor_process import NEXT, ConductorProcess, let_go_on, take_lock
from onrecord.ledger.errors import LedgerFull
from onrecord.ledger.states import QUEUED
from onrecord.outer_run import outer_run, wake
from onrecord.run_types import INTERACTIVE
from onrecord.workspace import Workspace

if TYPE_CHECKING:
    from onrecord.ledger.query import RunRow


def recover(workspace: Workspace, wait_seconds: float) -> list[str]:
    """Start a conductor for every unfinished run that has none; returns their ids.

    Waits, at most `wait_seconds` in all, until the ledger says what is true of them. Does nothing in a
    ledger that cannot be written.
    """
    unfinished = workspace.query.unfinished()
    if not unfinished or workspace.journal.database.read_only:
        return []
    outer = outer_run(workspace)
    if outer is not None:
        wake(workspace, outer)
        return []
    waiting = [row for row in unfinished if row.status == QUEUED]
    if waiting:
        from onrecord.waiting_runs import start_waiting

        try:
            start_waiting(workspace)
        except LedgerFull:
            # They go on waiting; whoever only reads is not refused for that.
            return []
    started: list[tuple[str, ConductorProcess]] = []
    for run_id in dict.fromkeys(_conducted_as(workspace, row) for row in unfinished if row.status != QUEUED):
        try:
            lock = take_lock(workspace.layout.run(run_id).lock)
            if lock is None:
                let_go_on(workspace.layout.run(run_id).lock)
            else:
                started.append((run_id, ConductorProcess(workspace.layout, run_id, NEXT, lock)))
        except OSError:
            # No room or no permission: the next command tries again, and status shows NotResponding.
            continue
    deadline = time.monotonic() + wait_seconds
    for _, conductor in started:
        conductor.wait_for_truth(max(0.0, deadline - time.monotonic()))
    return [run_id for run_id, _ in started]


def _conducted_as(workspace: Workspace, row: RunRow) -> str:
    """The run that a conductor is started for: interactive ones of one process share theirs."""
    if row.run_type != INTERACTIVE:
        return row.run_id
    return str(workspace.query.config(row.run_id).get("session") or row.run_id)
