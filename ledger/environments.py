"""Registered environments: versions of a definition under a name, one event each.

They are in one stream of their own, whose id no run can have, so that they are found without a look at the
other events. Nothing is ever changed: the same definition again is the version that is there already.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from onrecord.ledger.events import EnvironmentRegistered
from onrecord.ledger.ids import decode as id_bytes
from onrecord.ledger.ids import encode as id_text
from onrecord.ledger.journal import Journal
from onrecord.ledger.recorded import Recorded
from onrecord.ledger.writing import Writing

# No UUIDv7: the sixth byte of one begins with 7.
STREAM = id_text(b"onrecord:environ")


class Registered(NamedTuple):
    """A version of an environment: `number` from 1, `at` in microseconds since the epoch, UTC."""

    name: str
    number: int
    definition: dict[str, Any]
    at: int


def registered(journal: Journal) -> list[Registered]:
    """Every version of every environment, in the order of registration. Reads one stream."""
    return [found for recorded in journal.read(STREAM) if (found := _registered(recorded)) is not None]


def register(journal: Journal, name: str, definition: Mapping[str, Any], by: str = "") -> Registered:
    """The version of `name` with this definition: its newest one, where that is the same, else a new one.

    One transaction under the writers' lock: two processes that register at once make one version each, or the same.
    Raises BadEvent, LedgerFull, LedgerReadOnly, NewerLedger.
    """
    with journal.writing() as writing:
        versions = [found for found in _stored(writing) if found.name == name]
        newest = versions[-1] if versions else None
        if newest is None or newest.definition != definition:
            number = newest.number + 1 if newest else 1
            event = EnvironmentRegistered(name=name, number=number, definition=dict(definition), by=by)
            writing.append(STREAM, [event])
            newest = next(found for found in reversed(_stored(writing)) if found.name == name)
    return newest


def _stored(writing: Writing) -> list[Registered]:
    rows = writing.connection.execute(
        "SELECT seq, rseq, type, ts, payload FROM events WHERE stream = ? ORDER BY rseq", (id_bytes(STREAM),)
    )
    recorded = (Recorded.stored(seq, STREAM, version, kind, at, payload) for seq, version, kind, at, payload in rows)
    return [found for one in recorded if (found := _registered(one)) is not None]


def _registered(recorded: Recorded) -> Registered | None:
    event = recorded.event
    if not isinstance(event, EnvironmentRegistered):
        return None
    return Registered(event.name, event.number, event.definition, recorded.at)
