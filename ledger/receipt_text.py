"""The lines of a receipt, read and written; what they mean is in `receipt`."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence

import attrs

from onrecord.ledger import merkle
from onrecord.ledger.errors import BadEvidence, BadRunId
from onrecord.ledger.ids import decode as id_bytes
from onrecord.ledger.ids import encode as id_text
from onrecord.ledger.note import decode_base64
from onrecord.ledger.proof_text import TLOG_PROOF, InclusionProof, hash_lines, parse_inclusion_proof
from onrecord.ledger.stored_event import StoredEvent

RECEIPT = "onrecord/receipt@v1"
_EVENT = re.compile(r"event ([1-9][0-9]{0,18}) ([1-9][0-9]{0,18}) (-?[0-9]{1,19}) (.+)")
_PLAIN_TYPE = re.compile(r"[a-z0-9_.-]+")
_HASH_BYTES = 32


@attrs.frozen
class Receipt:
    """The lines of a receipt. `ways` has the hashes from each of `events` to the run's root; none when it is full."""

    run_id: str
    events: tuple[StoredEvent, ...]
    ways: tuple[tuple[bytes, ...], ...]
    seal: StoredEvent
    inclusion: InclusionProof

    @property
    def full(self) -> bool:
        """Whether it holds every event under the seal."""
        return not self.ways

    def __str__(self) -> str:
        ways = self.ways or ((),) * len(self.events)
        parts = [[RECEIPT, f"run {self.run_id}"]]
        parts += [_event_lines(event, way) for event, way in zip(self.events, ways, strict=True)]
        parts.append(_event_lines(self.seal, ()))
        return "".join("".join(f"{line}\n" for line in part) + "\n" for part in parts) + str(self.inclusion)


def parse_receipt(text: str) -> Receipt:
    """The lines of a receipt. Raises BadEvidence."""
    head, mark, rest = text.partition(f"\n\n{TLOG_PROOF}\n")
    if not text.startswith(f"{RECEIPT}\n"):
        raise _bad(f"it starts with {RECEIPT}", 1)
    if not mark:
        raise _bad("the proof of its seal is missing (it is cut short)", text.count("\n") or 1)
    inclusion = parse_inclusion_proof(f"{TLOG_PROOF}\n{rest}", line=head.count("\n") + 3)
    parts = head.split("\n\n")
    run_id = _run_id(parts[0])
    line, events, ways = parts[0].count("\n") + 3, list[StoredEvent](), list[tuple[bytes, ...]]()
    for part in parts[1:]:
        event, way = _parse_event(part.split("\n"), line)
        events.append(event)
        ways.append(way)
        line += part.count("\n") + 2
    if len(events) < 2:
        raise _bad("it holds the run's events and its seal", line)
    # A run of one event has a root without any way to it, so a receipt is full when no event has one.
    shown = tuple(ways[:-1]) if any(ways[:-1]) else ()
    return Receipt(run_id, tuple(events[:-1]), shown, events[-1], inclusion)


def _run_id(part: str) -> str:
    lines = part.split("\n")
    try:
        if len(lines) == 2 and lines[1].startswith("run "):
            return id_text(id_bytes(lines[1].removeprefix("run ")))
    except BadRunId:
        pass
    raise _bad("here stands: run ID", 2)


def _event_lines(event: StoredEvent, way: Sequence[bytes]) -> list[str]:
    kind = event.type if _PLAIN_TYPE.fullmatch(event.type) else json.dumps(event.type)
    lines = [f"event {event.seq} {event.version} {event.at} {kind}"]
    if event.salt is None or event.payload is None:
        lines.append(f"erased {_encode(event.commitment)}")
    else:
        lines += [f"salt {_encode(event.salt)}", _payload_line(event.payload)]
    return lines + [f"proof {each}" for each in hash_lines(way)]


def _payload_line(payload: bytes) -> str:
    if payload.isascii() and payload.decode().isprintable():
        return f"payload {payload.decode()}"
    return f"payload64 {_encode(payload)}"


def _parse_event(lines: list[str], first: int) -> tuple[StoredEvent, tuple[bytes, ...]]:
    found = _EVENT.fullmatch(lines[0])
    if found is None:
        raise _bad("here stands: event SEQ PLACE MICROSECONDS TYPE", first)
    words = [line.partition(" ") for line in lines[1:]]
    names = [word[0] for word in words if word[0] != "proof"]
    salt, payload, commitment = None, None, b""
    if names == ["erased"]:
        commitment = _decode(words[0][2], first + 1, _HASH_BYTES)
    elif names in (["salt", "payload"], ["salt", "payload64"]):
        salt = _decode(words[0][2], first + 1)
        payload = words[1][2].encode() if names[1] == "payload" else _decode(words[1][2], first + 2)
        commitment = merkle.payload_commitment(salt, payload)
    else:
        raise _bad("an event has a salt and a payload, or is erased", first + 1)
    way = tuple(
        _decode(value, first + place, _HASH_BYTES) for place, (name, _, value) in enumerate(words, 1) if name == "proof"
    )
    at = int(found[3])
    if not -(2**63) <= at < 2**63:
        raise _bad("a time is a number of 64 bits", first)
    event = StoredEvent(int(found[1]), int(found[2]), _type(found[4], first), at, salt, payload, commitment)
    return event, way


def _type(text: str, line: int) -> str:
    # Types that are not plain words, of a later onrecord or another program, are JSON strings.
    try:
        kind = text if _PLAIN_TYPE.fullmatch(text) else json.loads(text)
        if isinstance(kind, str) and 0 < len(kind.encode()) < 2**16:
            return kind
    except ValueError:
        pass
    raise _bad("an event's type is a word, or a JSON string", line)


def _decode(text: str, line: int, length: int | None = None) -> bytes:
    value = decode_base64(text)
    if value is None or (length is not None and len(value) != length):
        raise _bad("here stands base64" + (f" of {length} bytes" if length else ""), line)
    return value


def _encode(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _bad(why: str, line: int) -> BadEvidence:
    return BadEvidence(f"line {line} of this receipt cannot be read", why=why, kind="receipt", line=line)
