"""Files and sources of runs at a remote: sent there, and brought back from there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing

from onrecord.exporting import referred_to
from onrecord.ledger.origin import stored_events
from onrecord.ledger.references import References, references_in
from onrecord.snapshot.receiving import Problem, check, raised, receive
from onrecord.snapshot.remotes import remote_named
from onrecord.snapshot.transfer import Moved, needed, send
from onrecord.workspace import Workspace

Progress = Callable[[int, int], None]


def push(
    workspace: Workspace, remote: str, run_ids: Iterable[str] | None = None, *, progress: Progress | None = None
) -> Moved:
    """Send what runs (default: all) refer to, as far as the remote lacks it; durable there on return.

    `remote` as `snapshot.remotes.remote_named` has it. The events stay here. Raises RemoteError, ObjectMissing,
    ObjectCorrupt, DiskFull; what arrived before counts, and pushing again goes on there.
    """
    with closing(remote_named(remote)) as far:
        named = _named(workspace, run_ids)
        return send(workspace.store, far, named.snapshots, named.files, progress=progress)


def check_remote(
    workspace: Workspace,
    remote: str,
    run_ids: Iterable[str] | None = None,
    *,
    progress: Progress | None = None,
    tell: Problem = raised,
) -> Moved:
    """Read all that runs (default: all) refer to at a remote and compare it with its addresses; returns what is right.

    `tell` is told what is lacking (RemoteLacks) or damaged (RemoteDamaged) there, which raises it unless it is given.
    """
    with closing(remote_named(remote, must_exist=True)) as far:
        named = _named(workspace, run_ids)
        return check(far, needed(workspace.store, named.snapshots, named.files), progress=progress, tell=tell)


def pull(
    workspace: Workspace,
    remote: str,
    run_ids: Iterable[str] | None = None,
    *,
    progress: Progress | None = None,
    tell: Problem = raised,
) -> Moved:
    """Bring what runs (default: all) refer to and this workspace lacks from a remote; every object is hashed.

    `tell` is told what is lacking (RemoteLacks) or damaged (RemoteDamaged) there, which raises it unless it is given;
    all else comes nevertheless. Raises RemoteError, DiskFull; what arrived before stays.
    """
    with closing(remote_named(remote, must_exist=True)) as far:
        named = _named(workspace, run_ids)
        return receive(workspace.store, far, named.snapshots, named.files, progress=progress, tell=tell)


def _named(workspace: Workspace, run_ids: Iterable[str] | None) -> References:
    if run_ids is None:
        return references_in(workspace.journal)
    return referred_to(event for run_id in run_ids for event in stored_events(workspace.journal, run_id))
