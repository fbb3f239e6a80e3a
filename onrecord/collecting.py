"""Garbage collection of a workspace: objects that no run refers to any more."""

from __future__ import annotations

import time
from collections.abc import Callable

from onrecord.anchors import HistoryChanged, problem_at_a_glance
from onrecord.ledger.references import references_in
from onrecord.snapshot.sweep import Swept, Wanted
from onrecord.workspace import Workspace

GRACE_SECONDS = 14 * 86400.0


def collect(
    workspace: Workspace,
    *,
    grace_seconds: float = GRACE_SECONDS,
    dry_run: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Swept:
    """Remove the objects that no run refers to and that were stored more than `grace_seconds` ago; runs may go on.

    Snapshots that were taken without a run (`onrecord snapshot`) stay for that long as well. `dry_run` only looks.
    `progress` is told the bytes regained and those to regain. Raises HistoryChanged where the ledger has gone back
    behind its last checkpoint, because runs that it has lost may need what it does not know; NotSwept where the
    source of a run cannot be read whole; DiskFull. Then nothing that a run refers to has gone.
    """
    if not dry_run:
        workspace.journal.database.writable()
    problem = problem_at_a_glance(workspace)
    if problem:
        raise HistoryChanged.of(workspace, problem)
    seen = 0

    def wanted() -> Wanted:
        nonlocal seen
        after, seen = seen, workspace.journal.size()
        named = references_in(workspace.journal, after=after)
        return Wanted(named.snapshots, named.files, named.possible)

    before = time.time() - grace_seconds
    return workspace.store.sweep(wanted, before=before, dry_run=dry_run, progress=progress)
