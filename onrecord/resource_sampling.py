"""What a run's processes use, looked at while they run and put on record in small batches.

Dense at first, when most of what is remarkable happens, and sparser with the run's age: 0.2 s apart in the first
ten seconds, 2 % of the age after that, at most 30 s. A look that was expensive makes the pause longer, so that all of
them together take at most half a percent of a core.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from onrecord.executors.gpu import GpuMeter, GpuUsage
from onrecord.executors.protocol import Ended, Started
from onrecord.executors.usage import Meter, Usage
from onrecord.ledger.events import Event, RunResources

SHORTEST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 30.0
_PART_OF_AGE = 0.02
_SHARE = 0.005
# A conductor that is killed takes what it had not yet put on record with it.
_MOST_WAITING = 50
_SHORTEST_WAIT_SECONDS = 2.0
_LONGEST_WAIT_SECONDS = 300.0
_PART_WAITING = 0.1

Append = Callable[[Sequence[Event]], object]


class ResourceSampling:
    """The looks at one run. `given`: the numbers of the GPUs that it was given.

    `append` puts events on record. Nothing is looked at before the script has started.
    """

    def __init__(self, append: Append, control: Path, given: Callable[[], Iterable[int]]) -> None:
        self._append = append
        self._control = control
        self._given = given
        self._meter: Meter | None = None
        self._gpus: GpuMeter | None = None
        self._begun = 0.0
        self._next = 0.0
        self._waiting: list[tuple[int, Usage, GpuUsage | None]] = []
        self._waiting_since = 0.0

    def look(self, started: Started) -> None:
        """Look if it is time to, and put on record what has waited long enough. Raises errors of the ledger."""
        now = time.monotonic()
        if now < self._next:
            return
        if self._meter is None:
            self._meter, self._gpus = Meter(self._control, started.pid), GpuMeter(self._given())
            # A conductor that took the run over goes on as sparsely as the one before it.
            self._begun = now - max(0.0, time.time() - started.at / 1e6)
        used = time.thread_time()
        self._take(now)
        cost = time.thread_time() - used
        age = now - self._begun
        pause = min(max(age * _PART_OF_AGE, SHORTEST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
        self._next = now + max(pause, cost / _SHARE)
        longest = min(max(age * _PART_WAITING, _SHORTEST_WAIT_SECONDS), _LONGEST_WAIT_SECONDS)
        if len(self._waiting) >= _MOST_WAITING or (self._waiting and now - self._waiting_since >= longest):
            self._record()

    def finish(self, ended: Ended) -> None:
        """Put the rest on record, with what the kernel counted in all. Raises errors of the ledger."""
        if self._waiting or ended.cpu_seconds is not None:
            self._record(ended)

    def _take(self, now: float) -> None:
        if self._meter is None or self._gpus is None:
            return
        usage = self._meter.read()
        if usage is None:
            return
        if not self._waiting:
            self._waiting_since = now
        gpu = self._gpus.read(self._meter.pids) if self._gpus.is_there else None
        self._waiting.append((time.time_ns() // 1000, usage, gpu))

    def _record(self, ended: Ended | None = None) -> None:
        self._append([_event(self._waiting, ended)])
        # Only now: what could not be put on record waits for the next attempt.
        self._waiting = []


def _event(samples: Sequence[tuple[int, Usage, GpuUsage | None]], ended: Ended | None) -> RunResources:
    usages = [usage for _, usage, _ in samples]
    gpus = [gpu or GpuUsage(0, 0) for _, _, gpu in samples] if any(gpu for _, _, gpu in samples) else []
    moved = [(usage.read_bytes, usage.written_bytes) for usage in usages]
    known = [(read, written) for read, written in moved if read is not None and written is not None]
    known = known if len(known) == len(usages) else []
    cpu = ended.cpu_seconds if ended is not None else None
    return RunResources(
        times=[at for at, _, _ in samples],
        cpu_microseconds=[round(usage.cpu_seconds * 1e6) for usage in usages],
        rss_bytes=[usage.rss_bytes for usage in usages],
        threads=[usage.threads for usage in usages],
        processes=[usage.processes for usage in usages],
        read_bytes=[read for read, _ in known],
        written_bytes=[written for _, written in known],
        gpu_percent=[gpu.percent for gpu in gpus],
        gpu_memory_bytes=[gpu.memory_bytes for gpu in gpus],
        total_cpu_microseconds=None if cpu is None else round(cpu * 1e6),
        largest_process_bytes=ended.max_rss_bytes if ended is not None else None,
    )
