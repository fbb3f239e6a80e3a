"""A run whose folder was removed while it ran: what the ledger still knows of it, and how its processes are ended."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from onrecord.executors.protocol import Ended, Started
from onrecord.executors.tree import Seed, end_tree
from onrecord.ledger.events import RunFinalizing, RunRunning
from onrecord.ledger.journal import Journal
from onrecord.workspace import VARIABLE

if TYPE_CHECKING:
    import psutil

# For the supervisor's own work after the grace that it gives the script.
_SUPERVISOR_SECONDS = 10.0


def who_it_was(journal: Journal, run_id: str) -> Started | None:
    """The script's process as the ledger knows it; None where it never ran."""
    for recorded in journal.read(run_id):
        event = recorded.event
        if isinstance(event, RunRunning) and event.pid is not None:
            return Started(event.pid, event.start_ticks or 0, event.boot_id or "", event.started_at or recorded.at)
    return None


def how_it_ended(journal: Journal, run_id: str) -> Ended | None:
    """The end that a conductor saw and recorded before it died; None where none did."""
    for recorded in journal.read(run_id):
        event = recorded.event
        if isinstance(event, RunFinalizing):
            message = f"it ended ({event.outcome}), and its folder was removed before its outputs were kept"
            at = event.ended_at or recorded.at
            return Ended(event.outcome, event.exit_code, event.signal, message, who_it_was(journal, run_id), at)
    return None


def end_processes(control: Path, started: Started | None, grace_seconds: float) -> None:
    """End the script's whole tree: its supervisor does so when it is asked; else what is left is ended from here."""
    import psutil

    supervisors = [process for process in psutil.process_iter(["cmdline"]) if _supervises(process, control)]
    for supervisor in supervisors:
        try:
            supervisor.terminate()
        except psutil.Error:
            continue
    deadline = time.monotonic() + grace_seconds + _SUPERVISOR_SECONDS
    while any(_lives(supervisor) for supervisor in supervisors) and time.monotonic() < deadline:
        time.sleep(0.05)
    if started is not None and _is_of(started.pid, control):
        end_tree(Seed(script=started))


def _is_of(pid: int, control: Path) -> bool:
    """Whether the process was started for the run in this very folder, not for that of which this is a copy."""
    import psutil

    try:
        root = psutil.Process(pid).environ().get(VARIABLE)
    except psutil.Error:
        return False
    return root == str(control.parent.parent)


def _supervises(process: psutil.Process, control: Path) -> bool:
    words = process.info["cmdline"] or []
    return str(control) in words and any(Path(word).name.startswith("supervisor.") for word in words)


def _lives(process: psutil.Process) -> bool:
    import psutil

    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
