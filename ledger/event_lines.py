"""A run's events as text, one a line: exact to the byte, and readable where their payloads are.

Each line is a JSON object with sorted keys: `at` (microseconds since the epoch, UTC), `commitment` (64 hex digits),
`payload` (text) or `payload64` (base64 of what is not ASCII), `salt` (32 hex digits), `seq` in the ledger that the
line comes from, `type`, `version` in the run. An erased payload leaves out itself and the salt.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from typing import Any

from onrecord.ledger.shapes import is_int64
from onrecord.ledger.stored_event import StoredEvent

_dumps = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
_HASH_BYTES = 32
_SALT_BYTES = 16


def event_lines(events: Iterable[StoredEvent]) -> bytes:
    """The lines of some events."""
    return b"".join(_line(event) for event in events)


def parse_event_lines(text: bytes) -> list[StoredEvent]:
    """The events of some lines; ValueError with a clause for a line that `event_lines` cannot have written."""
    if text and not text.endswith(b"\n"):
        raise ValueError("the last line is cut short")
    events = []
    for number, line in enumerate(text.split(b"\n")[:-1], 1):
        event = _parse(line)
        # There is one way to write each event: what is not in it is in nothing that is checked.
        if event is None or _line(event) != line + b"\n":
            raise ValueError(f"line {number} is no event")
        events.append(event)
    return events


def _line(event: StoredEvent) -> bytes:
    fields: dict[str, Any] = {
        "at": event.at,
        "commitment": event.commitment.hex(),
        "seq": event.seq,
        "type": event.type,
        "version": event.version,
    }
    if event.salt is not None and event.payload is not None:
        fields["salt"] = event.salt.hex()
        if event.payload.isascii():
            fields["payload"] = event.payload.decode()
        else:
            fields["payload64"] = base64.b64encode(event.payload).decode()
    return _dumps(fields).encode() + b"\n"


def _parse(line: bytes) -> StoredEvent | None:
    try:
        fields = json.loads(line)
        salt, payload = None, None
        if "salt" in fields:
            salt = bytes.fromhex(fields["salt"])
            packed = fields.get("payload64")
            payload = fields["payload"].encode("ascii") if packed is None else base64.b64decode(packed, validate=True)
        commitment = bytes.fromhex(fields["commitment"])
        event = StoredEvent(fields["seq"], fields["version"], fields["type"], fields["at"], salt, payload, commitment)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, binascii.Error):
        return None
    numbers = (event.seq, event.version, event.at)
    if not all(map(is_int64, numbers)) or not isinstance(event.type, str) or len(commitment) != _HASH_BYTES:
        return None
    return event if salt is None or len(salt) == _SALT_BYTES else None
