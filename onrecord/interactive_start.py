"""Put runs that this very process is on record."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from onrecord import interactive_exit, interactive_session
from onrecord.errors import OnRecordError
from onrecord.interactive_folders import Kept, remember_what_was_there
from onrecord.interactive_run import InteractiveRun
from onrecord.run_types import INTERACTIVE

if TYPE_CHECKING:
    from onrecord.interactive_session import Session
    from onrecord.ledger.events import Event, RunSubmitted
    from onrecord.run import Run
    from onrecord.snapshot.take import Snapshot
    from onrecord.workspace import Workspace


class RunExists(OnRecordError):
    """An id that was asked for a new run is that of another. Attribute: `run_id`."""


class Wanted(NamedTuple):
    """A run to begin. `kept`: the folders whose new files are its own; `details`: what else its configuration says."""

    run_id: str
    experiment: str
    name: str = ""
    tags: Mapping[str, str] = {}
    parent: str | None = None
    kept: Sequence[Kept] = ()
    details: Mapping[str, object] = {}


class Source(NamedTuple):
    """What a run's source was found to be: the snapshot, what git says, and events that belong to it."""

    snapshot: Snapshot | None = None
    properties: Mapping[str, str] = {}
    events: Sequence[Event] = ()


def begin(
    workspace: Workspace,
    wanted: Sequence[Wanted],
    look: Callable[[], Source] | None = None,
    *,
    companion: bool = True,
) -> list[Run]:
    """Begin runs, all or none; when it returns they are Running, and killing this process loses nothing of them.

    `look` is called once somebody cares for the runs and before they are on record; without a `companion` nobody
    does. Raises RunExists, what `look` raises, and the ledger's errors; then there is no run.
    """
    workspace.journal.database.writable()
    # In each process the runs of a workspace begin one after the other, because the first brings the companion.
    with interactive_session.mutex:
        _refuse_known(workspace, wanted)
        return _begin(workspace, wanted, look, companion)


def _begin(
    workspace: Workspace, wanted: Sequence[Wanted], look: Callable[[], Source] | None, companion: bool
) -> list[Run]:
    session, is_new = interactive_session.session_of(workspace, wanted[0].run_id, companion)
    try:
        session.link([one.run_id for one in wanted if one.run_id != session.name])
        for one in wanted:
            if one.kept:
                remember_what_was_there(one.kept, workspace.layout.run(one.run_id).before)
        if look is None:
            _record(workspace, session, wanted, Source())
        else:
            # What a snapshot finds stored already must not be erased with another run before this one refers to it.
            with workspace.store.in_use():
                _record(workspace, session, wanted, look())
    except BaseException:
        if is_new:
            interactive_session.drop(session)
        for one in wanted:
            shutil.rmtree(workspace.layout.run(one.run_id).path, ignore_errors=True)
        raise
    interactive_exit.install()
    runs = [_handle(workspace, session, one) for one in wanted]
    session.recorded()
    return runs


def _refuse_known(workspace: Workspace, wanted: Sequence[Wanted]) -> None:
    for one in wanted:
        if workspace.layout.run(one.run_id).path.exists() or _is_recorded(workspace, one.run_id):
            raise RunExists(
                f"there is a run {one.run_id} already",
                why="an id belongs to one run for ever",
                next_step="leave run_id out, and use name= or a tag to find the run by",
                run_id=one.run_id,
            )


def _is_recorded(workspace: Workspace, run_id: str) -> bool:
    return bool(workspace.journal.fetch("SELECT 1 FROM runs WHERE run_id = ?", (run_id,)))


def _handle(workspace: Workspace, session: Session, one: Wanted) -> Run:
    from onrecord.run import Run

    run = Run(workspace, one.run_id)
    run._interactive = InteractiveRun(session, one.run_id, one.parent, bool(one.kept))
    run._interactive.handle = run
    interactive_session.opened(run._interactive)
    return run


def _record(workspace: Workspace, session: Session, wanted: Sequence[Wanted], source: Source) -> None:
    from onrecord.executors.identity import boot_id, start_ticks
    from onrecord.ledger.events import RunRunning

    pid = os.getpid()
    running = RunRunning(
        pid=pid,
        start_ticks=start_ticks(pid),
        boot_id=boot_id(),
        host=socket.gethostname(),
        started_at=time.time_ns() // 1000,
    )
    if len(wanted) == 1:
        one = wanted[0]
        workspace.journal.append(one.run_id, [_submitted(session, one, source), *source.events, running], expected=0)
        return
    with workspace.journal.writing() as writing:
        for one in wanted:
            writing.append(one.run_id, [_submitted(session, one, source), *source.events, running])


def _submitted(session: Session, one: Wanted, source: Source) -> RunSubmitted:
    from onrecord.ledger.events import RunSubmitted
    from onrecord.submission import user_name

    taken = source.snapshot
    size = {} if taken is None else {"files": taken.files, "bytes": taken.bytes, "bytes_stored": taken.bytes_stored}
    return RunSubmitted(
        experiment=one.experiment,
        name=one.name,
        run_type=INTERACTIVE,
        config={**_command(one), "session": session.name, "kept_folders": _plain(one.kept), **one.details},
        snapshot_id=None if taken is None else taken.snapshot_id,
        snapshot=size,
        tags=dict(one.tags),
        properties=dict(source.properties),
        submitted_by={"user": user_name(), "host": socket.gethostname(), "pid": str(os.getpid())},
        parent=one.parent,
    )


def _command(one: Wanted) -> dict[str, Any]:
    from onrecord.ledger.text import storable

    if one.parent is not None:
        # It is a part of its parent, which says so.
        return {}
    words = [storable(word) for word in sys.argv]
    script = Path(words[0]).name if words and words[0] not in ("", "-", "-c", "-m") else ""
    return {"script": script, "arguments": words[1:], "interpreter": storable(sys.executable or "")}


def _plain(kept: Sequence[Kept]) -> list[list[Any]]:
    return [[root, list(names)] for root, names in kept]
