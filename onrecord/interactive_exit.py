"""What is left open when the interpreter ends: written down, for whoever learns how the process ended."""

from __future__ import annotations

import atexit
import sys
from types import TracebackType

from onrecord import interactive_session
from onrecord.interactive_ending import Ending, of_exception
from onrecord.ledger.states import COMPLETED

_installed = False
_uncaught: Ending | None = None


def install() -> None:
    """Be told of the end of the interpreter and of what nobody caught; the hook that was there goes on to be called."""
    global _installed
    if _installed:
        return
    _installed = True
    atexit.register(_leave_open)
    before = sys.excepthook

    def hook(kind: type[BaseException], problem: BaseException, trace: TracebackType | None) -> None:
        global _uncaught
        _uncaught = of_exception(problem)
        before(kind, problem, trace)

    sys.excepthook = hook


def _leave_open() -> None:
    for run in interactive_session.open_runs():
        run.leave_open(_uncaught or Ending(COMPLETED))
