"""The whole history checked: the ledger, every object that a run refers to, and the checkpoints kept outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from onrecord import anchors
from onrecord.errors import OnRecordError
from onrecord.git_anchor import REF, kept_in_git
from onrecord.ledger.audit import Audit, audit
from onrecord.ledger.audit_event import Finding
from onrecord.ledger.checkpoint import Checkpoint, name_of, what_became_of
from onrecord.ledger.errors import LedgerDamaged
from onrecord.ledger.events import PayloadErased
from onrecord.ledger.origin import origin_of
from onrecord.snapshot.digest import from_hex
from onrecord.snapshot.errors import SnapshotError
from onrecord.snapshot.manifest import objects_of
from onrecord.workspace import Workspace

# Whoever meets damage elsewhere is sent here, and must not be sent here again.
_BACKUP = "look after the disk, then put a copy back that onrecord backup made"
STATE = "the last checkpoint in the state directory"
# Enough to read packs from front to back, few enough to tell how far it is.
_AT_ONCE = 2000
GIT = f"the checkpoint in {REF}"


@attrs.define
class Verification:
    """What a check of the whole history found. `checkpoint` names what was checked, None for an empty ledger.

    `compared`: the checkpoints from outside of the ledger that it was compared with, by what they are.
    """

    audit: Audit
    checkpoint: Checkpoint | None
    compared: dict[str, Checkpoint]
    # The addresses of all objects that were read.
    objects: set[str]
    # Whether the new checkpoint is in the user's state directory.
    kept: bool = True

    @property
    def findings(self) -> list[Finding]:
        """Everything that is wrong, by name."""
        return self.audit.findings


def verify(
    workspace: Workspace,
    since: Mapping[str, Checkpoint] | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Verification:
    """Everything that is wrong, by name.

    `since`: more checkpoints that the history must go on from, by what they are. Where nothing is wrong, the
    ledger's new checkpoint is kept in the user's state directory. `progress` is told the objects read and those to
    be read.
    """
    try:
        while True:
            before = workspace.journal.size()
            result = _verify(workspace, since or {}, progress or _ignore)
            # Files that were erased meanwhile are no finding.
            if not result.findings or not _erased_since(workspace, before):
                return result
    except LedgerDamaged as problem:
        raise LedgerDamaged(problem.what, why=problem.why, next_step=_BACKUP, **problem.values) from problem


def _erased_since(workspace: Workspace, seq: int) -> bool:
    sql = "SELECT 1 FROM events WHERE seq > ? AND type = ? LIMIT 1"
    return bool(workspace.journal.fetch(sql, (seq, PayloadErased.type)))


def _ignore(done: int, total: int) -> None:
    del done, total


def _verify(
    workspace: Workspace, since: Mapping[str, Checkpoint], progress: Callable[[int, int], None]
) -> Verification:
    compared, unreadable = _outside(workspace, since)
    result = audit(workspace.journal, sizes=[old.size for old in compared.values()])
    result.findings += unreadable
    origin = name_of(result.own_leaf) if result.own_leaf else "an empty one"
    for name, old in compared.items():
        problem = what_became_of(old, origin, result.events, result.roots.get)
        if problem:
            result.wrong(name, problem)
    objects = _check_objects(workspace, result, progress)
    checkpoint = Checkpoint(origin, result.events, bytes.fromhex(result.root)) if result.events else None
    kept = anchors.keep(workspace, checkpoint) if checkpoint and not result.findings else True
    return Verification(result, checkpoint, compared, objects, kept)


def _outside(workspace: Workspace, since: Mapping[str, Checkpoint]) -> tuple[dict[str, Checkpoint], list[Finding]]:
    origin = origin_of(workspace.journal)
    known = anchors.kept(workspace, origin)
    compared = {STATE if place == 0 else f"{STATE} ({old.origin})": old for place, old in enumerate(known)}
    unreadable = [Finding(STATE, problem) for problem in anchors.unreadable(workspace, origin)]
    try:
        in_git = kept_in_git(workspace.path)
        if in_git:
            compared[GIT] = in_git
    except OnRecordError as problem:
        unreadable.append(Finding(GIT, _in_one_line(problem)))
    return {**compared, **since}, unreadable


def _check_objects(workspace: Workspace, result: Audit, progress: Callable[[int, int], None]) -> set[str]:
    objects = result.named.files
    for snapshot_id in sorted(result.named.snapshots):
        try:
            objects.update(objects_of(workspace.store, snapshot_id))
        except OnRecordError as problem:
            result.wrong(f"snapshot {snapshot_id}", _in_one_line(problem))
    wanted = sorted(filter(_is_address, objects))
    for start in range(0, len(wanted), _AT_ONCE):
        progress(start, len(wanted))
        for fault in workspace.store.verify(wanted[start : start + _AT_ONCE]):
            result.wrong(f"object {fault.digest}", fault.problem)
    progress(len(wanted), len(wanted))
    for name in sorted(objects):
        if not _is_address(name):
            result.wrong(f"object {name}", "no object can have this name: 64 hex digits are an address")
    return objects


def _in_one_line(problem: OnRecordError) -> str:
    return f"{problem.what}: {problem.why}" if problem.why else problem.what


def _is_address(name: str) -> bool:
    try:
        from_hex(name)
    except SnapshotError:
        return False
    return True
