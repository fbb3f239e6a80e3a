"""Which run was started from which, over all generations: a sweep's children, a pipeline's steps, their children."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from onrecord.ledger import events
from onrecord.ledger.recorded import Recorded
from onrecord.ledger.schema import PROJECTION_VERSIONS
from onrecord.ledger.text import storable

NAME = "families"
VERSION = PROJECTION_VERSIONS[NAME]
TABLES: tuple[str, ...] = ("families",)
TYPES = frozenset({"run.submitted"})
SCHEMA = """
CREATE TABLE families(
    ancestor TEXT NOT NULL,               -- a run, by its id
    descendant TEXT NOT NULL,             -- a run that was started from it, or from one that was …
    depth INTEGER NOT NULL,               -- generations between them: 1 is parent and child, at most 100
    PRIMARY KEY(ancestor, descendant)
) STRICT, WITHOUT ROWID;
CREATE INDEX families_by_descendant ON families(descendant, ancestor, depth);
"""
# A chain of n runs makes n * n / 2 pairs: one of 100,000 must not make five thousand million.
DEEPEST = 100

# A run may be named as a parent before it is there itself (an import), so both sides can have relatives already;
# a circle of parents, which nothing forbids, ends at itself.
_JOIN = """
INSERT OR IGNORE INTO families
SELECT above.run_id, below.run_id, above.depth + 1 + below.depth
FROM (SELECT ?1 AS run_id, 0 AS depth UNION ALL SELECT ancestor, depth FROM families WHERE descendant = ?1) AS above,
     (SELECT ?2 AS run_id, 0 AS depth UNION ALL SELECT descendant, depth FROM families WHERE ancestor = ?2) AS below
WHERE above.run_id != below.run_id AND above.depth + 1 + below.depth <= ?3
ORDER BY 3
"""


def apply(connection: sqlite3.Connection, batch: Sequence[Recorded]) -> None:
    """Take events into the families."""
    for recorded in batch:
        event = recorded.event
        if isinstance(event, events.RunSubmitted) and event.parent is not None:
            connection.execute(_JOIN, (storable(event.parent), recorded.run_id, DEEPEST))
