"""Resources of every run in sum: the most that its processes used at once, and what they used in all."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from onrecord.ledger import events
from onrecord.ledger.recorded import Recorded
from onrecord.ledger.schema import PROJECTION_VERSIONS

NAME = "resources"
VERSION = PROJECTION_VERSIONS[NAME]
TABLES: tuple[str, ...] = ("run_resources",)
TYPES = frozenset({"run.resources"})
SCHEMA = """
CREATE TABLE run_resources(
    run INTEGER NOT NULL PRIMARY KEY,     -- `seq` of the run
    samples INTEGER NOT NULL,             -- how often it was looked at
    cpu_microseconds INTEGER,             -- of all its processes, user and system
    peak_rss_bytes INTEGER,               -- the most that they held at once, as seen, or one alone as the kernel says
    peak_threads INTEGER,
    peak_processes INTEGER,
    read_bytes INTEGER,                   -- from storage; NULL where the machine does not say
    written_bytes INTEGER,                -- to storage; the same
    gpu_samples INTEGER NOT NULL,         -- looks at which it was on a GPU
    gpu_percent_sum INTEGER NOT NULL,     -- divided by them, the mean use of its GPUs
    peak_gpu_memory_bytes INTEGER
) STRICT;
CREATE VIEW resources AS SELECT runs.run_id, e.samples, e.cpu_microseconds, e.peak_rss_bytes, e.peak_threads,
    e.peak_processes, e.read_bytes, e.written_bytes, e.gpu_samples, e.gpu_percent_sum, e.peak_gpu_memory_bytes
    FROM run_resources AS e JOIN runs ON runs.seq = e.run;
"""

_PEAKS = ("cpu_microseconds", "peak_rss_bytes", "peak_threads", "peak_processes", "read_bytes", "written_bytes",
          "peak_gpu_memory_bytes")  # fmt: skip
_SUMS = ("samples", "gpu_samples", "gpu_percent_sum")
_COLUMNS = ("run", *_SUMS, *_PEAKS)
# max() of two values is NULL where either is.
_UPSERT = (
    f"INSERT INTO run_resources({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608
    " ON CONFLICT(run) DO UPDATE SET "
    + ", ".join(
        [f"{name} = {name} + excluded.{name}" for name in _SUMS]
        + [f"{name} = max(ifnull({name}, excluded.{name}), ifnull(excluded.{name}, {name}))" for name in _PEAKS]
    )
)


def apply(connection: sqlite3.Connection, batch: Sequence[Recorded]) -> None:
    """Take events into the sums."""
    connection.executemany(
        _UPSERT,
        [
            (recorded.run, *_summed(event))
            for recorded in batch
            if isinstance(event := recorded.event, events.RunResources)
        ],
    )


def _summed(event: events.RunResources) -> tuple[int | None, ...]:
    return (
        len(event.times),
        len(event.gpu_percent),
        _within(sum(event.gpu_percent)),
        _most(event.cpu_microseconds, event.total_cpu_microseconds),
        _most(event.rss_bytes, event.largest_process_bytes),
        _most(event.threads),
        _most(event.processes),
        _most(event.read_bytes),
        _most(event.written_bytes),
        _most(event.gpu_memory_bytes),
    )


def _most(values: Sequence[int], last: int | None = None) -> int | None:
    return max([*values, *([] if last is None else [last])], default=None)


def _within(number: int) -> int:
    # What strangers wrote into an event must not stop the read models.
    return max(-(2**40), min(number, 2**40))
