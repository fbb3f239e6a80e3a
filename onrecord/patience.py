"""Wait for room rather than lose what happened, and talk about it where that is possible."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from onrecord.ledger.errors import LedgerBusy, LedgerFull
from onrecord.snapshot.errors import DiskFull

_FIRST_PAUSE_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 5.0


# What a conductor's last line begins with while it waits.
WAITING = "waiting: "


def patiently(action: Callable[[], object]) -> None:
    """Do it, again and again where the disk is full or the ledger busy, and say so once. Other errors are raised."""
    pause, said = _FIRST_PAUSE_SECONDS, ""
    while True:
        try:
            action()
        except (DiskFull, LedgerFull, LedgerBusy) as problem:
            if problem.what != said:
                said = problem.what
                say(f"{WAITING}{said}\n")
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
        else:
            if said:
                say("that is over: going on\n")
            return


def say(text: str) -> None:
    """Write to stderr, which may lie on the disk that is full."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        pass
