"""What a run used, in columns and in sum, as people and programs ask for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onrecord.ledger.query import RunRow
    from onrecord.workspace import Workspace

Column = list[Any]


def resource_columns(workspace: Workspace, run_id: str) -> dict[str, Column]:
    """Every look as a column a quantity, see `Run.get_resources`."""
    samples = workspace.query.resource_samples(run_id)
    started = workspace.query.run(run_id).started_at
    times = [int(at or 0) for at in samples["times"]]
    cpu = [int(used or 0) for used in samples["cpu_microseconds"]]
    begun = times[0] if started is None and times else started or 0
    return {
        "time": times,
        "elapsed_seconds": [round((at - begun) / 1e6, 6) for at in times],
        "cpu_seconds": [used / 1e6 for used in cpu],
        "cpu_percent": _shares(times, cpu, begun),
        **{name: list(samples[name]) for name in ("rss_bytes", "threads", "processes", "read_bytes", "written_bytes")},
        "gpu_percent": list(samples["gpu_percent"]),
        "gpu_memory_bytes": list(samples["gpu_memory_bytes"]),
    }


def resource_document(workspace: Workspace, row: RunRow) -> dict[str, Any] | None:
    """A run's resources in sum, as `onrecord show --json` prints them; None where nothing was seen of them."""
    found = workspace.query.resources(row.run_id)
    if found is None:
        return None
    seconds, cpu = row.duration_seconds, found.cpu_seconds
    share = round(100 * cpu / seconds, 1) if cpu is not None and seconds else None
    gpu = found.mean_gpu_percent
    document: dict[str, Any] = found._asdict()
    document["mean_gpu_percent"] = None if gpu is None else round(gpu, 1)
    return {**document, "mean_cpu_percent": share}


def _shares(times: Column, cpu: Column, begun: int) -> Column:
    """Percent of one core between each look and the one before it; None where no time had passed."""
    shares: Column = []
    last_at, last_used = begun, 0
    for at, used in zip(times, cpu, strict=True):
        passed = at - last_at
        shares.append(round(100 * max(used - last_used, 0) / passed, 1) if passed > 0 else None)
        last_at, last_used = at, used
    return shares
