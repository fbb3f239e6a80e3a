"""Runs, events and files as plain values: the stable form that `--json` prints.

Keys are snake_case and only ever added to. Times are ISO 8601 in UTC with microseconds, sizes bytes.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from onrecord.conductor_process import is_conducted
from onrecord.ledger.states import NOT_RESPONDING, QUEUED
from onrecord.workspace import Workspace

if TYPE_CHECKING:
    from onrecord.ledger.query import FileRow, NoteRow, RunRow
    from onrecord.ledger.recorded import Recorded
    from onrecord.run_details import RunDetails


def iso(microseconds: int | None) -> str | None:
    """`2026-01-31T12:00:00.000000Z`, or None."""
    if microseconds is None:
        return None
    seconds, rest = divmod(microseconds, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).strftime(f"%Y-%m-%dT%H:%M:%S.{rest:06d}Z")


def status_of(workspace: Workspace, row: RunRow) -> str:
    """The stored status, or NotResponding where an unfinished run has no conductor."""
    if row.ended or row.status == QUEUED or is_conducted(workspace.layout.run(row.run_id).lock):
        return row.status
    # Its conductor may have ended between the two looks, and the run with it.
    row = workspace.query.run(row.run_id)
    return row.status if row.ended or row.status == QUEUED else NOT_RESPONDING


def detailed_status_document(run: RunDetails) -> dict[str, str]:
    """Azure ML's `get_detailed_status()`: what the status is, and what the run waits for or why it failed."""
    row = run.workspace.query.run(run.id)
    details = (row.error or {}).get("message", "")
    if row.status == QUEUED:
        for recorded in run.workspace.journal.read(run.id):
            details = getattr(recorded.event, "reason", details) if recorded.type == "run.queued" else details
    return {"status": status_of(run.workspace, row), "details": details}


def run_document(
    workspace: Workspace,
    row: RunRow,
    tags: dict[str, str],
    properties: dict[str, str],
    children: dict[str, int],
    *,
    live: bool = True,
) -> dict[str, Any]:
    """One run, as `onrecord show --json` and each item of `onrecord ls --json`; not `live`: as it was recorded.

    `children`: how many were started from it, by the state that was recorded.
    """
    return {
        "run_id": row.run_id,
        "experiment": row.experiment,
        "number": row.number if row.number > 0 else None,
        "name": row.display_name,
        "type": row.run_type,
        "parent": row.parent,
        "children": children,
        "status": status_of(workspace, row) if live else row.status,
        "exit_code": row.exit_code,
        "signal": row.signal,
        "error": row.error,
        "snapshot_id": row.snapshot_id,
        "created_at": iso(row.created_at),
        "started_at": iso(row.started_at),
        "ended_at": iso(row.ended_at),
        "duration_seconds": row.duration_seconds,
        "erased": row.erased,
        "archived_at": iso(row.archived_at),
        "tags": tags,
        "properties": properties,
    }


def event_document(recorded: Recorded) -> dict[str, Any]:
    """One event, as a line of `onrecord events --json`."""
    from onrecord.ledger.codec import as_document

    return {
        "seq": recorded.seq,
        "run_id": recorded.run_id,
        "version": recorded.version,
        "type": recorded.type,
        "at": iso(recorded.at),
        "data": as_document(recorded.event),
    }


def note_document(note: NoteRow) -> dict[str, Any]:
    """One note, as an item of `onrecord note --json`."""
    return {"text": note.text, "author": note.author, "at": iso(note.at)}


def file_document(row: FileRow) -> dict[str, Any]:
    """One file, as an item of `onrecord files --json`."""
    return {
        "name": row.name,
        "size": row.size,
        "version": row.version,
        "digest": row.digest,
        "recorded_at": iso(row.recorded_at),
        "removed_at": iso(row.removed_at),
        "uploaded": row.uploaded,
    }


def details_document(run: RunDetails) -> dict[str, Any]:
    """Azure ML's `get_details()`: runId, target, status, times, properties, runDefinition, logFiles, error."""
    row = run.workspace.query.run(run.id)
    config: dict[str, Any] = {}
    submitted_by: dict[str, str] = {}
    for recorded in run.workspace.journal.read(run.id, limit=1):
        config = dict(getattr(recorded.event, "config", {}))
        submitted_by = dict(getattr(recorded.event, "submitted_by", {}))
    names = run.get_file_names()
    return {
        "runId": row.run_id,
        "target": config.get("target"),
        "status": status_of(run.workspace, row),
        "startTimeUtc": iso(row.started_at),
        "endTimeUtc": iso(row.ended_at),
        "properties": {"ContentSnapshotId": row.snapshot_id or "", **run.get_properties()},
        "tags": run.get_tags(),
        "displayName": row.display_name,
        "description": run.description,
        "parentRunId": row.parent,
        "inputDatasets": [],
        "outputDatasets": [],
        "runDefinition": config,
        "logFiles": {name: name for name in names if name.startswith("logs/")},
        "submittedBy": submitted_by.get("user", ""),
        "exitCode": row.exit_code,
        "error": row.error,
        "warnings": [{"message": warning} for warning in run.get_warnings()],
    }
