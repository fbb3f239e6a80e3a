"""The process that takes one run from submission to its end, detached from whoever submitted it.

Everything it does can be done again by another conductor: it looks at what the ledger and the run's
folder say and goes on from there. Arguments: the workspace's folder, the run's id, and the
descriptors that carry the word to start, the answer, and the run's lock.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from onrecord.capture import Capture
from onrecord.errors import OnRecordError
from onrecord.executors.errors import AlreadyStarted
from onrecord.executors.protocol import Ended, Launch, Progress, Started, Waiting
from onrecord.executors.registry import executor_named
from onrecord.ingest import has_more, ingest
from onrecord.inventory import NAME as INVENTORY_NAME
from onrecord.inventory import Inventory
from onrecord.ledger.errors import IllegalTransition, LedgerBusy, LedgerFull, UnknownRun
from onrecord.ledger.events import Event, RunCanceled, RunFailed, RunFinalizing, RunPreparing, RunRunning
from onrecord.ledger.states import CANCEL_REQUESTED, FINALIZING, RUNNING, TERMINAL
from onrecord.outcome import last_event
from onrecord.script_environment import command_of, environment_of
from onrecord.snapshot.restore import restore_snapshot
from onrecord.watcher import Watcher
from onrecord.workspace import Workspace

GRACE_SECONDS = 10.0
_FIRST_LOOK_SECONDS = 0.05
_LOOK_SECONDS = 0.25
_LOOK_AT_FILES_SECONDS = 10.0
_RETRY_SECONDS = 5.0


def main(arguments: Sequence[str]) -> int:
    """Wait for the word, then conduct the run to its end."""
    root, run_id, word, answer, _lock = arguments
    os.read(int(word), 1)
    workspace = Workspace(Path(root).parent)
    try:
        workspace.query.run(run_id)
    except UnknownRun:
        # The submitter died before the run was on record.
        shutil.rmtree(workspace.layout.run(run_id).path, ignore_errors=True)
        return 0
    conductor = Conductor(workspace, run_id, int(answer))
    try:
        conductor.conduct()
    except Exception:
        conductor.give_up(traceback.format_exc())
        raise
    return 0


class Conductor:
    """One run and what is known of it."""

    def __init__(self, workspace: Workspace, run_id: str, answer: int) -> None:
        self._workspace = workspace
        self._run_id = run_id
        self._answer = answer
        self._folder = workspace.layout.run(run_id)
        self._control = self._folder.path
        self._config: dict[str, Any] = {}
        self._capture: Capture | None = None
        self._inventory: Inventory | None = None
        self._watcher: Watcher | None = None
        self._warnings: list[str] = []
        self._stop_asked = False
        self._next_files = 0.0

    def conduct(self) -> None:
        """Carry the run on from wherever it is to its end."""
        status = self._status()
        if status in TERMINAL:
            self._tell_truth()
            return
        self._config = self._read_config()
        self._executor = executor_named(self._config["target"])
        progress = self._executor.poll(self._control)
        if isinstance(progress, Waiting) and not self._begin(status):
            return
        self._finish(self._watch(progress))

    def give_up(self, trace: str) -> None:
        """Something here failed that should not: say so in the run rather than leave it open."""
        sys.stderr.write(trace)
        error = {"code": "InternalError", "message": trace.strip().splitlines()[-1], "details": trace[-3000:]}
        try:
            if not isinstance(self._executor.poll(self._control), Waiting | Ended):
                # The script lives: the next command gives the run another conductor.
                return
        except (AttributeError, OnRecordError):
            pass
        self._append([RunFailed(error=error)], seal=True)

    # ---- before the script ---------------------------------------------------------------------

    def _begin(self, status: str) -> bool:
        """Prepare the run and start its script; False when it ended instead."""
        if status in (RUNNING, FINALIZING):
            message = f"its folder {self._control} was removed while it ran, and with it how it ended"
            self._end(RunFailed(error={"code": "Lost", "message": message}))
            return False
        if status == CANCEL_REQUESTED:
            self._end(RunCanceled(message="it was canceled before its script started"))
            return False
        try:
            self._append([RunPreparing(attempt=self._attempts() + 1)])
        except IllegalTransition:
            return self._begin(self._status())
        try:
            launch = self._prepare()
        except (OnRecordError, OSError) as problem:
            self._end(RunFailed(error={"code": "PreparationFailed", "message": str(problem)}))
            return False
        if self._status() == CANCEL_REQUESTED:
            return self._begin(CANCEL_REQUESTED)
        return self._start(launch)

    def _prepare(self) -> Launch:
        folder, row = self._folder, self._workspace.query.run(self._run_id)
        if folder.work.exists():
            shutil.rmtree(folder.work)
        restore_snapshot(self._workspace.store, str(row.snapshot_id), folder.work)
        for name in ("outputs", "logs"):
            (folder.work / name).mkdir(exist_ok=True)
        for path in (folder.logs, folder.records):
            path.mkdir(exist_ok=True)
        for path in (folder.stdout, folder.stderr, folder.spool):
            path.touch()
        return Launch(
            command=command_of(self._config),
            working_directory=folder.work,
            environment=environment_of(self._config, self._workspace, row),
            stdout=folder.stdout,
            stderr=folder.stderr,
            control=self._control,
            time_limit_seconds=self._config["max_run_duration_seconds"],
            grace_seconds=GRACE_SECONDS,
        )

    def _start(self, launch: Launch) -> bool:
        try:
            self._executor.start(launch)
        except AlreadyStarted:
            pass
        except OnRecordError as problem:
            self._end(RunFailed(error={"code": "StartFailed", "message": str(problem)}))
            return False
        try:
            answer = self._folder.records / "environment.json"
            self._inventory = Inventory(launch.command[0], launch.environment, launch.working_directory, answer)
        except OSError:
            # An interpreter that cannot be started: the run itself will say so.
            pass
        return True

    # ---- while it runs -------------------------------------------------------------------------

    def _watch(self, progress: Progress) -> Ended:
        begun = time.monotonic()
        while not isinstance(progress, Ended):
            if isinstance(progress, Started):
                self._note_running(progress)
                self._tell_truth()
            self._look()
            # A short script is followed closely, a long one costs next to nothing.
            pause = _FIRST_LOOK_SECONDS if time.monotonic() - begun < 1 else _LOOK_SECONDS
            progress = self._executor.wait(self._control, pause, progress)
        if progress.reason == "lost":
            progress = self._executor.recover(self._control)
        if not isinstance(progress, Ended):
            return self._watch(progress)
        if progress.started is not None:
            self._note_running(progress.started)
        return progress

    def _note_running(self, started: Started) -> None:
        if getattr(self, "_noted", False):
            return
        self._noted = True
        if self._workspace.query.run(self._run_id).started_at is not None:
            return
        running = RunRunning(
            pid=started.pid,
            start_ticks=started.start_ticks,
            boot_id=started.boot_id,
            host=os.uname().nodename,
            started_at=started.at,
        )
        try:
            self._append([running])
        except IllegalTransition:
            pass

    def _look(self) -> None:
        if not self._stop_asked and self._folder.cancel.exists() and self._status() == CANCEL_REQUESTED:
            self._executor.stop(self._control)
            self._stop_asked = True
        try:
            if has_more(self._folder.spool, 0):
                ingest(self._workspace.journal, self._run_id, self._folder.spool)
            self._look_at_files()
        except (OnRecordError, OSError) as problem:
            # No room now: the script goes on, and the last look takes what is still missing.
            sys.stderr.write(f"{problem}\n")

    def _look_at_files(self) -> None:
        now = time.monotonic()
        if self._watcher is None:
            if self._next_files == 0:
                self._next_files = now + 1
            elif now > self._next_files:
                self._watcher = Watcher([self._folder.work / "outputs", self._folder.work / "logs"])
            return
        files = self._files()
        hinted = self._watcher.changed() or files.unsettled
        if now > self._next_files or (hinted and now > self._next_files - _LOOK_AT_FILES_SECONDS + 1):
            self._next_files = now + _LOOK_AT_FILES_SECONDS
            files.look(final=False)

    def _files(self) -> Capture:
        if self._capture is None:
            self._capture = Capture(self._folder.work, self._workspace.store, self._append)
            known = self._workspace.query.files(self._run_id)
            self._capture.already_recorded({row.name: row.digest for row in known})
        return self._capture

    # ---- after the script ----------------------------------------------------------------------

    def _finish(self, ended: Ended) -> None:
        finalizing = RunFinalizing(
            outcome=ended.reason,
            exit_code=ended.exit_code,
            signal=ended.signal,
            ended_at=ended.at,
            survivors_ended=ended.survivors_killed,
        )
        if ended.started is not None and self._status() not in (FINALIZING, *TERMINAL):
            self._append([finalizing])
        if self._watcher is not None:
            self._watcher.stop()
        self._keep_files()
        limit = self._config["max_run_duration_seconds"]
        self._end(last_event(ended, self._folder.stderr, limit, self._warnings))

    def _keep_files(self) -> None:
        try:
            ingest(self._workspace.journal, self._run_id, self._folder.spool)
        except (OnRecordError, OSError) as problem:
            self._warnings.append(f"metrics still in {self._folder.spool} could not be taken in: {problem}")
        try:
            capture = self._files()
            capture.look(final=True)
            for name, path in self._own_files():
                capture.take(name, path)
            self._warnings += capture.problems
        except (OnRecordError, OSError) as problem:
            self._warnings.append(f"files still in {self._folder.work} could not be kept: {problem}")

    def _own_files(self) -> list[tuple[str, Path]]:
        files = [("logs/stdout.txt", self._folder.stdout), ("logs/stderr.txt", self._folder.stderr)]
        inventory = self._inventory.finish() if self._inventory is not None else None
        if inventory is not None:
            files.append((INVENTORY_NAME, inventory))
        return [(name, path) for name, path in files if path.exists()]

    def _end(self, event: Event) -> None:
        try:
            self._append([event], seal=True)
        except IllegalTransition:
            if self._status() not in TERMINAL:
                raise
        if has_more(self._folder.spool, self._workspace.query.spool_position(self._run_id)):
            ingest(self._workspace.journal, self._run_id, self._folder.spool)
        self._tell_truth()

    # ---- the ledger ----------------------------------------------------------------------------

    def _append(self, events: Sequence[Event], *, seal: bool = False) -> None:
        """Append, and where there is no room or no turn, wait for it: what happened must not be lost."""
        while True:
            try:
                self._workspace.journal.append(self._run_id, events, seal=seal)
            except (LedgerFull, LedgerBusy) as problem:
                sys.stderr.write(f"{problem}\n")
                sys.stderr.flush()
                time.sleep(_RETRY_SECONDS)
            else:
                return

    def _status(self) -> str:
        return self._workspace.query.run(self._run_id).status

    def _attempts(self) -> int:
        return sum(recorded.type == RunPreparing.type for recorded in self._workspace.journal.read(self._run_id))

    def _read_config(self) -> dict[str, Any]:
        for recorded in self._workspace.journal.read(self._run_id, limit=1):
            return dict(getattr(recorded.event, "config", {}))
        return {}

    def _tell_truth(self) -> None:
        if self._answer >= 0:
            try:
                os.write(self._answer, b"t")
            except OSError:
                pass
            os.close(self._answer)
            self._answer = -1
