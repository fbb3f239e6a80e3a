"""Questions about what a run's processes used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from onrecord.ledger.codec import decode
from onrecord.ledger.events import RunResources
from onrecord.ledger.ids import decode as id_bytes
from onrecord.ledger.journal import Journal


class ResourceRow(NamedTuple):
    """A run in sum. Sizes in bytes; None where nothing was seen of it, or the machine does not say."""

    samples: int
    cpu_seconds: float | None
    peak_rss_bytes: int | None
    peak_threads: int | None
    peak_processes: int | None
    read_bytes: int | None
    written_bytes: int | None
    mean_gpu_percent: float | None
    peak_gpu_memory_bytes: int | None


_SAMPLED = ("cpu_microseconds", "rss_bytes", "threads", "processes", "read_bytes", "written_bytes", "gpu_percent",
            "gpu_memory_bytes")  # fmt: skip


def summary_of(journal: Journal, run_id: str) -> ResourceRow | None:
    """What a run used in sum, None where nothing is on record."""
    journal.catch_up()
    rows = journal.fetch(
        "SELECT samples, cpu_microseconds / 1e6, peak_rss_bytes, peak_threads, peak_processes, read_bytes,"
        " written_bytes, gpu_percent_sum * 1.0 / nullif(gpu_samples, 0), peak_gpu_memory_bytes FROM run_resources"
        " WHERE run = (SELECT seq FROM runs WHERE run_id = ?)",
        (run_id,),
    )
    return ResourceRow(*rows[0]) if rows else None


def samples_of(journal: Journal, run_id: str) -> Mapping[str, list[int | None]]:
    """Every look in the order of time: `times` and the lists of `run.resources`, all of one length."""
    found: dict[str, list[int | None]] = {name: [] for name in ("times", *_SAMPLED)}
    rows = journal.fetch(
        "SELECT payload FROM events WHERE stream = ? AND type = 'run.resources' ORDER BY rseq", (id_bytes(run_id),)
    )
    for (payload,) in rows:
        event = decode(RunResources.type, payload)
        if not isinstance(event, RunResources):
            continue
        found["times"] += event.times
        for name in _SAMPLED:
            values: list[int] = getattr(event, name)
            # What this machine did not say, of an executor's samples that have gaps, is None.
            found[name] += [*values, *[None] * len(event.times)][: len(event.times)]
    return found
