"""The calls with which a script logs, the same for a run on record and for one in memory."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from onrecord.metric_values import checked_name, checked_step, checked_value, spelled

if TYPE_CHECKING:
    from onrecord.pictures import Picture


class LoggingCalls:
    """Checks what is logged, in Azure ML's forms; those who inherit from it keep it.

    `description` is accepted for Azure ML's sake, and not kept.
    """

    @abstractmethod
    def _keep_points(self, points: Sequence[tuple[str, Any]], step: int | None) -> None:
        """Keep one value for each name."""

    @abstractmethod
    def _keep_whole(self, kind: str, name: str, value: Any, text: str) -> None:
        """Keep what a call logs as a whole, spelled as `text` in JSON: `kind` is list, row, table or document."""

    @abstractmethod
    def _keep_image(self, name: str, picture: Picture) -> None:
        """Keep a picture."""

    def log(self, name: str, value: Any, description: str = "", step: int | None = None) -> None:
        """Log one value: a number, text, truth value or None; NaN and infinities are kept. Raises BadMetric."""
        checked_name(name)
        self._keep_points([(name, checked_value(name, value))], None if step is None else checked_step(name, step))

    def log_many(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log one value for each name, all of one time and step: all of them are kept, or none. Raises BadMetric."""
        if not isinstance(metrics, Mapping):
            raise _no_mapping(metrics)
        points = [(name, checked_value(checked_name(name), value)) for name, value in metrics.items()]
        if points:
            self._keep_points(points, None if step is None else checked_step(points[0][0], step))

    def log_list(self, name: str, value: Any, description: str = "") -> None:
        """Log a list of values: any sequence, array, tensor or generator of what `log` takes. Raises BadMetric."""
        from onrecord.metric_forms import checked_list

        self._log_whole("list", name, checked_list(checked_name(name), value))

    def log_row(self, name: str, description: str | None = None, **kwargs: Any) -> None:
        """Log one row, a value for each column. Raises BadMetric.

        >>> run.log_row("epochs", epoch=1, loss=0.25)  # doctest: +SKIP
        """
        from onrecord.metric_forms import checked_row

        self._log_whole("row", name, checked_row(checked_name(name), kwargs))

    def log_table(self, name: str, value: Any, description: str = "") -> None:
        """Log a table: a list by column, all of one length, or a data frame. Raises BadMetric."""
        from onrecord.metric_forms import checked_table

        self._log_whole("table", name, checked_table(checked_name(name), value))

    def log_image(
        self, name: str, path: str | os.PathLike[str] | None = None, plot: Any = None, description: str = ""
    ) -> None:
        """Log a picture: the file at `path`, or what `plot.savefig` draws (matplotlib and its likes).

        Exactly one of both. The picture becomes a file of the run, `images/NAME_….png`. Raises BadMetric.
        """
        from onrecord.pictures import picture_of

        self._keep_image(name, picture_of(checked_name(name), path, plot))

    def log_confusion_matrix(self, name: str, value: Any, description: str = "") -> None:
        """Log a confusion matrix: Azure ML's dictionary, or its JSON. Raises BadMetric.

        Its data are `class_labels` and a `matrix` with a row and a column for each of them.
        """
        self._log_document("confusion_matrix", name, value)

    def log_residuals(self, name: str, value: Any, description: str = "") -> None:
        """Log a histogram of residuals: Azure ML's dictionary, or its JSON. Raises BadMetric.

        Its data are n `bin_counts` between n + 1 `bin_edges`.
        """
        self._log_document("residuals", name, value)

    def log_predictions(self, name: str, value: Any, description: str = "") -> None:
        """Log predictions against true values: Azure ML's dictionary, or its JSON. Raises BadMetric.

        Its data are n `bin_averages`, `bin_errors` and `bin_counts` between n + 1 `bin_edges`.
        """
        self._log_document("predictions", name, value)

    def log_accuracy_table(self, name: str, value: Any, description: str = "") -> None:
        """Log accuracy by threshold: Azure ML's dictionary, or its JSON. Raises BadMetric.

        Its data are `class_labels`, and for `probability` and `percentile` each thresholds and, for each label, a
        table with a row `[TP, FP, TN, FN]` for each threshold.
        """
        self._log_document("accuracy_table", name, value)

    def _log_document(self, kind: str, name: str, value: Any) -> None:
        from onrecord.metric_schemas import checked_document

        self._log_whole("document", name, checked_document(kind, checked_name(name), value))

    def _log_whole(self, kind: str, name: str, value: Any) -> None:
        self._keep_whole(kind, name, value, spelled(kind, name, value))


def _no_mapping(metrics: object) -> Exception:
    from onrecord.metric_values import BadMetric

    return BadMetric(
        f"log_many was given a {type(metrics).__name__}",
        why="it takes a dictionary: a value for each name",
        next_step='run.log_many({"loss": 0.25, "accuracy": 0.9}, step=1)',
        name=None,
        value=metrics,
    )
