"""The fields that a filter can name, and what their values are."""

from __future__ import annotations

from typing import NamedTuple

from onrecord.ledger.archived import ARCHIVED
from onrecord.ledger.filter_tree import Field

TEXT, NUMBER, TIME, SPAN, STATUS, RUN, FLAG, ANY = "text", "number", "time", "duration", "status", "run", "flag", "any"


class Column(NamedTuple):
    """`kind` of the values; `sql` over the row `r` of the table of runs; whether a run may lack it."""

    kind: str
    sql: str
    nullable: bool = False


# `error` is stored as JSON; a name that was not given reads as people see it.
COLUMNS: dict[str, Column] = {
    "run_id": Column(RUN, "r.run_id"),
    "name": Column(TEXT, "CASE WHEN r.name = '' THEN r.experiment || '_' || r.number ELSE r.name END"),
    "experiment": Column(TEXT, "r.experiment"),
    "number": Column(NUMBER, "r.number"),
    "status": Column(STATUS, "r.status"),
    "type": Column(TEXT, "r.run_type"),
    "parent": Column(RUN, "r.parent", True),
    "snapshot_id": Column(TEXT, "r.snapshot_id", True),
    "exit_code": Column(NUMBER, "r.exit_code", True),
    "signal": Column(NUMBER, "r.signal", True),
    "created": Column(TIME, "r.created_at"),
    "started": Column(TIME, "r.started_at", True),
    "ended": Column(TIME, "r.ended_at", True),
    "duration": Column(SPAN, "r.ended_at - r.started_at", True),
    "error": Column(TEXT, "json_extract(r.error, '$.message')", True),
    "description": Column(TEXT, "(SELECT d.text FROM run_descriptions AS d WHERE d.run = r.seq)", True),
    "notes": Column(TEXT, "(SELECT group_concat(n.text, char(10)) FROM run_notes AS n WHERE n.run = r.seq)", True),
    "archived": Column(FLAG, ARCHIVED),
    "error_code": Column(TEXT, "json_extract(r.error, '$.code')", True),
}
# Other names that people try.
SYNONYMS = {
    "id": "run_id",
    "created_at": "created",
    "started_at": "started",
    "ended_at": "ended",
    "run_type": "type",
    "snapshot": "snapshot_id",
    "duration_seconds": "duration",
}
# Table -> what values its entries have.
KEYED = {"metrics": NUMBER, "params": ANY, "tags": TEXT, "properties": TEXT}
# As functions, because `metrics.loss.min` may be a metric's name: min(metrics.loss).
MEASURES = {"last": "last", "min": "minimum", "max": "maximum", "count": "count", "step": "last_step"}


def kind_of(field: Field) -> str:
    """What values the field has: one of the words above."""
    return COLUMNS[field.name].kind if field.table == "runs" else KEYED[field.table]
