"""Azure ML's documents for charts: confusion matrices, residuals, predictions, accuracy tables.

Each is `{"schema_type": …, "schema_version": "v1" or "1.0.0", "data": {…}}`, as a dictionary or as JSON text. What the
data must be is that of azureml-core 1.x (`azureml.core.Run.log_confusion_matrix` and its likes).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from onrecord.metric_values import BadMetric, checked_value

_Check = Callable[["_Document"], None]


def checked_document(kind: str, name: str, value: object) -> dict[str, Any]:
    """The document in plain values. `kind`: confusion_matrix, residuals, predictions, accuracy_table.

    Raises BadMetric, which says where in the document what is wrong.
    """
    document = _Document(kind, name, value)
    if not isinstance(value, Mapping):
        value = document.from_text(value)
    plain = document.plain(value, "the document")
    if not isinstance(plain, dict):
        raise document.wrong("it is no object", "it is an object with 'schema_type', 'schema_version' and 'data'")
    said = plain.setdefault("schema_type", kind)
    if said != kind:
        raise document.wrong(f"its schema_type is {said!r}", f"log_{kind} takes {kind!r}")
    version = plain.setdefault("schema_version", "v1")
    if not isinstance(version, str):
        raise document.wrong(f"its schema_version is {version!r}", "a version is text: 'v1' or '1.0.0'")
    data = plain.get("data")
    if not isinstance(data, dict):
        raise document.wrong("it has no 'data'", "what is to be shown lies in an object under 'data'")
    document.data = data
    _CHECKS[kind](document)
    return plain


class _Document:
    """One document while it is looked at."""

    def __init__(self, kind: str, name: str, value: object) -> None:
        self._kind, self._name, self._value = kind, name, value
        self.data: dict[str, Any] = {}

    def wrong(self, what: str, why: str) -> BadMetric:
        """The error that says so."""
        return BadMetric(
            f"the {self._kind.replace('_', ' ')} '{self._name}' cannot be logged: {what}",
            why=why,
            next_step=f"run.log_{self._kind}({self._name!r}, {_EXAMPLES[self._kind]})",
            name=self._name,
            value=self._value,
        )

    def from_text(self, value: object) -> Any:
        """What JSON text says."""
        if not isinstance(value, str):
            raise self.wrong(f"it is a {type(value).__name__}", "it is a dictionary, or JSON text")
        try:
            return json.loads(value)
        except (ValueError, RecursionError) as problem:
            raise self.wrong(f"its text is no JSON: {problem}", "it is a dictionary, or JSON text") from None

    def plain(self, value: object, place: str) -> Any:
        """Dictionaries, lists and plain values; arrays become lists."""
        if isinstance(value, Mapping):
            for key in value:
                if not isinstance(key, str):
                    raise self.wrong(f"{place} has the key {key!r}", "keys are text")
            return {key: self.plain(inner, f"'{key}'") for key, inner in value.items()}
        if len(tuple(getattr(value, "shape", ()))) and hasattr(value, "tolist"):
            value = value.tolist()
        if isinstance(value, list | tuple):
            return [self.plain(inner, place) for inner in value]
        try:
            return checked_value(self._name, value)
        except BadMetric:
            raise self.wrong(
                f"{place} holds a {type(value).__name__}", "it holds lists, numbers, texts, truth values and None"
            ) from None

    def list_of(self, key: str, of: str = "number", length: int | None = None, because: str = "") -> list[Any]:
        """The list under a key. `of`: number, label (any plain value), list."""
        found = self.data.get(key)
        if not isinstance(found, list):
            said = f"'{key}' is a {type(found).__name__}" if key in self.data else f"its data have no '{key}'"
            raise self.wrong(said, f"'{key}' is a list")
        self.check_all(found, of, f"'{key}'")
        if length is not None and len(found) != length:
            raise self.wrong(f"'{key}' has {len(found)} values", f"it has {length}: {because}")
        return found

    def check_all(self, values: Any, of: str, place: str, length: int | None = None) -> None:
        """Whether a list holds what it should."""
        if not isinstance(values, list) or (length is not None and len(values) != length):
            raise self.wrong(f"{place} is {values!r:.40}", f"it is a list{'' if length is None else f' of {length}'}")
        for at, value in enumerate(values):
            if not _IS[of](value):
                raise self.wrong(f"value {at} of {place} is {value!r:.40}", f"each is a {of}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_IS: dict[str, Callable[[Any], bool]] = {
    "number": _is_number,
    # Averages of an empty bin are unknown.
    "number or None": lambda value: value is None or _is_number(value),
    "label": lambda value: not isinstance(value, list | dict),
    "list": lambda value: isinstance(value, list),
}


def _check_confusion_matrix(document: _Document) -> None:
    labels = document.list_of("class_labels", "label")
    because = f"one for each of the {len(labels)} class labels"
    for at, row in enumerate(document.list_of("matrix", "list", len(labels), because)):
        document.check_all(row, "number", f"row {at} of 'matrix'", len(labels))


def _check_residuals(document: _Document) -> None:
    edges = document.list_of("bin_edges")
    document.list_of("bin_counts", "number", max(len(edges) - 1, 0), "one between each two edges")


def _check_predictions(document: _Document) -> None:
    edges = document.list_of("bin_edges")
    for key in ("bin_averages", "bin_errors", "bin_counts"):
        of = "number" if key == "bin_counts" else "number or None"
        document.list_of(key, of, max(len(edges) - 1, 0), "one between each two edges")


def _check_accuracy_table(document: _Document) -> None:
    labels = document.list_of("class_labels", "label")
    for measure in ("probability", "percentile"):
        thresholds = document.list_of(f"{measure}_thresholds")
        key = f"{measure}_tables"
        tables = document.list_of(key, "list", len(labels), f"one for each of the {len(labels)} class labels")
        for at, table in enumerate(tables):
            place = f"table {at} of '{key}'"
            document.check_all(table, "list", place, len(thresholds))
            for row, cell in enumerate(table):
                document.check_all(cell, "number", f"row {row} of {place}, [TP, FP, TN, FN],", 4)


_CHECKS: dict[str, _Check] = {
    "confusion_matrix": _check_confusion_matrix,
    "residuals": _check_residuals,
    "predictions": _check_predictions,
    "accuracy_table": _check_accuracy_table,
}
_EXAMPLES = {
    "confusion_matrix": '{"schema_type": "confusion_matrix", "schema_version": "v1", "data":'
    ' {"class_labels": ["a", "b"], "matrix": [[3, 1], [0, 4]]}}',
    "residuals": '{"schema_type": "residuals", "schema_version": "v1", "data":'
    ' {"bin_edges": [0, 1, 2], "bin_counts": [5, 3]}}',
    "predictions": '{"schema_type": "predictions", "schema_version": "v1", "data": {"bin_averages": [0.5, 1.4],'
    ' "bin_errors": [0.1, 0.2], "bin_counts": [5, 3], "bin_edges": [0, 1, 2]}}',
    "accuracy_table": '{"schema_type": "accuracy_table", "schema_version": "v1", "data": {"class_labels": ["a"],'
    ' "probability_tables": [[[3, 1, 4, 0]]], "probability_thresholds": [0.5],'
    ' "percentile_tables": [[[3, 1, 4, 0]]], "percentile_thresholds": [0.5]}}',
}
