"""Stored JSON as Python's values."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

_scan: Callable[[str, int], tuple[Any, int]] = json.scanner.make_scanner(json.JSONDecoder())  # type: ignore[attr-defined]


def parsed(payload: bytes) -> Any:
    """What `json.loads` gives. Raises ValueError, RecursionError."""
    # What the ledger wrote is ASCII and one JSON value from end to end: the scanner alone reads that, without
    # looking for an encoding and for blanks, which is half of the time of a small payload.
    try:
        text = str(payload, "ascii")
        value, end = _scan(text, 0)
        if end == len(text):
            return value
    except (ValueError, StopIteration):
        pass
    return json.loads(payload)
