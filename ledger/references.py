"""Which objects events name: the one list of it, for whoever checks, keeps, sends or removes objects.

An event that names objects in a new way gets its line in `References.take_event`, and its type in `NAMING`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import attrs

from onrecord.ledger.codec import decode
from onrecord.ledger.events import (
    REGISTRY,
    AnyEvent,
    FileRecorded,
    FileUploaded,
    ModelDeleted,
    ModelRegistered,
    RunMetrics,
    RunSubmitted,
    SnapshotTaken,
    Unknown,
)
from onrecord.ledger.ids import decode as id_bytes

if TYPE_CHECKING:
    from onrecord.ledger.journal import Journal

NAMING = frozenset(
    kind.type for kind in (RunSubmitted, SnapshotTaken, FileRecorded, FileUploaded, ModelRegistered, ModelDeleted)
)

# Of a file's event only the digest is needed; nothing else in such a payload can be spelled like this, because
# a quotation mark inside of a text is escaped.
_DIGEST = re.compile(rb'"digest":"([0-9a-f]{64})".*,"v":1}\Z', re.DOTALL)
_ADDRESS = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_PAGE = 20_000


@attrs.define
class References:
    """Objects by address, as events spell it: 64 hex digits.

    `snapshots`: with all that they need. `contents`: of files of runs. `models`: of models that are not deleted, by
    name and version. `possible`: what may be an address, in events of a type or a version that this onrecord does
    not know; whoever removes objects keeps them.
    """

    snapshots: set[str] = attrs.field(factory=set)
    contents: set[str] = attrs.field(factory=set)
    models: dict[tuple[str, int], frozenset[str]] = attrs.field(factory=dict)
    possible: set[str] = attrs.field(factory=set)

    @property
    def files(self) -> set[str]:
        """Of files of runs and of models."""
        return self.contents.union(*self.models.values())

    def take(self, kind: str, payload: bytes | None) -> None:
        """Add what a stored event names; one that was erased names nothing any more."""
        if payload is None:
            return
        if kind == FileRecorded.type:
            digest = _DIGEST.search(payload)
            if digest:
                self.contents.add(digest[1].decode())
                return
        if kind in NAMING or kind not in REGISTRY or b'"v":%d' % REGISTRY[kind].version not in payload:
            self.take_event(decode(kind, payload))

    def take_event(self, event: AnyEvent) -> None:
        """Add what an event names."""
        if isinstance(event, RunSubmitted | SnapshotTaken) and event.snapshot_id:
            self.snapshots.add(event.snapshot_id)
        elif isinstance(event, FileRecorded | FileUploaded):
            self.contents.add(event.digest)
        elif isinstance(event, ModelRegistered):
            self.models[event.name, event.number] = frozenset(event.contents.values())
        elif isinstance(event, ModelDeleted):
            self.models.pop((event.name, event.number), None)
        elif isinstance(event, Unknown):
            self.possible.update(address.decode() for address in _ADDRESS.findall(event.payload))


def references_in(journal: Journal, *, without: Iterable[str] = (), after: int = 0) -> References:
    """What the events of all runs but `without`, and of models, name, from seq `after` + 1 on.

    Reads the events themselves, so a damaged read model hides nothing. Points of metrics name no objects.
    """
    found = References()
    left_out = {id_bytes(run) for run in without}
    while True:
        rows = journal.fetch(
            "SELECT seq, stream, CAST(type AS BLOB), CASE WHEN type = ? THEN NULL ELSE payload END FROM events"
            " WHERE seq > ? ORDER BY seq LIMIT ?",
            (RunMetrics.type, after, _PAGE),
        )
        if not rows:
            return found
        for _, stream, kind, payload in rows:
            if stream not in left_out:
                found.take(kind.decode("utf-8", "replace"), payload)
        after = rows[-1][0]
