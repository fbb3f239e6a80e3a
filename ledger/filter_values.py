"""Dates, ages and durations as filters spell them. Times are microseconds since the epoch, UTC."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_SECOND = 1_000_000
_UNITS = {
    "us": 1e-6, "ms": 1e-3, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "hour": 3600, "hours": 3600,
    "d": 86400, "day": 86400, "days": 86400, "w": 604800, "week": 604800, "weeks": 604800,
    "minutes": 60, "minute": 60, "seconds": 1, "second": 1,
}  # fmt: skip
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)([a-z]+)")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
# Beyond these, neither SQLite's whole numbers nor Python's dates go.
_LONGEST = 10**15


def span(text: str) -> int | None:
    """Microseconds in `90s`, `1h30m`, `7d`, `1.5h`, `250ms`; a bare number counts seconds. None for other text.

    >>> span("1h30m"), span("0.5"), span("soon")
    (5400000000, 500000, None)
    """
    text = text.lower()
    if re.fullmatch(r"[0-9]+(?:\.[0-9]+)?", text):
        text += "s"
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    if any(unit not in _UNITS for _, unit in parts):
        return None
    total = sum(float(number) * _UNITS[unit] for number, unit in parts) * _SECOND
    return round(total) if total < _LONGEST * 1000 else None


def moment(text: str) -> tuple[int, int] | None:
    """The first microsecond of the time that `text` says and the first one after it, or None.

    A date is the whole day, `2026-01-31T12:00` and longer forms one moment; without `Z` or an offset both are in
    the local time zone.
    """
    try:
        if _DAY.fullmatch(text):
            day = datetime.fromisoformat(text)
            return _microseconds(day), _microseconds(day + timedelta(days=1))
        if not _DAY.match(text):
            return None
        at = _microseconds(datetime.fromisoformat(text))
    except (ValueError, OverflowError, OSError):
        return None
    return at, at + 1


def _microseconds(at: datetime) -> int:
    at = at.astimezone()
    epoch = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
    return (at - epoch) // timedelta(microseconds=1)
