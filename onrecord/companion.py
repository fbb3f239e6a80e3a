"""What a conductor does once the first start is made: it goes with the script to its end, and puts that on record.

Also everything that is not the usual course: a run taken over from a conductor that died, one that is
canceled before its script started, one that cannot be started.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from onrecord.attempts import record_end
from onrecord.companion_files import CompanionFiles
from onrecord.errors import OnRecordError, in_one_line
from onrecord.executors.errors import NothingStarted
from onrecord.executors.protocol import Ended, Executor, Launch, Progress, Started, Waiting, capabilities_of
from onrecord.ingest import has_more, ingest, size_of
from onrecord.ledger.errors import IllegalTransition
from onrecord.ledger.events import (
    Event,
    RunCanceled,
    RunFailed,
    RunFinalizing,
    RunPreparing,
    RunQueued,
    RunRunning,
)
from onrecord.ledger.states import CANCEL_REQUESTED, FINALIZING, PREPARING, TERMINAL
from onrecord.outcome import last_event
from onrecord.patience import patiently, say
from onrecord.preparation import (
    GRACE_SECONDS,
    Start,
    StartFailure,
    executor_of,
    needs_build,
    start_script,
    uses_container,
)
from onrecord.resource_sampling import ResourceSampling
from onrecord.run_types import INTERACTIVE
from onrecord.whereabouts import WorkspaceMoved, moved_to
from onrecord.workspace import Workspace

_FIRST_LOOK_SECONDS = 0.05
_LOOK_SECONDS = 0.25
_LOOK_AT_LEDGER_SECONDS = 2.0


def accompany(workspace: Workspace, run_id: str, answer: int, start: Start) -> None:
    """Take a run to its end, after a start that was just made, or from wherever it is."""
    companion = Companion(workspace, run_id, answer)
    try:
        companion.go(start)
    except Exception:
        elsewhere = moved_to(workspace.layout.root)
        if elsewhere is not None:
            accompany(elsewhere, run_id, companion.answer, Start())
            return
        import traceback

        companion.give_up(traceback.format_exc())
        raise


class Companion:
    """One run and what is known of it."""

    def __init__(self, workspace: Workspace, run_id: str, answer: int) -> None:
        self._workspace = workspace
        self._run_id = run_id
        self.answer = answer
        self._folder = workspace.layout.run(run_id)
        self._control = self._folder.path
        self._files = CompanionFiles(workspace, run_id, self._append, lambda: self._config)
        self._warnings: list[str] = []
        self._started: Started | None = None
        self._noted = False
        self._stop_asked = False
        self._spool_size = 0
        self._next_ledger = 0.0

    def go(self, start: Start) -> None:
        """Carry the run on from wherever it is to its end."""
        self._files.inventory = start.inventory
        if isinstance(start.outcome, Exception):
            raise start.outcome
        if start.outcome is not None:
            if self._is_under_way(start.outcome):
                self._accompany(self._executor.poll(self._control))
            return
        status = self._status()
        if status in TERMINAL:
            self._end_children()
            self._tell_truth()
            return
        progress = self._executor.poll(self._control)
        if isinstance(progress, Ended) and progress.reason == "lost" and self._executor.withdraw(self._control):
            # The conductor before this one was killed together with the supervisor that was just coming up.
            progress = Waiting()
        # Its supervisor may just be coming up: then the script has its working copy, and is not to be given another.
        if isinstance(progress, Waiting) and not self._is_launched() and not self._begin(status):
            return
        self._accompany(progress)

    def give_up(self, trace: str) -> None:
        """Something here failed that should not: say so in the run rather than leave it open."""
        say(trace)
        error = {"code": "InternalError", "message": trace.strip().splitlines()[-1], "details": trace[-3000:]}
        try:
            progress = self._executor.poll(self._control)
            if isinstance(progress, Started) or (isinstance(progress, Waiting) and self._is_launched()):
                # The script lives: the next command gives the run another conductor.
                return
            if isinstance(progress, Waiting):
                self._end_strays()
        except (OnRecordError, OSError):
            progress = Waiting()
        exit_code, signal = (progress.exit_code, progress.signal) if isinstance(progress, Ended) else (None, None)
        try:
            self._append([RunFailed(error=error, exit_code=exit_code, signal=signal)], seal=True)
        except IllegalTransition:
            # It had come to its end before.
            return

    # ---- before the script ---------------------------------------------------------------------

    def _begin(self, status: str) -> bool:
        """Prepare the run and start its script; False when it ended instead."""
        if status == FINALIZING or self._workspace.query.run(self._run_id).started_at is not None:
            self._close_without_folder()
            return False
        if status == CANCEL_REQUESTED:
            self._end(RunCanceled(message="it was canceled before its script started"))
            return False
        if not capabilities_of(self._executor).start:
            # It was to be started by whoever submitted it, and runs nowhere else.
            message = "the process that was to run it inline ended before its script started"
            self._end(RunFailed(error={"code": "Lost", "message": message}))
            return False
        try:
            self._append(self._preparing(status))
        except IllegalTransition:
            return self._begin(self._status())
        # As it was submitted: the interpreter of a built environment is not the one that it is built with.
        submitted = self._workspace.query.config(self._run_id)
        outcome = start_script(self._workspace, self._run_id, submitted, self._executor)
        # What was read before the environment was there.
        self.__dict__.pop("_config", None)
        return self._begin(CANCEL_REQUESTED) if outcome is None else self._is_under_way(outcome)

    def _is_under_way(self, outcome: Launch | StartFailure) -> bool:
        """Whether a start was a good one; else it was the run's end."""
        if isinstance(outcome, StartFailure):
            self._files.keep_build_log()
            details = {"details": outcome.details} if outcome.details else {}
            self._end(RunFailed(error={"code": outcome.code, "message": outcome.message, **details}))
            return False
        self._files.ask_for_inventory(outcome.environment)
        return True

    def _preparing(self, status: str) -> list[Event]:
        again: list[Event] = []
        if status == PREPARING:
            again.append(RunQueued(reason="the conductor that prepared it died"))
        return [*again, RunPreparing(attempt=self._attempts() + 1)]

    def _is_launched(self) -> bool:
        """Whether a script was set on its way from the run's folder."""
        try:
            self._executor.logs(self._control)
        except NothingStarted:
            return False
        return True

    # ---- while it runs -------------------------------------------------------------------------

    def _accompany(self, progress: Progress) -> None:
        ended = self._watch(progress)
        if ended is None:
            self._close_without_folder()
        else:
            self._finish(ended)

    def _watch(self, progress: Progress) -> Ended | None:
        """Accompany the script to its end; None when the run's folder was removed from under it."""
        begun = time.monotonic()
        while not isinstance(progress, Ended):
            if isinstance(progress, Started):
                self._started = progress
                self._note_running(progress)
                self._tell_truth()
            elif not self._is_launched():
                return None
            self._look()
            # A short script is followed closely, a long one costs next to nothing.
            pause = _FIRST_LOOK_SECONDS if time.monotonic() - begun < 1 else _LOOK_SECONDS
            progress = self._executor.wait(self._control, pause, progress)
        if progress.reason == "lost":
            progress = self._settled(progress)
        if not isinstance(progress, Ended):
            return self._watch(progress)
        if progress.started is not None:
            self._note_running(progress.started)
        return progress

    def _settled(self, lost: Ended) -> Progress:
        settled: Progress = lost
        try:
            settled = self._executor.recover(self._control)
        except (OnRecordError, OSError) as problem:
            if self._is_launched():
                # Its processes were ended; that there was no room to write so down beside them changes nothing.
                self._warnings.append(in_one_line(problem))
        # Its folder may have been removed just then, which looks as if its supervisor had died: what was gone
        # first is what its processes are known by, so that they may live.
        return settled if self._is_launched() else Waiting()

    def _note_running(self, started: Started) -> None:
        if self._noted:
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
        image: list[Event] = []
        if uses_container(self._config.get("environment", {})):
            from onrecord.container_outcome import image_of

            image = [*image_of(self._folder)]
        try:
            self._append([running, *image])
        except IllegalTransition:
            pass

    def _look(self) -> None:
        try:
            self._obey()
            if self._folder.wake.exists():
                self._folder.wake.unlink(missing_ok=True)
                self._workspace.recover(0)
            size = size_of(self._folder.spool)
            if size != self._spool_size:
                ingest(self._workspace.journal, self._run_id, self._folder.spool)
                self._spool_size = size
            self._files.look()
            if self._started is not None and capabilities_of(self._executor).resources:
                self._resources.look(self._started)
        except (OnRecordError, OSError) as problem:
            # No room now: the script goes on, and the last look takes what is still missing.
            say(f"{problem}\n")

    def _obey(self) -> None:
        """Pass on a request to cancel: at once where its file is there, soon where only the ledger has it."""
        now = time.monotonic()
        if self._stop_asked or not (now > self._next_ledger or self._folder.cancel.exists()):
            return
        self._next_ledger = now + _LOOK_AT_LEDGER_SECONDS
        if self._status() == CANCEL_REQUESTED:
            self._executor.stop(self._control)
            self._stop_asked = True

    # ---- after the script ----------------------------------------------------------------------

    def _finish(self, ended: Ended) -> None:
        if uses_container(self._config.get("environment", {})):
            from onrecord.container_outcome import told_by_container

            ended = told_by_container(ended, self._folder)
        finalizing = RunFinalizing(
            outcome=ended.reason,
            exit_code=ended.exit_code,
            signal=ended.signal,
            ended_at=ended.at,
            survivors_ended=ended.survivors_killed,
        )
        try:
            self._resources.finish(ended)
        except (OnRecordError, OSError) as problem:
            say(f"{problem}\n")
        if ended.started is not None and self._status() not in (FINALIZING, *TERMINAL):
            try:
                self._append([finalizing])
            except IllegalTransition:
                # Someone else came first; what is still missing is added all the same.
                pass
        if self._config.get("resume_from"):
            from onrecord.resuming import take_away

            take_away(self._folder.resumed)
        self._files.finish(ended, self._warnings)
        limit = self._config["max_run_duration_seconds"]
        noted = self._workspace.query.noted_failure(self._run_id)
        event = last_event(ended, self._folder.stderr, limit, self._warnings, noted)
        if self._workspace.query.has_children(self._run_id):
            # Those that its own process was end with it, before anything is said of how children ended.
            self._end_children(ended)
            from onrecord.family_verdict import with_children

            event = with_children(self._workspace, self._run_id, event)
        self._end(event)

    def _close_without_folder(self) -> None:
        """The run's folder is gone: end what still runs, and say what the ledger alone can still tell."""
        if moved_to(self._workspace.layout.root) is not None:
            raise WorkspaceMoved.away_from(self._workspace.layout.root)
        from onrecord import lost_folder

        known = lost_folder.how_it_ended(self._workspace.journal, self._run_id)
        if known is not None:
            self._finish(known)
            return
        self._end_strays()
        message = f"its folder {self._control} was removed while it ran, and with it how it ended"
        if self._status() == CANCEL_REQUESTED:
            self._end(RunCanceled(message=message))
        else:
            self._end(RunFailed(error={"code": "Lost", "message": message}))

    def _end_strays(self) -> None:
        from onrecord import lost_folder

        started = self._started or lost_folder.who_it_was(self._workspace.journal, self._run_id)
        lost_folder.end_processes(self._control, started, GRACE_SECONDS)
        if uses_container(self._config.get("environment", {})):
            from onrecord.container_outcome import end_strays

            end_strays(self._run_id)

    def _end_children(self, ended: Ended | None = None) -> None:
        if any(row.run_type == INTERACTIVE for row in self._workspace.query.unfinished()):
            from onrecord.interactive_finish import end_left_open

            patiently(lambda: end_left_open(self._workspace, self._run_id, ended))

    def _end(self, event: Event) -> None:
        self._end_children()
        try:
            patiently(lambda: record_end(self._workspace, self._run_id, event))
        except IllegalTransition:
            if self._status() not in TERMINAL:
                raise
        patiently(self._take_late_points)
        self._tell_truth()
        self._start_others()
        from onrecord.anchors import keep_checkpoint

        keep_checkpoint(self._workspace)

    def _start_others(self) -> None:
        from onrecord.waiting_runs import start_waiting

        try:
            start_waiting(self._workspace)
        except (OnRecordError, OSError) as problem:
            # Any command tries again.
            say(f"{problem}\n")

    def _take_late_points(self) -> None:
        if has_more(self._folder.spool, self._workspace.query.spool_position(self._run_id)):
            ingest(self._workspace.journal, self._run_id, self._folder.spool)

    # ---- the ledger ----------------------------------------------------------------------------

    def _append(self, events: Sequence[Event], *, seal: bool = False) -> None:
        patiently(lambda: self._workspace.journal.append(self._run_id, events, seal=seal))

    def _status(self) -> str:
        return self._workspace.query.run(self._run_id).status

    def _attempts(self) -> int:
        return sum(recorded.type == RunPreparing.type for recorded in self._workspace.journal.read(self._run_id))

    @cached_property
    def _config(self) -> dict[str, Any]:
        config = self._workspace.query.config(self._run_id)
        if config and needs_build(config):
            from onrecord.built_environment import adopted

            return adopted(self._workspace, config)
        return config

    @cached_property
    def _executor(self) -> Executor:
        return executor_of(self._workspace, self._config["target"])

    @cached_property
    def _resources(self) -> ResourceSampling:
        def given() -> tuple[int, ...]:
            from onrecord.waiting_runs import gpus_of

            return gpus_of(self._workspace, self._run_id, self._config)

        return ResourceSampling(self._append, self._control, given)

    def _tell_truth(self) -> None:
        if self.answer >= 0:
            try:
                os.write(self.answer, b"t")
            except OSError:
                pass
            os.close(self.answer)
            self.answer = -1
