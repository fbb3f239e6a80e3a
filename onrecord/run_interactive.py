"""A run that its own process is: a block of code may be it, and ends it."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from onrecord.run_handle import RunHandle

if TYPE_CHECKING:
    # Not at run time: an image's Python may be older than the one that has it, and logs all the same.
    from typing import Self

    from onrecord.interactive_run import InteractiveRun


class RunInteractive(RunHandle):
    """`with experiment.start_logging() as run:` and `with run.child_run() as child:`."""

    # Set only in the process that began the run.
    _interactive: InteractiveRun | None = None

    def start(self) -> None:
        """Nothing: what `start_logging` or `child_run` began is Running. Azure ML has it for runs made elsewhere."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the run as the block ended, and pass on what it ended with.

        An exception is Failed, `sys.exit(0)` Completed, `sys.exit(3)` Failed with that code, KeyboardInterrupt
        Canceled. A submitted run ends with its script, whatever block is left.
        """
        if self._interactive is not None:
            self._interactive.leave(problem)
