"""The whole history checked: the ledger's hashes and states, and every object that a run refers to."""

from __future__ import annotations

from onrecord.errors import OnRecordError
from onrecord.ledger.audit import Audit, audit
from onrecord.ledger.events import PayloadErased
from onrecord.snapshot.digest import from_hex
from onrecord.snapshot.errors import SnapshotError
from onrecord.snapshot.manifest import objects_of
from onrecord.workspace import Workspace


def verify(workspace: Workspace) -> Audit:
    """Everything that is wrong, by name; `objects` of the answer holds all that were read."""
    while True:
        result = _verify(workspace)
        # Files that were erased meanwhile are no finding.
        if not result.findings or not _erased_since(workspace, result.events):
            return result


def _erased_since(workspace: Workspace, seq: int) -> bool:
    return any(recorded.type == PayloadErased.type for recorded in workspace.journal.read(after=seq))


def _verify(workspace: Workspace) -> Audit:
    result = audit(workspace.journal)
    for snapshot_id in sorted(result.snapshots):
        try:
            result.objects.update(objects_of(workspace.store, snapshot_id))
        except OnRecordError as problem:
            result.wrong(f"snapshot {snapshot_id}", str(problem))
    for fault in workspace.store.verify(sorted(filter(_is_address, result.objects))):
        result.wrong(f"object {fault.digest}", fault.problem)
    for name in sorted(result.objects):
        if not _is_address(name):
            result.wrong(f"object {name}", "no object can have this name: 64 hex digits are an address")
    return result


def _is_address(name: str) -> bool:
    try:
        from_hex(name)
    except SnapshotError:
        return False
    return True
