"""What every run that has not ended does just now: for a live table, and for whoever asks once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from onrecord.documents import status_of
from onrecord.executors.gpu import GpuMeter
from onrecord.executors.records import read_started
from onrecord.executors.usage import Meter
from onrecord.ledger.states import QUEUED

if TYPE_CHECKING:
    from onrecord.ledger.query import RunRow
    from onrecord.workspace import Workspace


class Activity(NamedTuple):
    """One run now. `cpu_percent` of one core since the look before; None for what cannot be seen of it.

    `progress`: the metric that was logged last, with its step; `elapsed_seconds` since the script's start, or since
    the submit of a run that waits.
    """

    run_id: str
    name: str
    experiment: str
    status: str
    cpu_percent: float | None
    cpu_seconds: float | None
    rss_bytes: int | None
    threads: int | None
    processes: int | None
    gpu_percent: float | None
    gpu_memory_bytes: int | None
    progress: str
    elapsed_seconds: float

    def as_document(self) -> dict[str, Any]:
        """Plain values, as `onrecord top --json` prints them."""
        return self._asdict()


class ActivityWatch:
    """Looks at a workspace again and again; the first look at a run has no `cpu_percent`."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._meters: dict[str, Meter] = {}
        self._used: dict[str, tuple[float, float]] = {}
        self._gpus = GpuMeter()

    def look(self) -> list[Activity]:
        """Every run that has not ended, those that run before those that wait, each newest first."""
        rows = self._workspace.query.unfinished()
        alive = {row.run_id for row in rows}
        for gone in self._meters.keys() - alive:
            del self._meters[gone]
            self._used.pop(gone, None)
        found = [self._of(row) for row in rows]
        return sorted(found, key=lambda activity: activity.status == QUEUED)

    def rest(self, seconds: float) -> None:
        """Sleep until there is something to compare."""
        if self._meters:
            time.sleep(seconds)

    def _of(self, row: RunRow) -> Activity:
        meter = self._meter(row)
        usage, gpu = meter.read() if meter is not None else None, None
        if usage is not None and meter is not None and self._gpus.is_there:
            gpu = self._gpus.read(meter.pids)
        begun = row.started_at if row.started_at is not None else row.created_at
        return Activity(
            row.run_id,
            row.display_name,
            row.experiment,
            status_of(self._workspace, row),
            self._share(row.run_id, usage.cpu_seconds) if usage is not None else None,
            usage.cpu_seconds if usage is not None else None,
            usage.rss_bytes if usage is not None else None,
            usage.threads if usage is not None else None,
            usage.processes if usage is not None else None,
            gpu.percent if gpu is not None else None,
            gpu.memory_bytes if gpu is not None else None,
            self._progress(row.run_id),
            round(max(0.0, time.time() - begun / 1e6), 3),
        )

    def _meter(self, row: RunRow) -> Meter | None:
        if row.run_id not in self._meters:
            control = self._workspace.layout.run(row.run_id).path
            started = read_started(control)
            if started is None:
                return None
            self._meters[row.run_id] = Meter(control, started.pid)
        return self._meters[row.run_id]

    def _share(self, run_id: str, used: float) -> float | None:
        now, last = time.monotonic(), self._used.get(run_id)
        self._used[run_id] = (now, used)
        if last is None or now <= last[0]:
            return None
        return round(100 * (used - last[1]) / (now - last[0]), 1)

    def _progress(self, run_id: str) -> str:
        latest = self._workspace.query.latest_metric(run_id)
        if latest is None:
            return ""
        name, step, last = latest
        value = "" if last is None else f" {last:.4g}"
        return f"{name}{value}" + (f" at step {step}" if step is not None else "")
