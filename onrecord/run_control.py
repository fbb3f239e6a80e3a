"""How a run ends: waiting for it, asking for it, and taking back what is known of it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from onrecord.run_details import RunDetails
from onrecord.run_errors import RunFailedError
from onrecord.run_interactive import RunInteractive

if TYPE_CHECKING:
    from onrecord.ledger.query import RunRow


class RunControl(RunDetails, RunInteractive):
    """Nothing here ends the caller's own process, and a run goes on whoever waits for it."""

    def wait_for_completion(
        self, show_output: bool = False, wait_post_processing: bool = False, raise_on_error: bool = True
    ) -> dict[str, Any]:
        """Wait until it has ended and its outputs are in the history; returns `get_details()`.

        `show_output` prints what the script prints. Ctrl-C stops the waiting, never the run. Raises
        RunFailedError for a failed run, not for a canceled one, unless `raise_on_error` is false.
        `wait_post_processing` is accepted for Azure ML's sake: outputs are always waited for.
        """
        from onrecord.script_output import Follower

        try:
            if show_output:
                print(f"RunId: {self.id}\n", flush=True)
                Follower(self, _print_bytes, _print_bytes, notes=_print_bytes).follow()
            else:
                Follower(self, _ignore, _ignore).follow()
        except KeyboardInterrupt:
            print(f"\nrun {self.id} goes on; onrecord logs -f {self.id} follows it", file=sys.stderr)
            raise
        row = self._row()
        if show_output:
            print(f"\nExecution Summary\n=================\nRunId: {self.id}\nStatus: {row.status}", flush=True)
        if raise_on_error and row.status == "Failed":
            raise self._failure(row)
        return self.get_details()

    def cancel(self) -> None:
        """Ask for its end: SIGTERM to all its processes, SIGKILL ten seconds later. Nothing where it has ended."""
        if self._interactive is not None:
            self._interactive.cancel()
            return
        from onrecord.ledger.errors import IllegalTransition
        from onrecord.ledger.events import CancelRequested

        try:
            self.workspace.journal.append(self.id, [CancelRequested(by=f"pid {os.getpid()}")])
        except IllegalTransition:
            # It has ended, is ending, or was asked already, by someone who may have died before the next lines.
            if self._row().status != "CancelRequested":
                return
        from onrecord.interactive_finish import cancel_child

        if cancel_child(self.workspace, self.id):
            return
        folder = self.workspace.layout.run(self.id)
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.cancel.touch()
        self.workspace.recover(0)

    def complete(self) -> None:
        """End an interactive run as Completed; a submitted one ends with its script."""
        if self._interactive is not None:
            self._interactive.complete()

    def fail(self, error_details: str | BaseException | None = None, error_code: str | None = None) -> None:
        """End an interactive run as Failed; a submitted one ends with its script."""
        if self._interactive is not None:
            self._interactive.fail(error_details, error_code)

    def erase(self, *, files: bool = False, reason: str = "", experiment_too: bool = False) -> None:
        """Erase what is known of it: arguments, tags, metrics, errors; its place and its proofs stay.

        `files`: also its files and its source, as far as no other run has them, and its folder. `experiment_too`:
        also which experiment it belonged to. Raises RunNotEnded, RunHasModels (with `files`), ErasureUnfinished.
        """
        from onrecord.erasure import erase_runs

        erase_runs(self.workspace, [self.id], files=files, reason=reason, experiment_too=experiment_too)

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
