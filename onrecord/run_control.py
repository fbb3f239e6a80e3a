"""How a run ends: waiting for it, asking for it, and taking back what is known of it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from onrecord.run_details import RunDetails
from onrecord.run_errors import RunFailedError, RunHasEnded, WaitedTooLong
from onrecord.run_interactive import RunInteractive
from onrecord.script_variables import RUN_ID

if TYPE_CHECKING:
    from onrecord.ledger.events import Event
    from onrecord.ledger.query import RunRow


class RunControl(RunDetails, RunInteractive):
    """Nothing here ends the caller's own process, and a run goes on whoever waits for it."""

    def wait_for_completion(
        self,
        show_output: bool = False,
        wait_post_processing: bool = False,
        raise_on_error: bool = True,
        *,
        timeout_seconds: float | None = None,
    ) -> dict[str, Any]:
        """Wait until it has ended and its outputs are in the history; returns `get_details()`.

        `show_output` prints what the script prints. Ctrl-C stops the waiting, never the run. Raises
        RunFailedError for a failed run, not for a canceled one, unless `raise_on_error` is false; WaitedTooLong
        where it takes longer than `timeout_seconds`; WaitsForItself in a script whose own run has the place that this
        one waits for. A run whose conductor died is taken up.
        `wait_post_processing` is accepted for Azure ML's sake: outputs are always waited for.
        """
        from onrecord.script_output import Follower

        if RUN_ID in os.environ:
            from onrecord.own_place import refuse_to_wait_for_own_place

            refuse_to_wait_for_own_place(self.workspace, self.id)
        try:
            if show_output:
                print(f"RunId: {self.id}\n", flush=True)
                ended = Follower(self, _print_bytes, _print_bytes, notes=_print_bytes).follow(timeout_seconds)
            else:
                ended = Follower(self, _ignore, _ignore).follow(timeout_seconds)
        except KeyboardInterrupt:
            print(f"\nrun {self.id} goes on; onrecord logs -f {self.id} follows it", file=sys.stderr)
            raise
        if not ended:
            raise self._waited_too_long(timeout_seconds)
        row = self._row()
        if show_output:
            print(f"\nExecution Summary\n=================\nRunId: {self.id}\nStatus: {row.status}", flush=True)
        if raise_on_error and row.status == "Failed":
            raise self._failure(row)
        return self.get_details()

    def complete(self, _set_status: bool = True) -> None:
        """Say that its work is done. In a submitted script a note: the exit code decides, and is not overridden.

        Nothing on a run that is Completed. Raises RunHasEnded where it has ended otherwise.
        """
        if self._interactive is not None:
            self._interactive.complete(_set_status)
            return
        from onrecord.ledger.events import CompletionNoted

        self._note(CompletionNoted(), "Completed", "complete()")

    def fail(
        self,
        error_details: str | BaseException | None = None,
        error_code: str | None = None,
        _set_status: bool = True,
    ) -> None:
        """Say that it failed, and why: text, or an exception, whose traceback is kept.

        In a submitted script the run goes on, and ends Failed for this reason also where the script then ends with
        exit code 0; of several the first one counts. Nothing on a run that is Failed. Raises RunHasEnded where it
        has ended otherwise.
        """
        if self._interactive is not None:
            self._interactive.fail(error_details, error_code, _set_status)
            return
        from onrecord.failure_text import failure_of
        from onrecord.ledger.events import FailureNoted

        self._note(FailureNoted(error=failure_of(error_details, error_code)), "Failed", "fail()")

    def cancel(self, *, children: bool = False) -> None:
        """Ask for its end: SIGTERM to all its processes, SIGKILL ten seconds later. Nothing where it has ended.

        Its children go on, unless `children`: then all that were started from it are canceled too, over all
        generations, also where it has ended itself.
        """
        from onrecord.canceling import ask_for_end, ask_for_ends_below

        if self._interactive is not None:
            self._interactive.cancel()
        else:
            ask_for_end(self.workspace, self.id)
        if children:
            ask_for_ends_below(self.workspace, self.id)
        self.workspace.recover(0)

    def clean(self) -> None:
        """Remove its working folder, with what its script left outside of `outputs/` and `logs/`.

        What of those is not in the history yet is taken first, so nothing of them is lost. Its logs, files and
        metrics stay in the history. Raises RunNotEnded while it has not ended.
        """
        from onrecord.cleaning import clean

        clean(self.workspace, self.id)

    def erase(self, *, files: bool = False, reason: str = "", experiment_too: bool = False) -> None:
        """Erase what is known of it: arguments, tags, metrics, errors; its place and its proofs stay.

        `files`: also its files and its source, as far as no other run has them, and its folder. `experiment_too`:
        also which experiment it belonged to. Raises RunNotEnded, RunHasModels (with `files`), ErasureUnfinished.
        """
        from onrecord.erasure import erase_runs

        erase_runs(self.workspace, [self.id], files=files, reason=reason, experiment_too=experiment_too)

    def _note(self, event: Event, status: str, call: str) -> None:
        row = self._row()
        if row.status == status:
            return
        if row.ended:
            raise RunHasEnded(
                f"run {self.id} is {row.status} already, and {call} does not change that",
                why="the first end of a run counts",
                next_step=f"run.tag('reviewed', '…') says what you think of it; onrecord show {self.id}",
                run_id=self.id,
                status=row.status,
            )
        self.workspace.journal.append(self.id, [event])

    def _waited_too_long(self, timeout_seconds: float | None) -> WaitedTooLong:
        return WaitedTooLong(
            f"run {self.id} is {self.get_status()} after {timeout_seconds:g} s",
            why="it goes on",
            next_step=f"onrecord logs -f {self.id}   (or run.cancel())",
            run_id=self.id,
            timeout_seconds=timeout_seconds,
        )

    def _failure(self, row: RunRow) -> RunFailedError:
        error = row.error or {}
        details = error.get("details", "")
        return RunFailedError(
            f"run {self.id} failed: {error.get('message', 'no reason was recorded')}",
            why=f"its last words:\n{details}" if details else "",
            next_step=f"onrecord logs {self.id}",
            run_id=self.id,
            exit_code=row.exit_code,
            signal=row.signal,
            error=error,
        )


def _print_bytes(piece: bytes) -> None:
    # Not a real stdout in a notebook or under pytest: then as text.
    raw = getattr(sys.stdout, "buffer", None)
    if raw is None:
        sys.stdout.write(piece.decode("utf-8", "replace"))
    else:
        sys.stdout.flush()
        raw.write(piece)
    sys.stdout.flush()


def _ignore(piece: bytes) -> None:
    del piece
