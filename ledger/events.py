"""Every fact that the ledger can hold about a run, one class each.

`type` is the stored name, never a Python path. `version` grows when a payload changes its meaning.
`durable` events are on the disk before the call that appends them returns; the others survive
kill -9 and may lose a tail, never leave a hole, when the power fails.

A payload that was stored is never rewritten. When a class goes from version n to n + 1, it gets an upcaster: a
pure function from the stored fields of version n to those of n + 1, and what was stored under n is read through it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import attrs

from onrecord.ledger.event import Event as Event


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RunSubmitted(Event):
    """A run exists: what is to run, from which snapshot, with what tags and properties from the start."""

    type: ClassVar[str] = "run.submitted"
    experiment: str
    config: dict[str, Any]
    name: str = ""
    run_type: str = "onrecord.script"
    snapshot_id: str | None = None
    snapshot: dict[str, int] = attrs.field(factory=dict)
    tags: dict[str, str] = attrs.field(factory=dict)
    properties: dict[str, str] = attrs.field(factory=dict)
    submitted_by: dict[str, str] = attrs.field(factory=dict)
    # The run that this one was started from.
    parent: str | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RunQueued(Event):
    """The run waits for room on its compute target."""

    type: ClassVar[str] = "run.queued"
    reason: str = ""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RunPreparing(Event):
    """The working copy and the environment are being made."""

    type: ClassVar[str] = "run.preparing"
    # Greater than 1 when an earlier conductor died before the script started.
    attempt: int = 1


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RunPlaced(Event):
    """What the run was given of its target: the numbers of its GPUs."""

    type: ClassVar[str] = "run.placed"
    gpus: list[int]


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RunRunning(Event):
    """The script runs: `pid` with its start in clock ticks since boot `boot_id`, `started_at` in microseconds."""

    type: ClassVar[str] = "run.running"
    pid: int | None = None
    start_ticks: int | None = None
    boot_id: str | None = None
    host: str = ""
    started_at: int | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class CancelRequested(Event):
    """Someone asked for the run to end."""

    type: ClassVar[str] = "run.cancel_requested"
    by: str = ""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RunFinalizing(Event):
    """The script has ended and how; its outputs are being captured. Times in microseconds since the epoch."""

    type: ClassVar[str] = "run.finalizing"
    outcome: str
    exit_code: int | None = None
    signal: int | None = None
    ended_at: int | None = None
    survivors_ended: int = 0


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RunCompleted(Event):
    """The script ended with exit code 0."""

    type: ClassVar[str] = "run.completed"
    exit_code: int | None = 0
    warnings: list[str] = attrs.field(factory=list)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RunFailed(Event):
    """The run ended badly. `error` has `code` and `message`, and `details` where there are any."""

    type: ClassVar[str] = "run.failed"
    error: dict[str, str]
    exit_code: int | None = None
    signal: int | None = None
    warnings: list[str] = attrs.field(factory=list)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RunCanceled(Event):
    """The run was ended on request or by its time limit (`reason`: requested, time_limit)."""

    type: ClassVar[str] = "run.canceled"
    reason: str = "requested"
    message: str = ""
    exit_code: int | None = None
    signal: int | None = None
    warnings: list[str] = attrs.field(factory=list)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class FailureNoted(Event):
    """The script says of itself that it failed: `error` as of a failed run. Exit code 0 does not make up for it."""

    type: ClassVar[str] = "run.failure_noted"
    error: dict[str, str]


@attrs.frozen(kw_only=True, eq=False, repr=False)
class CompletionNoted(Event):
    """The script says of itself that it has done its work; its exit code decides all the same."""

    type: ClassVar[str] = "run.completion_noted"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SnapshotTaken(Event):
    """The source of a run that was submitted without one; a run has one source, the first that was taken."""

    type: ClassVar[str] = "run.snapshot_taken"
    snapshot_id: str
    snapshot: dict[str, int] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RunSealed(Event):
    """The run's events so far: how many, and their Merkle root (64 hex digits, RFC 6962 over their leaves)."""

    type: ClassVar[str] = "run.sealed"
    count: int
    root: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RunTagged(Event):
    """Tags set to new values, and tags removed."""

    type: ClassVar[str] = "run.tagged"
    tags: dict[str, str] = attrs.field(factory=dict)
    removed: list[str] = attrs.field(factory=list)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RunRenamed(Event):
    """The run has another display name; an empty one is that of its experiment with its number."""

    type: ClassVar[str] = "run.renamed"
    name: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RunDescribed(Event):
    """The run's description, in place of an earlier one."""

    type: ClassVar[str] = "run.described"
    description: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RunNoted(Event):
    """A note about the run, and who wrote it."""

    type: ClassVar[str] = "run.noted"
    text: str
    by: str = ""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RunArchived(Event):
    """The run is left out of lists that do not ask for archived ones."""

    type: ClassVar[str] = "run.archived"
    by: str = ""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RunReactivated(Event):
    """The run is in every list again."""

    type: ClassVar[str] = "run.reactivated"
    by: str = ""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class PropertiesAdded(Event):
    """Properties: each name is written once and never changed."""

    type: ClassVar[str] = "run.properties_added"
    properties: dict[str, str]


@attrs.frozen(kw_only=True, eq=False, repr=False)
class FileRecorded(Event):
    """A file of the run: its content is the object `digest` (64 hex digits), `size` in bytes."""

    type: ClassVar[str] = "run.file_recorded"
    durable: ClassVar[bool] = False
    name: str
    digest: str
    size: int
    bytes_stored: int = 0


@attrs.frozen(kw_only=True, eq=False, repr=False)
class FileUploaded(Event):
    """A file that was given to the run under a name: its content is the object `digest` (64 hex digits).

    `size` in bytes. Unlike one of its folder (`run.file_recorded`) it is not missed when nothing lies there.
    """

    type: ClassVar[str] = "run.file_uploaded"
    name: str
    digest: str
    size: int
    bytes_stored: int = 0


@attrs.frozen(kw_only=True, eq=False, repr=False)
class FileRemoved(Event):
    """A file that was recorded is not in the run's folder any more; its contents so far stay in the history."""

    type: ClassVar[str] = "run.file_removed"
    durable: ClassVar[bool] = False
    name: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class WorkingCopyReleased(Event):
    """All files of the run are on record, and its folder gives up large ones that the objects hold: how many, bytes.

    What is not in the folder after this is no removal.
    """

    type: ClassVar[str] = "run.working_copy_released"
    files: int
    bytes: int


def _as_list(numbers: Sequence[int] | None) -> list[int] | None:
    return None if numbers is None else list(numbers)


@attrs.frozen
class Series:
    """Points of one metric, in the order in which they were logged.

    `kind` is how single values are kept (`float64`, `int64`, `json`), or what a call logged as a whole, one value
    a call: `list`, `row` and `table` (an object of columns), `document` (one of Azure ML's schemas), `image` (an
    object whose `file` names a file of the run). `times` in microseconds since the epoch, UTC; a step of None was
    not given. `ranks`: which process of a distributed job logged each point; None where it was no such job.
    """

    name: str
    kind: str
    # A million points are kept as an array or a range; they are equal to a list that holds the same.
    values: Sequence[Any] = attrs.field(eq=list)
    steps: Sequence[int | None] = attrs.field(eq=list)
    times: Sequence[int] = attrs.field(eq=list)
    ranks: Sequence[int] | None = attrs.field(default=None, eq=_as_list)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RunMetrics(Event):
    """A chunk of logged points; the bytes `spool_start` to `spool_end` of the run's spool, nothing twice."""

    type: ClassVar[str] = "run.metrics"
    version: ClassVar[int] = 3
    durable: ClassVar[bool] = False
    series: list[Series]
    spool_start: int = 0
    spool_end: int = 0


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RunResources(Event):
    """What the run's processes used, one item of every list a look: `times` in microseconds since the epoch.

    `cpu_microseconds`, `read_bytes` and `written_bytes` (from and to storage) count from the script's start; bytes and
    GPUs are empty where this machine does not say. `gpu_percent`: mean of the GPUs that the run was on. The last one
    has what the kernel counted in the end: `total_cpu_microseconds`, and the `largest_process_bytes` there was.
    """

    type: ClassVar[str] = "run.resources"
    durable: ClassVar[bool] = False
    times: list[int]
    cpu_microseconds: list[int]
    rss_bytes: list[int]
    threads: list[int]
    processes: list[int]
    read_bytes: list[int] = attrs.field(factory=list)
    written_bytes: list[int] = attrs.field(factory=list)
    gpu_percent: list[int] = attrs.field(factory=list)
    gpu_memory_bytes: list[int] = attrs.field(factory=list)
    total_cpu_microseconds: int | None = None
    largest_process_bytes: int | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class PayloadErased(Event):
    """The run's events `versions` have lost their payloads by now; `files`: its files and its source too.

    The run keeps its place: `number` in `experiment`, or, where that was erased as well, none, and `numbers` of
    the runs that would move up. Nothing else of what was erased is in here.
    """

    type: ClassVar[str] = "payload.erased"
    versions: list[int]
    reason: str = ""
    by: str = ""
    files: bool = False
    experiment: str = ""
    number: int | None = None
    numbers: dict[str, int] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RunImported(Event):
    """The run's events so far came from the ledger `origin`, where their `seq` were `seqs`.

    `root`: Merkle root over their leaves there, 64 hex digits.
    """

    type: ClassVar[str] = "run.imported"
    origin: str
    seqs: list[int]
    root: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RunEvidence(Event):
    """What another ledger said of the run, as it came: `kind` receipt."""

    type: ClassVar[str] = "run.evidence"
    kind: str
    text: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class EnvironmentRegistered(Event):
    """Version `number` (from 1) of the environment `name`, as it was defined; of no run, see `environments`."""

    type: ClassVar[str] = "environment.registered"
    name: str
    number: int
    definition: dict[str, Any]
    by: str = ""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ExperimentArchived(Event):
    """The runs so far of an experiment are left out of lists, until it has a new one; of no run, see `experiments`."""

    type: ClassVar[str] = "experiment.archived"
    name: str
    by: str = ""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ExperimentReactivated(Event):
    """The runs of an experiment are in every list again."""

    type: ClassVar[str] = "experiment.reactivated"
    name: str
    by: str = ""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ExperimentTagged(Event):
    """Tags of an experiment set to new values, and tags removed."""

    type: ClassVar[str] = "experiment.tagged"
    name: str
    tags: dict[str, str] = attrs.field(factory=dict)
    removed: list[str] = attrs.field(factory=list)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ModelRegistered(Event):
    """Version `number` (from 1) of the model `name`; of no run, see `models`.

    `path` is what it was made of: a file of `run`, or a folder of them; of another place where there is no run.
    `contents`: by name the object (64 hex digits), `sizes`: its bytes.
    """

    type: ClassVar[str] = "model.registered"
    name: str
    number: int
    path: str
    contents: dict[str, str]
    sizes: dict[str, int]
    run: str | None = None
    description: str = ""
    framework: str = ""
    framework_version: str = ""
    tags: dict[str, str] = attrs.field(factory=dict)
    properties: dict[str, str] = attrs.field(factory=dict)
    by: str = ""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ModelChanged(Event):
    """What is said of a version of a model: tags set and removed, properties added, a description of None stays."""

    type: ClassVar[str] = "model.changed"
    name: str
    number: int
    tags: dict[str, str] = attrs.field(factory=dict)
    removed: list[str] = attrs.field(factory=list)
    properties: dict[str, str] = attrs.field(factory=dict)
    description: str | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ModelDeleted(Event):
    """A version of a model is no longer to be had; its number is not given again, and files of a run stay there."""

    type: ClassVar[str] = "model.deleted"
    name: str
    number: int
    by: str = ""


@attrs.frozen
class Unknown:
    """An event of a type or version that this onrecord does not know: kept, verifiable, not understood."""

    type: str
    payload: bytes
    durable: ClassVar[bool] = True


@attrs.frozen
class Erased:
    """An event whose payload was erased; its commitment stays in the tree."""

    type: str
    durable: ClassVar[bool] = True


REGISTRY: dict[str, type[Event]] = {
    kind.type: kind
    for kind in (
        RunSubmitted, RunQueued, RunPlaced, RunPreparing, RunRunning, CancelRequested, RunFinalizing, RunCompleted,
        RunFailed, RunCanceled, FailureNoted, CompletionNoted, SnapshotTaken, RunSealed, RunTagged, RunRenamed,
        RunDescribed, RunNoted, RunArchived, RunReactivated, PropertiesAdded, FileRecorded, FileUploaded, FileRemoved,
        WorkingCopyReleased, RunMetrics, RunResources, PayloadErased, RunImported, RunEvidence, EnvironmentRegistered,
        ExperimentArchived, ExperimentReactivated, ExperimentTagged, ModelRegistered, ModelChanged, ModelDeleted,
    )
}  # fmt: skip
AnyEvent = Event | Unknown | Erased
