"""Ids of new runs."""

from __future__ import annotations

import os
import time

from onrecord.ledger.ids import decode, encode, new_id


def checked_new_id(run_id: str | None = None) -> str:
    """A new run's id: the given one in its canonical spelling, or a fresh one. Raises BadRunId."""
    if run_id is None:
        return encode(new_id(time.time_ns() // 1_000_000, os.urandom(10)))
    return encode(decode(run_id))
