"""Events to the exact bytes that are hashed and stored, and back.

JSON with sorted keys, no blanks and only ASCII, so that equal events have equal bytes and a lone
surrogate (a file name that is not UTF-8) survives (a high one before a low one reads as the character that
they mean together); `v` is the payload's version. Metric chunks
have a packed form of their own (`chunk`). An earlier version is read through its class's upcasters; a type
or a later version not known here reads as `Unknown`.
"""

from __future__ import annotations

from typing import Any

from onrecord.ledger import chunk
from onrecord.ledger.errors import BadEvent
from onrecord.ledger.event import field_names
from onrecord.ledger.events import REGISTRY, AnyEvent, Erased, Event, RunMetrics, Unknown
from onrecord.ledger.parsing import parsed
from onrecord.ledger.shapes import Reader, misfit, reader_from_json
from onrecord.ledger.spelling import spelled

_readers: dict[type[Event], Reader] = {}


def encode(event: Event | Unknown) -> tuple[str, bytes]:
    """The stored type and payload of an event. Raises BadEvent for what cannot be stored exactly."""
    if isinstance(event, Unknown):
        return _encode_unknown(event)
    try:
        if type(event) is RunMetrics:
            return event.type, chunk.pack(event)
        return event.type, spelled(event).encode()
    except (TypeError, ValueError, OverflowError, RecursionError) as problem:
        raise BadEvent(
            f"a {event.type} event cannot be stored: {problem}",
            why="payloads hold text, finite numbers, true, false, null, lists and objects with text keys,"
            " each field of its declared type",
            event=event.type,
        ) from problem


def _encode_unknown(event: Unknown) -> tuple[str, bytes]:
    name = event.type.encode("utf-8", "replace")
    if name.decode() != event.type or not 0 < len(name) < 2**16:
        raise BadEvent(
            "an event with this type cannot be stored",
            why="a type is text of 1 to 65535 bytes in UTF-8",
            event=event.type,
        )
    return event.type, event.payload


def decode(event_type: str, payload: bytes | None) -> AnyEvent:
    """The event behind a stored payload; `Erased` where the payload is gone, `Unknown` where it is not known."""
    if payload is None:
        return Erased(event_type)
    if event_type == RunMetrics.type:
        return chunk.unpack(payload) or Unknown(event_type, payload)
    try:
        # The usual shapes of the events of today, all of it looked at once; None for what takes a closer look.
        kind = REGISTRY[event_type]
        event: AnyEvent | None = (_readers.get(kind) or _reader(kind))(**parsed(payload))
        if event is not None:
            return event
    except (TypeError, ValueError, LookupError, RecursionError):
        pass
    return _decoded(event_type, payload)


def _reader(kind: type[Event]) -> Reader:
    reader = _readers[kind] = reader_from_json(kind)
    return reader


def _decoded(event_type: str, payload: bytes) -> AnyEvent:
    kind = REGISTRY.get(event_type)
    if kind is None:
        return Unknown(event_type, payload)
    try:
        fields = parsed(payload)
    except (ValueError, RecursionError):
        return Unknown(event_type, payload)
    current = _upcast(kind, fields) if isinstance(fields, dict) else None
    return Unknown(event_type, payload) if current is None else _build(kind, current, payload)


def _upcast(kind: type[Event], fields: dict[str, Any]) -> dict[str, Any] | None:
    """The fields as the class has them today; None for a later version, and for what only resembles an event."""
    version = fields.pop("v", None)
    if type(version) is not int or not 1 <= version <= kind.version:
        return None
    try:
        while version < kind.version:
            fields = kind.upcasters[version](fields)
            version += 1
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError):
        return None  # a stranger's payload, which the upcaster was not made for: it stays as it is
    return fields


def as_document(event: AnyEvent) -> dict[str, Any]:
    """The fields of an event as plain values, for people and for `--json`; non-finite numbers as text."""
    if isinstance(event, Erased):
        return {"erased": True}
    if isinstance(event, Unknown):
        return {"unknown": True, "payload": event.payload.decode("utf-8", "backslashreplace")}
    if isinstance(event, RunMetrics):
        return {
            "points": sum(len(series.values) for series in event.series),
            "names": sorted({series.name for series in event.series}),
        }
    return {name: getattr(event, name) for name in field_names(type(event))}


def _build(kind: type[Event], fields: dict[str, Any], payload: bytes) -> AnyEvent:
    try:
        if misfit(kind, fields) is None:
            return kind(**fields)
    except (TypeError, KeyError, RecursionError):
        pass  # a field is missing, or one that this class does not have
    return Unknown(kind.type, payload)
