"""What a script logs into its run, and how it is read back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from onrecord.metric_values import as_v1, checked_name, checked_step, checked_value
from onrecord.run_handle import RunHandle
from onrecord.spool import NO_STEP, SpoolWriter

if TYPE_CHECKING:
    from onrecord.ledger.buckets import Bucket


class RunLogging(RunHandle):
    """A point is safe when the call that logs it returns; it never waits for the database."""

    _write_point: Callable[[str, object, int], None] | None = None

    def log(self, name: str, value: Any, description: str = "", step: int | None = None) -> None:
        """Log one value: a number, text, truth value or None; NaN and infinities are kept.

        When the call returns, kill -9 of this process cannot lose the point. Raises BadMetric.
        """
        kind = type(value)
        if (kind is not float and kind is not int) or type(name) is not str:
            value = checked_value(checked_name(name), value)
        if step is None:
            step = NO_STEP
        elif type(step) is not int or not NO_STEP < step < 2**63:
            step = checked_step(name, step)
        (self._write_point or self._open_spool())(name, value, step)

    def get_metrics(self, name: str | None = None) -> dict[str, Any]:
        """Values by metric: one that was logged once as itself, several as a list in the order of logging."""
        self._take_in_points()
        if name is None:
            return {key: as_v1(pieces) for key, pieces in self.workspace.query.metrics(self.id).items()}
        pieces = self.workspace.query.points(self.id, name)
        return {name: as_v1(pieces)} if pieces else {}

    def get_metric_overview(
        self, name: str, buckets: int = 1000, *, from_step: int | None = None, to_step: int | None = None
    ) -> list[Bucket]:
        """A metric in at most `buckets` buckets: enough for a chart of millions of points in milliseconds.

        Each has the first, last, least and greatest value of some neighbouring points, and where they are; of
        a range of steps, both ends included, where one is given. Empty where there are none. Raises BadBuckets.
        """
        self._take_in_points()
        return self.workspace.query.downsampled(self.id, name, buckets, from_step=from_step, to_step=to_step)

    def _take_in_points(self) -> None:
        from onrecord.ingest import has_more, ingest

        spool = self.workspace.layout.run(self.id).spool
        if has_more(spool, self.workspace.query.spool_position(self.id)):
            ingest(self.workspace.journal, self.id, spool)

    def _open_spool(self) -> Callable[[str, object, int], None]:
        path = self.workspace.layout.run(self.id).spool
        path.parent.mkdir(parents=True, exist_ok=True)
        self._write_point = write = SpoolWriter(path).write
        return write
