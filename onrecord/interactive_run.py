"""What only the process that started an interactive run can do with it: end it."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING

from onrecord import interactive_session
from onrecord.errors import OnRecordError
from onrecord.interactive_ending import UNSAID, Ending, of_exception
from onrecord.ledger.states import CANCELED, COMPLETED, FAILED

if TYPE_CHECKING:
    from onrecord.interactive_session import Session
    from onrecord.run import Run


class InteractiveRun:
    """One open run of this process; `parent` is the id of the run that it was started from."""

    def __init__(self, session: Session, run_id: str, parent: str | None, keeps_folders: bool) -> None:
        self.session = session
        self.run_id = run_id
        self.parent = parent
        # What `Run.get_context()` answers with.
        self.handle: Run | None = None
        self._keeps_folders = keeps_folders
        self._pid = os.getpid()
        self._over = False
        self._mutex = threading.Lock()

    def complete(self, set_status: bool = True) -> None:
        """End it as Completed; without `set_status` nothing is to be said of its end yet."""
        if set_status:
            self.end(Ending(COMPLETED))

    def cancel(self) -> None:
        """End it as Canceled; the process goes on."""
        self.end(Ending(CANCELED, message="canceled by its own process"))

    def fail(self, error_details: object = None, error_code: str | None = None, set_status: bool = True) -> None:
        """End it as Failed, with a text or an exception that says why; without `set_status` not yet."""
        if not set_status:
            return
        if isinstance(error_details, BaseException):
            error = dict(of_exception(error_details).error or {"message": repr(error_details)})
            error["code"] = error_code or "UserError"
        else:
            message = "its own process said that it failed" if error_details is None else str(error_details)
            error = {"code": error_code or "UserError", "message": message}
        self.end(Ending(FAILED, error=error))

    def leave(self, problem: BaseException | None) -> None:
        """A `with` block ends: what it ends with says how the run does."""
        if os.getpid() == self._pid:
            self.end(Ending(COMPLETED) if problem is None else of_exception(problem))

    def end(self, ending: Ending) -> None:
        """Put its end on record, with that of its open children; once. Returns when all of it is safe."""
        if os.getpid() != self._pid:
            self._say(f"run {self.run_id} was not ended: a fork of its process cannot do that")
            return
        with self._mutex:
            if self._over:
                return
            self._over = True
        try:
            self._end_children(ending)
            self._record(ending)
        finally:
            interactive_session.ended(self)
            # A thousand ended children must not hold a file each; the next point opens it again.
            if self.handle is not None:
                self.handle._write_point = self.handle._spool = None

    def leave_open(self, ending: Ending) -> None:
        """The interpreter ends, and nobody has ended the run: whoever learns how the process ends does so."""
        if self._over or os.getpid() != self._pid:
            return
        try:
            ending._replace(left=True).write(self.session.workspace.layout.run(self.run_id).ending)
        except OSError:
            return

    def _record(self, ending: Ending) -> None:
        workspace = self.session.workspace
        if not (self._keeps_folders and self.session.has_companion):
            from onrecord.interactive_finish import finish

            try:
                finish(workspace, self.run_id, ending)
                return
            except (OnRecordError, OSError) as problem:
                self._say(f"the end of run {self.run_id} is recorded later: {problem}")
        try:
            ending.write(workspace.layout.run(self.run_id).ending)
            self.session.poke()
        except OSError as problem:
            self._say(f"the end of run {self.run_id} could not be recorded, `onrecord show` will tell: {problem}")
            return
        if self._keeps_folders and self.session.has_companion:
            self.session.wait_until_ended(self.run_id)

    def _end_children(self, ending: Ending) -> None:
        for child in interactive_session.open_runs():
            if child.parent == self.run_id:
                child.end(_with_parent(ending))

    def _say(self, text: str) -> None:
        print(f"onrecord: {text}", file=sys.stderr)


def _with_parent(ending: Ending) -> Ending:
    if ending.status == FAILED:
        said = (ending.error or {}).get("message", "")
        return Ending(FAILED, error={"code": "ParentFailed", "message": f"its parent failed: {said}"})
    return ending._replace(message="it ended with its parent" if ending.status == CANCELED else UNSAID, exit_code=None)
