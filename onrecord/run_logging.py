"""What a script logs into its run, and how it is read back."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from onrecord.logging_calls import LoggingCalls
from onrecord.metric_values import checked_name, checked_step, checked_value, spelled
from onrecord.run_handle import RunHandle
from onrecord.spool import NO_STEP, SpoolWriter

if TYPE_CHECKING:
    from onrecord.ledger.buckets import Bucket
    from onrecord.ledger.events import Series
    from onrecord.ledger.series import Standing
    from onrecord.metric_columns import Metrics
    from onrecord.pictures import Picture

# The place of a process in a distributed job: ours, or what its launcher says to PyTorch.
_RANK_VARIABLES = ("ONRECORD_RANK", "RANK")


class RunLogging(LoggingCalls, RunHandle):
    """What is logged is safe when the call that logs it returns; it never waits for the database."""

    _spool: SpoolWriter | None = None
    _write_point: Callable[[str, object, int], None] | None = None

    def log(self, name: str, value: Any, description: str = "", step: int | None = None) -> None:
        """Log one value: a number, text, truth value or None; NaN and infinities are kept.

        When the call returns, kill -9 of this process cannot lose the point. Raises BadMetric. Where the disk is
        full the script goes on, and the run's warnings say how many points are missing.
        """
        kind = type(value)
        if (kind is not float and kind is not int) or type(name) is not str:
            value = checked_value(checked_name(name), value)
        if step is None:
            step = NO_STEP
        elif type(step) is not int or not NO_STEP < step < 2**63:
            step = checked_step(name, step)
        (self._write_point or self._open_spool().write)(name, value, step)

    def get_metrics(
        self, name: str | None = None, recursive: bool = False, run_type: str | None = None, populate: bool = False
    ) -> dict[str, Any]:
        """What was logged, by metric, in Azure ML's forms (docs/logging.md).

        `recursive`: by run and then by metric, of this run and all that descend from it, as far as they logged
        anything. `run_type`: only of runs of this type. `populate`: a picture's bytes instead of its reference,
        as long as the history has them.
        """
        if not recursive:
            wanted = run_type is None or self._row().run_type == run_type
            return self._metrics_in_v1_form(name, populate) if wanted else {}
        rows = [self._row(), *self.workspace.query.descendants(self.id)]
        wanted_ids = [row.run_id for row in rows if run_type is None or row.run_type == run_type]
        found = {one: self.workspace.get_run(one)._metrics_in_v1_form(name, populate) for one in wanted_ids}
        return {run_id: metrics for run_id, metrics in found.items() if metrics}

    def metrics(self) -> Metrics:
        """All that was logged as columns by metric: values, steps, times and ranks; `to_pandas()`, `to_arrow()`."""
        from onrecord.metric_columns import MetricColumns, Metrics

        return Metrics(MetricColumns(name, pieces) for name, pieces in self._pieces(None))

    def flush(self, timeout_seconds: float = 300) -> None:
        """Take what was logged into the ledger now, where otherwise the conductor or the next reader does.

        Nothing needs it: what was logged is safe when the call returns. `timeout_seconds` is taken for Azure ML's sake.
        """
        del timeout_seconds
        self._take_in_points()

    def get_metric_standings(self) -> list[Standing]:
        """How each metric stands, by name: kind, points, last, least and greatest value; no point is read for it."""
        self._take_in_points()
        return self.workspace.query.standings(self.id)

    def get_metric_overview(
        self, name: str, buckets: int = 1000, *, from_step: int | None = None, to_step: int | None = None
    ) -> list[Bucket]:
        """A metric in at most `buckets` buckets: enough for a chart of millions of points in milliseconds.

        Each has the first, last, least and greatest value of some neighbouring points, and where they are; of
        a range of steps, both ends included, where one is given. Empty where there are none. Raises BadBuckets.
        """
        self._take_in_points()
        return self.workspace.query.downsampled(self.id, name, buckets, from_step=from_step, to_step=to_step)

    # ---- reading -------------------------------------------------------------------------------

    def _metrics_in_v1_form(self, name: str | None, populate: bool) -> dict[str, Any]:
        from onrecord.metric_reading import as_v1
        from onrecord.pictures import reference

        image: Callable[[str], Any] = self._picture_bytes if populate else partial(reference, self.id)
        return {
            key: as_v1([(piece.kind, piece.values) for piece in pieces], image) for key, pieces in self._pieces(name)
        }

    def _pieces(self, name: str | None) -> Iterable[tuple[str, Sequence[Series]]]:
        self._take_in_points()
        if name is None:
            return self.workspace.query.metrics(self.id).items()
        pieces = self.workspace.query.points(self.id, name)
        return [(name, pieces)] if pieces else []

    def _picture_bytes(self, file: str) -> bytes | str:
        from onrecord.pictures import reference

        versions = self.workspace.query.file_versions(self.id, file)
        return self.workspace.store.read(versions[-1].digest) if versions else reference(self.id, file)

    def _take_in_points(self) -> None:
        from onrecord.ingest import has_more, ingest

        spool = self.workspace.layout.run(self.id).spool
        if has_more(spool, self.workspace.query.spool_position(self.id)):
            ingest(self.workspace.journal, self.id, spool)

    # ---- writing -------------------------------------------------------------------------------

    def _keep_points(self, points: Sequence[tuple[str, Any]], step: int | None) -> None:
        (self._spool or self._open_spool()).write_many(points, NO_STEP if step is None else step)

    def _keep_whole(self, kind: str, name: str, value: Any, text: str) -> None:
        (self._spool or self._open_spool()).write_json(kind, name, text)

    def _keep_image(self, name: str, picture: Picture) -> None:
        from onrecord.ledger.errors import LedgerError
        from onrecord.ledger.events import FileRecorded
        from onrecord.snapshot.errors import SnapshotError

        spool = self._spool or self._open_spool()
        store = self.workspace.store
        try:
            # Not erased with another run that has the same picture before this one refers to it.
            with store.in_use():
                stored = store.put_bytes(picture.content)
                recorded = FileRecorded(
                    name=picture.file, digest=stored.digest, size=stored.size, bytes_stored=stored.bytes_stored
                )
                self.workspace.journal.append(self.id, [recorded])
        except (OSError, LedgerError, SnapshotError) as problem:
            spool.lose(problem if isinstance(problem, OSError) else OSError(0, str(problem.args[0])))
            return
        spool.write_json("image", name, spelled("image", name, {"file": picture.file}))

    def _open_spool(self) -> SpoolWriter:
        self._spool = spool = SpoolWriter(self.workspace.layout.run(self.id).spool, rank=rank_of_process())
        self._write_point = spool.write
        return spool


def rank_of_process() -> int | None:
    """The place of this process in a distributed job, from 0; None where it is in none."""
    for variable in _RANK_VARIABLES:
        text = os.environ.get(variable, "")
        # Many a program calls something else its rank.
        if text.isascii() and text.isdigit() and len(text) <= 9:
            return int(text)
    return None
