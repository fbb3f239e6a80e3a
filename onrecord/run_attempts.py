"""The attempts of a run that is submitted again when it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onrecord.run_control import RunControl

if TYPE_CHECKING:
    from onrecord.run import Run


class RunAttempts(RunControl):
    """Each attempt is a run of its own, with its own status, files and metrics."""

    def get_attempts(self) -> list[Run]:
        """All attempts so far, the first one first; the run alone where it was submitted without retries."""
        from onrecord.attempts import attempts_of
        from onrecord.run import Run

        return [Run(self.workspace, run_id) for run_id in attempts_of(self.workspace, self.id)]

    def wait_for_last_attempt(self, show_output: bool = False, raise_on_error: bool = True) -> Run:
        """Wait until no attempt follows; returns the last one, which has ended.

        The arguments are those of `wait_for_completion`, the error that of the last attempt.
        """
        from onrecord.attempts import next_attempt
        from onrecord.run import Run

        run = Run(self.workspace, self.id)
        while True:
            run.wait_for_completion(show_output=show_output, raise_on_error=False)
            following = next_attempt(self.workspace, run.id)
            if following is None:
                break
            run = Run(self.workspace, following)
        if raise_on_error:
            run.wait_for_completion()
        return run
