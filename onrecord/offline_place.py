"""Where the run of a script that was started by hand is kept: in the workspace it is in, or until the process ends.

A script that a person starts in a workspace is meant to be on record; a line in a REPL, a cell of a notebook or a
test is not, and would fill the history with noise. The variable ONRECORD_OFFLINE decides otherwise: `record`,
`memory`, or `off`, which keeps as little and says nothing.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from onrecord.errors import OnRecordError
from onrecord.experiment import experiment_name_of
from onrecord.interactive_folders import Kept, kept_folders
from onrecord.interactive_process import hold_lock
from onrecord.interactive_start import Source, Wanted, begin
from onrecord.workspace import VARIABLE as WORKSPACE_VARIABLE
from onrecord.workspace import Workspace, WorkspaceNotFound

if TYPE_CHECKING:
    from onrecord.offline_run import OfflineRun

VARIABLE = "ONRECORD_OFFLINE"
RECORD, MEMORY, OFF = "record", "memory", "off"
_PREFIX = "onrecord-until-exit-"
_LOCK = "in-use"
# The first point that a script logs must not wait for the snapshot of a folder full of data.
_MOST_FILES = 5_000
_MOST_BYTES = 100 << 20
_MOST_SECONDS = 1.5
# A folder that another process is just making has no lock yet.
_NEW_SECONDS = 60.0

_mutex = threading.RLock()
_place: Place | None = None
_said: set[int] = set()


class Place(NamedTuple):
    """A workspace for the run of a script; `why` it is one that lasts no longer than the process, or nothing."""

    workspace: Workspace
    why: str = ""


class _TooMuch(Exception):
    """The source is larger than what is worth a wait."""


def begin_offline(run: OfflineRun) -> None:
    """Put the run on record. Raises OnRecordError only where not even a temporary folder can be had."""
    place = place_of()
    if not place.why:
        try:
            _begin(run, place.workspace, kept_folders(None, default=True))
            _say_once(f"started by hand, recorded as run {run.id} of {experiment_of()} in {place.workspace.path}")
            return
        except (OnRecordError, OSError) as problem:
            place = _until_exit(str(problem).partition("\n")[0])
    _begin(run, place.workspace, [])
    script = _script()
    words = f"onrecord run {script.name}" if script is not None else "onrecord run SCRIPT"
    _say_once(f"not inside a run ({place.why}): what it logs is kept until this process ends; {words} keeps it")


def place_of() -> Place:
    """Where a run would be kept, decided once a process. Raises OnRecordError without even a temporary folder."""
    global _place
    with _mutex:
        if _place is None:
            _place = _chosen()
        return _place


def experiment_of() -> str:
    """The experiment of a script that was started by hand: the name of its folder."""
    script = _script()
    return experiment_name_of(script.parent if script is not None else Path(os.path.abspath(".")))  # noqa: PTH100


def _chosen() -> Place:
    wanted = os.environ.get(VARIABLE, "")
    if wanted not in ("", RECORD, MEMORY, OFF):
        print(f"onrecord: {VARIABLE}={wanted} is none of {RECORD}, {MEMORY}, {OFF}, and is ignored", file=sys.stderr)
        wanted = ""
    if wanted in (MEMORY, OFF):
        return _until_exit(f"{VARIABLE}={wanted}")
    if not wanted and _is_a_test():
        return _until_exit(f"a test; {VARIABLE}={RECORD} records it all the same")
    if not wanted and _script() is None:
        return _until_exit("no script; experiment.start_logging() begins a run here")
    try:
        workspace = Workspace.from_config()
        workspace.journal.database.writable()
    except WorkspaceNotFound as problem:
        named = os.environ.get(WORKSPACE_VARIABLE)
        return _until_exit(problem.what if named else "no workspace here; onrecord init makes one")
    except (OnRecordError, OSError) as problem:
        return _until_exit(str(problem).partition("\n")[0])
    return Place(workspace)


def _begin(run: OfflineRun, workspace: Workspace, kept: list[Kept]) -> None:
    source = experiment_source() if kept else None
    details = {"source_directory": str(source or ""), "offline": True}
    wanted = Wanted(run.id, experiment_of(), kept=kept, details=details)
    look = None if source is None else lambda: _look(workspace, source)
    begun = begin(workspace, [wanted], look, companion=bool(kept))[0]
    run._interactive = begun._interactive
    if run._interactive is not None:
        run._interactive.handle = run
    # Last: now it has begun for every thread.
    run.workspace = workspace


def experiment_source() -> Path | None:
    """The folder of the script."""
    script = _script()
    return script.parent if script is not None else None


def _look(workspace: Workspace, source: Path) -> Source:
    from onrecord.experiment_logging import look_at_source

    until = time.monotonic() + _MOST_SECONDS

    def stop_at_too_much(files: int, size: int) -> None:
        if files > _MOST_FILES or size > _MOST_BYTES or time.monotonic() > until:
            raise _TooMuch

    try:
        return look_at_source(workspace, source, stop_at_too_much)
    except (_TooMuch, OnRecordError, OSError):
        return Source()


def _script() -> Path | None:
    """The file that this process runs, where it is a person's and not a tool's."""
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if file is None or hasattr(sys, "ps1") or sys.flags.interactive:
        return None
    path = Path(file).absolute()
    # `python -m unittest`, `jupyter`, a console script: their modules are where packages are installed.
    installed = {"site-packages", "dist-packages"} & set(path.parts)
    ours = (Path(sys.executable).absolute().parent, Path(os.__file__).parent)
    return None if installed or any(path.is_relative_to(folder) for folder in ours) else path


def _is_a_test() -> bool:
    return "PYTEST_CURRENT_TEST" in os.environ or "PYTEST_VERSION" in os.environ


# ---- until the process ends ------------------------------------------------------------------------------


def _until_exit(why: str) -> Place:
    """A workspace of its own in the folder for temporary files, removed when this process ends."""
    global _place
    _sweep()
    try:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        # Held as long as the process lives, so that others know what was left by one that was killed.
        lock = hold_lock(folder / _LOCK)
        workspace = Workspace.create(folder)
    except OSError as problem:
        raise OnRecordError(
            "there is no place for what this script logs",
            why=f"{why}; and no folder for temporary files: {problem}",
            next_step="onrecord init in a folder that can be written, or let TMPDIR name one",
        ) from problem
    atexit.register(_remove, workspace, lock, os.getpid())
    _place = Place(workspace, why)
    return _place


def _remove(workspace: Workspace, lock: int, pid: int) -> None:
    if pid == os.getpid():
        workspace.close()
        shutil.rmtree(workspace.path, ignore_errors=True)
        os.close(lock)


def _sweep() -> None:
    from onrecord.executors.lock import is_held

    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        status = folder.stat()
        is_old = time.time() - status.st_mtime > _NEW_SECONDS
        if is_old and status.st_uid == os.getuid() and is_held(folder / _LOCK) is False:
            shutil.rmtree(folder, ignore_errors=True)


def _say_once(text: str) -> None:
    if os.getpid() not in _said and os.environ.get(VARIABLE) != OFF:
        _said.add(os.getpid())
        print(f"onrecord: {text}", file=sys.stderr)
