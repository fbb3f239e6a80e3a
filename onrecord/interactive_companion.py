"""The companion of a process whose runs are its own: it takes in what they write, and ends them when nobody else can.

One serves all runs of a process, in a process of its own that holds nothing of the other's. Everything it does can
be done again by the next one, which any command starts for runs whose companion died.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from onrecord.errors import OnRecordError
from onrecord.ingest import ingest, size_of
from onrecord.interactive_ending import Ending
from onrecord.interactive_finish import finish, open_runs
from onrecord.interactive_folders import captures_of
from onrecord.interactive_process import WatchedProcess
from onrecord.inventory import NAME as INVENTORY
from onrecord.inventory import Inventory
from onrecord.ledger.errors import IllegalTransition, LedgerBusy, LedgerFull
from onrecord.ledger.events import RunFailed, RunFinalizing
from onrecord.ledger.states import CANCEL_REQUESTED, CANCELED, FINALIZING
from onrecord.lookout import Lookout
from onrecord.lost_folder import how_it_ended, who_it_was
from onrecord.patience import patiently, say

if TYPE_CHECKING:
    from collections.abc import Callable

    from onrecord.capture import Capture
    from onrecord.executors.protocol import Ended
    from onrecord.ledger.query import RunRow
    from onrecord.workspace import Workspace

_LOOK_SECONDS = 0.5
_LEDGER_SECONDS = 2.0
# How long a process may take to end its run by itself after it was interrupted.
_INTERRUPTED_SECONDS = 10.0


def attend(workspace: Workspace, session: str, word: int, answer: int, process: int | None = None) -> None:
    """Care for the runs of a session until its process has ended or has no open run any more.

    `word`: where the process asks for a look, until it closes it; `answer`: told once what is true is on record;
    `process`: its pidfd, where it gave one.
    """
    Companion(workspace, session, word, process).go(answer)


class Companion:
    """One process and the runs that it has open."""

    def __init__(self, workspace: Workspace, session: str, word: int, process: int | None) -> None:
        self._workspace = workspace
        self._session = session
        self._word: int | None = word
        folder = workspace.layout.run(session)
        self._process = WatchedProcess(who_it_was(workspace.journal, session), folder.process_lock, process)
        self._runs: dict[str, _Attended] = {}
        self._next_ledger = 0.0
        self._complaint = ""

    def go(self, answer: int) -> None:
        """Look, and look again, until there is nothing left to care for."""
        try:
            self._go(answer)
        except Exception:
            import traceback

            trace = traceback.format_exc()
            say(trace)
            if self._process.has_ended():
                self._give_up(trace)
            raise

    def _go(self, answer: int) -> None:
        # Without its workspace there is nothing to care for.
        while self._workspace.layout.config.is_file():
            # Asked before the look: what is recorded after it is seen by the next one, or there is no next process.
            gone = self._process.has_ended()
            asked = self._take_word()
            try:
                self._look(asked or gone)
            except (LedgerBusy, LedgerFull) as problem:
                self._complain(problem)
                self._next_ledger = 0.0
                self._process.wait(None, _LOOK_SECONDS)
                continue
            if gone:
                self._end_all()
            if answer >= 0:
                _tell(answer)
                answer = -1
            if gone or (self._word is None and not self._runs):
                break
            self._process.wait(self._word, _LOOK_SECONDS if self._runs else 60.0)
        from onrecord.anchors import keep_checkpoint

        keep_checkpoint(self._workspace)

    def _give_up(self, trace: str) -> None:
        """Something here failed that should not: say so in the runs rather than leave them open."""
        error = {"code": "InternalError", "message": trace.strip().splitlines()[-1], "details": trace[-3000:]}
        for row in open_runs(self._workspace, self._session):
            self._workspace.journal.append(row.run_id, [RunFailed(error=error)], seal=True)

    def _take_word(self) -> bool:
        if self._word is None:
            return False
        os.set_blocking(self._word, False)
        try:
            said = os.read(self._word, 65536)
        except BlockingIOError:
            return False
        if not said:
            os.close(self._word)
            self._word = None
        return True

    def _look(self, everything: bool) -> None:
        now = time.monotonic()
        if everything or now >= self._next_ledger:
            self._next_ledger = now + _LEDGER_SECONDS
            rows = {row.run_id: row for row in open_runs(self._workspace, self._session)}
            for run_id in self._runs.keys() - rows.keys():
                self._runs.pop(run_id).stop()
            for run_id in rows.keys() - self._runs.keys():
                self._runs[run_id] = _Attended(self._workspace, run_id)
            for row in rows.values():
                self._obey(row)
        for run_id, attended in list(self._runs.items()):
            attended.look()
            ending = attended.ending()
            if ending is not None and not ending.left:
                self._end(run_id, ending, None)

    def _obey(self, row: RunRow) -> None:
        """Someone asked for the run's end: its process is interrupted once, and then has a moment to end it itself."""
        attended = self._runs[row.run_id]
        if row.status != CANCEL_REQUESTED:
            return
        if attended.interrupted is None and row.parent is None:
            attended.interrupted = time.monotonic()
            # Not that of the original, where this is a copy of the workspace.
            if not self._process.has_ended():
                self._process.interrupt()
        elif row.parent is not None or time.monotonic() - (attended.interrupted or 0.0) > _INTERRUPTED_SECONDS:
            self._end(row.run_id, Ending(CANCELED, message="its end was asked for; its process goes on"), None)

    def _end_all(self) -> None:
        ended = self._process.ended()
        for run_id, attended in list(self._runs.items()):
            self._end(run_id, attended.ending(), ended)

    def _end(self, run_id: str, ending: Ending | None, ended: Ended | None) -> None:
        attended = self._runs.pop(run_id)
        attended.stop()
        if ending is None or ending.left:
            # Only this process knows how the other one ended: it must be on record before anything that takes time.
            ended = how_it_ended(self._workspace.journal, run_id) or ended
            self._note(run_id, ended)
        patiently(
            lambda: finish(self._workspace, run_id, ending, ended, captures=attended.captures(), more=attended.more())
        )

    def _note(self, run_id: str, ended: Ended | None) -> None:
        if ended is None or self._workspace.query.run(run_id).status == FINALIZING:
            return
        told = RunFinalizing(outcome=ended.reason, exit_code=ended.exit_code, signal=ended.signal, ended_at=ended.at)
        try:
            patiently(lambda: self._workspace.journal.append(run_id, [told]))
        except IllegalTransition:
            return

    def _complain(self, problem: Exception) -> None:
        if str(problem) != self._complaint:
            self._complaint = str(problem)
            say(f"{problem}\n")


class _Attended:
    """One open run: its spool, its folders, and the question for its packages."""

    def __init__(self, workspace: Workspace, run_id: str) -> None:
        self._workspace = workspace
        self._run_id = run_id
        self._folder = workspace.layout.run(run_id)
        self._captures = captures_of(workspace, run_id)
        self._lookouts = [Lookout(_giving(capture), capture.work, capture.folders) for capture in self._captures]
        self._spool_size = 0
        self._complaint = ""
        self._inventory = self._asked() if self._captures else None
        # When its process was interrupted, on the monotonic clock.
        self.interrupted: float | None = None

    def look(self) -> None:
        """Take in what is new, as far as there is room."""
        try:
            size = size_of(self._folder.spool)
            if size != self._spool_size:
                ingest(self._workspace.journal, self._run_id, self._folder.spool)
                self._spool_size = size
            for lookout in self._lookouts:
                lookout.look()
        except (OnRecordError, OSError) as problem:
            # The last look takes what is still missing.
            if str(problem) != self._complaint:
                self._complaint = str(problem)
                say(f"{problem}\n")

    def ending(self) -> Ending | None:
        """What its process said of its end."""
        return Ending.read(self._folder.ending)

    def captures(self) -> list[Capture]:
        """What has been watching its folders."""
        return self._captures

    def more(self) -> list[tuple[str, Path]]:
        """What onrecord itself has to add to its files."""
        found = self._inventory.finish() if self._inventory is not None else None
        return [(INVENTORY, found)] if found is not None else []

    def stop(self) -> None:
        """End what watches its folders."""
        for lookout in self._lookouts:
            lookout.stop()
        self._lookouts = []

    def _asked(self) -> Inventory | None:
        if any(row.name == INVENTORY for row in self._workspace.query.files(self._run_id)):
            return None
        interpreter = str(self._workspace.query.config(self._run_id).get("interpreter") or sys.executable)
        try:
            self._folder.records.mkdir(exist_ok=True)
            return Inventory(interpreter, os.environ, self._folder.path, self._folder.records / "environment.json")
        except OSError:
            return None


def _giving(capture: Capture) -> Callable[[], Capture]:
    return lambda: capture


def _tell(answer: int) -> None:
    try:
        os.write(answer, b"t")
    except OSError:
        pass
    os.close(answer)
