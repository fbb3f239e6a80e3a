"""Ways to hurt what LocalExecutor has started."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from onrecord.executors import lock, records
from onrecord.executors.contract import wait_for
from onrecord.executors.records import Supervisor


def supervisor_of(control: Path) -> Supervisor:
    """Who supervises that folder."""
    found = records.read_supervisor(control)
    assert found is not None
    return found


def lose_supervisor(control: Path) -> None:
    """Kill it, and wait until it is gone."""
    os.kill(supervisor_of(control).pid, signal.SIGKILL)
    wait_for(lambda: not lock.is_held(control / records.LOCK))
