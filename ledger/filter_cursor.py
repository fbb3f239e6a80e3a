"""Where a page of runs ended: an opaque text that the next page continues from."""

from __future__ import annotations

import base64
import json
import zlib
from typing import NamedTuple

from onrecord.ledger.errors import BadCursor
from onrecord.ledger.filter_tree import Order, Scalar

_VERSION = 2


class Cursor(NamedTuple):
    """The values of the order's keys of the last run (None: it has none), and its `seq`."""

    keys: tuple[Scalar | None, ...]
    tie: int


def encode(cursor: Cursor, order: tuple[Order, ...]) -> str:
    """Text of letters, digits, `-` and `_`."""
    document = [_VERSION, _signature(order), list(cursor.keys), cursor.tie]
    text = json.dumps(document, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def decode(text: str, order: tuple[Order, ...]) -> Cursor:
    """The cursor. Raises BadCursor for other text, and for a cursor of another order."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        version, signature, keys, tie = json.loads(raw)
        scalars = all(key is None or _is_scalar(key) for key in keys)
        whole = isinstance(keys, list) and scalars and isinstance(tie, int) and _is_scalar(tie)
    except (ValueError, TypeError, RecursionError):
        raise _bad(text, "it is not one that a page ended with") from None
    if not whole or version != _VERSION:
        raise _bad(text, "it is not one that a page ended with")
    if signature != _signature(order) or len(keys) != len(order):
        raise _bad(text, "it belongs to a list in another order")
    return Cursor(tuple(keys), tie)


def _is_scalar(value: object) -> bool:
    # What SQLite can hold, and can be compared with; text that is not Unicode raises ValueError.
    if isinstance(value, str):
        return len(value.encode()) >= 0
    if isinstance(value, int):
        return not isinstance(value, bool) and -(2**63) <= value < 2**63
    return isinstance(value, float) and value == value


def _signature(order: tuple[Order, ...]) -> int:
    return zlib.crc32(repr([(tuple(key.field), key.descending) for key in order]).encode("utf-8", "backslashreplace"))


def _bad(text: str, why: str) -> BadCursor:
    return BadCursor(f"'{text}' is not a cursor of this list", why=why, next_step="begin again without it", cursor=text)
