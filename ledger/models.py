"""Registered models: versions of files under a name, in one stream of their own, whose id no run can have.

A version's files are never changed; what is said of it may be, and it can be deleted. Its number is not given again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs

from onrecord.ledger.errors import BadEvent
from onrecord.ledger.events import ModelChanged, ModelDeleted, ModelRegistered
from onrecord.ledger.ids import decode as id_bytes
from onrecord.ledger.ids import encode as id_text
from onrecord.ledger.journal import Journal
from onrecord.ledger.recorded import Recorded
from onrecord.ledger.writing import Writing

# No UUIDv7: the ninth byte of one begins with the bits 10.
STREAM = id_text(b"onrecord:models:")


@attrs.frozen(kw_only=True)
class ModelRow:
    """A version of a model as it is now; times in microseconds since the epoch, UTC. `contents`, `sizes`: by file."""

    name: str
    number: int
    path: str
    contents: dict[str, str]
    sizes: dict[str, int]
    run: str | None
    description: str
    framework: str
    framework_version: str
    tags: dict[str, str]
    properties: dict[str, str]
    by: str
    at: int
    deleted_at: int | None = None


def models(journal: Journal) -> list[ModelRow]:
    """Every version of every model, in the order of registration, deleted ones too. Reads one stream."""
    return _folded(journal.read(STREAM))


def register(journal: Journal, name: str, make: Callable[[int], ModelRegistered]) -> ModelRow:
    """A new version: `make` is given its number, and makes the event.

    One transaction under the writers' lock: two processes that register at once make one version each. Raises
    BadEvent, LedgerFull, LedgerReadOnly, NewerLedger.
    """
    with journal.writing() as writing:
        known = [model.number for model in _stored(writing) if model.name == name]
        event = make(max(known, default=0) + 1)
        writing.append(STREAM, [event])
        return _stored(writing)[-1]


def change(journal: Journal, event: ModelChanged | ModelDeleted, check: Callable[[ModelRow | None], None]) -> ModelRow:
    """Say something new of a version; `check` is given it as it stands, None where it is not, and may refuse."""
    with journal.writing() as writing:
        check(_found(_stored(writing), event))
        writing.append(STREAM, [event])
        changed = _found(_stored(writing), event)
    if changed is None:
        raise BadEvent(f"there is no model {event.name}:{event.number}", event=event.type)
    return changed


def _found(rows: Iterable[ModelRow], event: ModelChanged | ModelDeleted) -> ModelRow | None:
    return next((row for row in rows if (row.name, row.number) == (event.name, event.number)), None)


def _stored(writing: Writing) -> list[ModelRow]:
    rows = writing.connection.execute(
        "SELECT seq, rseq, type, ts, payload FROM events WHERE stream = ? ORDER BY rseq", (id_bytes(STREAM),)
    )
    return _folded(Recorded.stored(seq, STREAM, version, kind, at, payload) for seq, version, kind, at, payload in rows)


def _folded(events: Iterable[Recorded]) -> list[ModelRow]:
    found: dict[tuple[str, int], ModelRow] = {}
    for recorded in events:
        event = recorded.event
        if isinstance(event, ModelRegistered):
            fields = {field.name: getattr(event, field.name) for field in attrs.fields(ModelRegistered)}
            found[event.name, event.number] = ModelRow(**fields, at=recorded.at)
        elif isinstance(event, ModelChanged | ModelDeleted) and (event.name, event.number) in found:
            found[event.name, event.number] = _after(found[event.name, event.number], event, recorded.at)
    return list(found.values())


def _after(row: ModelRow, event: ModelChanged | ModelDeleted, at: int) -> ModelRow:
    if isinstance(event, ModelDeleted):
        return attrs.evolve(row, deleted_at=row.deleted_at or at)
    kept = {name: value for name, value in row.tags.items() if name not in event.removed}
    return attrs.evolve(
        row,
        tags={**kept, **event.tags},
        # The first value of a property stays.
        properties={**event.properties, **row.properties},
        description=row.description if event.description is None else event.description,
    )
