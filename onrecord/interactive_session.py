"""This process as one whose runs are its own: who cares for them beside it, and which of them are open.

All open runs of a process in a workspace share one companion and one lock: the lock file in the folder of each run
is a link to that of the first, so that a thousand children cost neither a process nor an open file each. In the
script of a submitted run nothing is started at all: that run's conductor cares for its children.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from onrecord.conductor_process import FIRST, NEXT, ConductorProcess, is_conducted, take_lock
from onrecord.errors import OnRecordError
from onrecord.interactive_process import hold_lock, own_descriptor
from onrecord.script_variables import INTERACTIVE_RUN, RUN_ID
from onrecord.workspace import VARIABLE

if TYPE_CHECKING:
    from onrecord.interactive_run import InteractiveRun
    from onrecord.workspace import Workspace

_FIRST_PAUSE_SECONDS = 0.002
_LONGEST_PAUSE_SECONDS = 0.1
_SAY_AFTER_SECONDS = 10.0

# Held while runs begin and end. Reentrant: a signal handler may end a run while another is being started.
mutex = threading.RLock()
_sessions: dict[Path, Session] = {}
_open: list[tuple[int, InteractiveRun]] = []


class Session:
    """The runs that are cared for together; `name` is the id of the run whose lock they share."""

    def __init__(
        self, workspace: Workspace, name: str, process_lock: int | None = None, *, has_companion: bool = False
    ) -> None:
        """`has_companion`: whether someone beside this process captures folders while a run goes on."""
        self.workspace = workspace
        self.name = name
        self.has_companion = has_companion
        self._process_lock = process_lock
        self._companion: ConductorProcess | None = None
        self._speak: int | None = None
        self._poking = threading.Lock()
        self._lock = workspace.layout.run(name).lock

    def link(self, run_ids: list[str]) -> None:
        """Make the folders of new runs, with the session's lock in them. Raises OSError."""
        for run_id in run_ids:
            lock = self.workspace.layout.run(run_id).lock
            lock.parent.mkdir(parents=True)
            try:
                os.link(self._lock, lock)
            except OSError:
                # A file system without such links, or one with too many of this file.
                lock.symlink_to(Path("..", self.name, lock.name))

    def begin(self) -> None:
        """Start a companion, which waits until it is told that there is a run. Raises OSError."""
        lock = take_lock(self._lock)
        if lock is not None:
            self._companion = self._started(FIRST, lock)

    def recorded(self) -> None:
        """A run of it is in the ledger."""
        companion, self._companion = self._companion, None
        if companion is not None:
            self._speak = companion.go_on()
        else:
            self.poke()

    def poke(self) -> None:
        """Ask the companion to look now; start another where it died."""
        with self._poking:
            if not self.has_companion or self._is_told():
                return
            lock = take_lock(self._lock)
            if lock is not None:
                self._speak = self._started(NEXT, lock).go_on()

    def _started(self, place: str, lock: int) -> ConductorProcess:
        return ConductorProcess(self.workspace.layout, self.name, place, lock, *own_descriptor())

    def _is_told(self) -> bool:
        if self._speak is None:
            return False
        try:
            os.write(self._speak, b".")
        except BlockingIOError:
            # It is busy, and has enough to read.
            return True
        except OSError:
            os.close(self._speak)
            self._speak = None
            return False
        return True

    def wait_until_ended(self, run_id: str) -> None:
        """Return when the companion has put the run's end on record; one that dies is replaced."""
        pause, say_at = _FIRST_PAUSE_SECONDS, time.monotonic() + _SAY_AFTER_SECONDS
        while not self.workspace.query.run(run_id).ended:
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)
            if pause == _LONGEST_PAUSE_SECONDS and not is_conducted(self._lock):
                self.poke()
            if time.monotonic() > say_at:
                say_at = float("inf")
                where = self.workspace.layout.run(self.name).narration
                print(f"onrecord: the files of run {run_id} are still being taken in; see {where}", file=sys.stderr)

    def close(self) -> None:
        """No run of it is open in this process any more: the companion may go."""
        for fd in (self._speak, self._process_lock):
            if fd is not None:
                os.close(fd)
        self._speak = self._process_lock = None

    def abandon(self) -> None:
        """The run that it was begun for is not to be."""
        if self._companion is not None:
            self._companion.dismiss()
            self._companion = None
        self.close()


def session_of(workspace: Workspace, run_id: str, companion: bool) -> tuple[Session, bool]:
    """The session that a new run of this process belongs to, and whether it was begun for it.

    Without a `companion` nobody cares for it should this process be killed. Raises OnRecordError.
    """
    with mutex:
        root = workspace.layout.root
        known = _sessions.get(root)
        if known is not None:
            return known, False
        session = _of_submitted(workspace) or _begun(workspace, run_id, companion)
        _sessions[root] = session
        return session, session.name == run_id


def _of_submitted(workspace: Workspace) -> Session | None:
    run_id, root = os.environ.get(RUN_ID), os.environ.get(VARIABLE)
    if not run_id or root is None or Path(root).absolute() != workspace.layout.root:
        return None
    # One that has ended left its variables to whoever it started.
    return Session(workspace, run_id) if is_conducted(workspace.layout.run(run_id).lock) else None


def _begun(workspace: Workspace, run_id: str, companion: bool) -> Session:
    folder = workspace.layout.run(run_id)
    session = None
    try:
        if not companion:
            return Session(workspace, run_id, hold_lock(folder.lock))
        session = Session(workspace, run_id, hold_lock(folder.process_lock), has_companion=True)
        session.begin()
    except OSError as problem:
        import shutil

        if session is not None:
            session.close()
        shutil.rmtree(folder.path, ignore_errors=True)
        raise OnRecordError(
            f"cannot make the folder of a new run in {workspace.layout.runs}, or start its companion",
            why=str(problem),
            next_step=f"check the space and the permissions of {workspace.layout.root}; nothing was recorded",
        ) from problem
    return session


def drop(session: Session) -> None:
    """Forget a session that came to nothing."""
    with mutex:
        session.abandon()
        _sessions.pop(session.workspace.layout.root, None)


# ---- the open runs of this process -------------------------------------------------------------------------


def opened(run: InteractiveRun) -> None:
    """A run has begun; one without a parent becomes the one that `Run.get_context()` answers with."""
    with mutex:
        _open.append((threading.get_ident(), run))
        _tell_children()


def ended(run: InteractiveRun) -> None:
    """A run has come to its end; with the last one its session is over."""
    with mutex:
        _open[:] = [(thread, other) for thread, other in _open if other is not run]
        session = run.session
        if not any(other.session is session for _, other in _open):
            _sessions.pop(session.workspace.layout.root, None)
            session.close()
        _tell_children()


def open_runs() -> list[InteractiveRun]:
    """The open runs that this process has begun, the newest first."""
    return [run for _, run in reversed(list(_open))]


def current() -> InteractiveRun | None:
    """The newest open run without a parent: of this thread, or of any where it has none."""
    # Without the lock, which is held while a folder is snapshotted.
    tops = [(thread, run) for thread, run in list(_open) if run.parent is None]
    own = [run for thread, run in tops if thread == threading.get_ident()]
    found = own or [run for _, run in tops]
    return found[-1] if found else None


def _tell_children() -> None:
    """Processes that are started from now on, and are no forks, find the run in a variable."""
    run = next((run for _, run in reversed(_open) if run.parent is None), None)
    if run is None:
        os.environ.pop(INTERACTIVE_RUN, None)
    else:
        os.environ[INTERACTIVE_RUN] = f"{run.run_id}:{run.session.workspace.layout.root}"


def _forget_in_fork() -> None:
    """A fork of the process is in its runs, and must neither keep them alive nor end them."""
    global mutex
    mutex = threading.RLock()
    for session in _sessions.values():
        session.close()
    _sessions.clear()


os.register_at_fork(after_in_child=_forget_in_fork)
