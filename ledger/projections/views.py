"""Views for people who read the ledger with other programs: times that can be read, durations in seconds."""

from __future__ import annotations

from onrecord.ledger.schema import PROJECTION_VERSIONS

# No JSON functions in here: a connection that does not trust the file's schema, as ours, refuses them.
NAME = "views"
VERSION = PROJECTION_VERSIONS[NAME]
TABLES: tuple[str, ...] = ()


def _iso(column: str) -> str:
    # SQLite's own clock functions know milliseconds only.
    whole = f"strftime('%Y-%m-%dT%H:%M:%S', {column} / 1000000, 'unixepoch')"
    return f"{whole} || printf('.%06dZ', {column} % 1000000)"


SCHEMA = f"""
CREATE VIEW runs_readable AS SELECT
    run_id,
    experiment,
    number,
    CASE WHEN name = '' THEN experiment || '_' || number ELSE name END AS name,
    status,
    {_iso("created_at")} AS created,
    {_iso("started_at")} AS started,
    {_iso("ended_at")} AS ended,
    (ended_at - started_at) / 1e6 AS duration_seconds,
    exit_code,
    signal,
    error,
    parent,
    run_type AS type,
    snapshot_id
FROM runs;
CREATE VIEW events_readable AS SELECT
    events.seq,
    runs.run_id,
    events.rseq AS version,
    events.type,
    {_iso("events.ts")} AS at,
    CASE WHEN events.type != 'run.metrics' THEN CAST(events.payload AS TEXT) END AS payload
FROM events LEFT JOIN runs ON runs.seq = (
    SELECT first.seq FROM events AS first WHERE first.stream = events.stream AND first.rseq = 1
);
"""  # noqa: S608
