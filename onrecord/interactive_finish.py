"""The last things that are done for an interactive run, by its own process or by whoever cares for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from onrecord.errors import OnRecordError
from onrecord.ingest import ingest, size_of
from onrecord.interactive_ending import Ending, last_event
from onrecord.interactive_folders import captures_of
from onrecord.ledger.errors import IllegalTransition, LedgerBusy, LedgerFull
from onrecord.ledger.ids import decode
from onrecord.ledger.states import CANCEL_REQUESTED, CANCELED, FINALIZING
from onrecord.run_types import INTERACTIVE
from onrecord.snapshot.errors import DiskFull

if TYPE_CHECKING:
    from onrecord.capture import Capture
    from onrecord.executors.protocol import Ended
    from onrecord.ledger.query import RunRow
    from onrecord.workspace import Workspace


def finish(
    workspace: Workspace,
    run_id: str,
    ending: Ending | None,
    ended: Ended | None = None,
    *,
    captures: Sequence[Capture] | None = None,
    more: Sequence[tuple[str, Any]] = (),
) -> None:
    """Take in what the run left, then put its end on record and seal it; nothing where it has ended already.

    `captures`: what has been watching its folders, where somebody has; `more`: files of other places by name.
    Raises LedgerFull, LedgerBusy, DiskFull: then it is to be done again.
    """
    row = workspace.query.run(run_id)
    if row.ended:
        return
    spool = workspace.layout.run(run_id).spool
    size = size_of(spool)
    if size:
        ingest(workspace.journal, run_id, spool)
    warnings = _take_last_look(captures_of(workspace, run_id) if captures is None else captures, more)
    event = last_event(ending, ended, _was_asked(workspace, row), list(dict.fromkeys(warnings)))
    try:
        workspace.journal.append(run_id, [event], seal=True)
    except IllegalTransition:
        # Someone else came first.
        return
    if size_of(spool) != size:
        # Logged while it was being ended.
        ingest(workspace.journal, run_id, spool)


def _take_last_look(captures: Sequence[Capture], more: Sequence[tuple[str, Any]]) -> list[str]:
    """What could not be kept, in sentences. Raises what may be over after a while."""
    warnings: list[str] = []
    try:
        for capture in captures:
            capture.look(final=True)
            warnings += capture.problems
        if captures and more:
            captures[0].take(more)
            warnings += captures[0].problems
    except (DiskFull, LedgerFull, LedgerBusy):
        raise
    except (OnRecordError, OSError) as problem:
        warnings.append(f"files could not be kept: {problem}")
    return warnings


def _was_asked(workspace: Workspace, row: RunRow) -> bool:
    """Whether someone asked for its end before it came."""
    if row.status != FINALIZING:
        return row.status == CANCEL_REQUESTED
    sql = "SELECT 1 FROM events WHERE stream = ? AND type = 'run.cancel_requested' LIMIT 1"
    return bool(workspace.journal.fetch(sql, (decode(row.run_id),)))


def cancel_child(workspace: Workspace, run_id: str) -> bool:
    """End a run that is a part of another one on request: its process goes on. False for any other run."""
    row = workspace.query.run(run_id)
    if row.run_type != INTERACTIVE or row.parent is None:
        return False
    finish(workspace, run_id, Ending(CANCELED, message="its end was asked for; its process goes on"))
    return True


def open_runs(workspace: Workspace, session: str) -> list[RunRow]:
    """Unfinished interactive runs that are cared for together, the newest first, so that children come first."""
    return [
        row
        for row in workspace.query.unfinished()
        if row.run_type == INTERACTIVE
        and (row.run_id == session or workspace.query.config(row.run_id).get("session") == session)
    ]


def end_left_open(workspace: Workspace, session: str, ended: Ended | None) -> None:
    """End the interactive runs of a submitted run whose processes are all gone. Raises what `finish` raises.

    How the script ended says how those ended that its own process had; a process of its own says so itself, or
    nobody can know.
    """
    for row in open_runs(workspace, session):
        ending = Ending.read(workspace.layout.run(row.run_id).ending)
        known = ended if ended is not None and _pid_of(workspace, row.run_id) == _pid_of(workspace, session) else None
        try:
            finish(workspace, row.run_id, ending, known)
        except IllegalTransition:
            continue


def _pid_of(workspace: Workspace, run_id: str) -> int | None:
    from onrecord.lost_folder import who_it_was

    started = who_it_was(workspace.journal, run_id)
    return started.pid if started is not None else None
