"""An event with its place in the ledger."""

from __future__ import annotations

import attrs

from onrecord.ledger.events import AnyEvent


@attrs.frozen
class Recorded:
    """`seq` in the ledger and `version` in the run, both from 1; `at` in microseconds since the epoch, UTC."""

    seq: int
    run_id: str
    version: int
    type: str
    at: int
    event: AnyEvent
