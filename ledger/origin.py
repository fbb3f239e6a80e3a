"""Leaves as another ledger had them: a leaf holds the event's `seq`, which a run's events leave behind on import.

Every import appends a `run.imported` to the run, with the `seq` that each event before it had where it came from. A
seal is over the leaves of the ledger in which it was made, and that is told by the first import after it; a seal
with no import after it was made here.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from onrecord.ledger import merkle
from onrecord.ledger.checkpoint import name_of
from onrecord.ledger.codec import decode
from onrecord.ledger.events import PayloadErased, RunImported, RunSealed
from onrecord.ledger.ids import decode as id_bytes
from onrecord.ledger.journal import Journal
from onrecord.ledger.recorded import Recorded
from onrecord.ledger.stored_event import StoredEvent

# The event that makes a ledger this one and no other: its first, or, where that came with an import and another
# ledger has it too, the import of that run, which is salted at random. Nothing that comes later changes it.
FIRST_OWN_LEAF = """
SELECT leaf FROM events WHERE seq = coalesce(
    (SELECT max(seq) FROM events WHERE stream = (SELECT stream FROM events WHERE seq = 1) AND type = 'run.imported'), 1)
"""


def origin_of(journal: Journal) -> str | None:
    """The name of this ledger, from its first own event; None while it has none."""
    rows = journal.fetch(FIRST_OWN_LEAF)
    return name_of(rows[0][0]) if rows else None


def origin_told_by(stream: bytes, events: Sequence[StoredEvent]) -> str | None:
    """The name of the ledger that all events of a run come from, where they have its first event; else None."""
    if not events or events[0].seq != 1:
        return None
    own = next((event for event in reversed(events) if event.type == RunImported.type), events[0])
    return name_of(own.leaf(stream))


def stored_events(journal: Journal, run_id: str) -> list[StoredEvent]:
    """All events of a run in order."""
    # The type as bytes: an audit must not end at text that is not UTF-8.
    rows = journal.fetch(
        "SELECT seq, rseq, CAST(type AS BLOB), ts, salt, payload, pcommit FROM events WHERE stream = ? ORDER BY rseq",
        (id_bytes(run_id),),
    )
    return [StoredEvent(seq, version, kind.decode("utf-8", "replace"), *rest) for seq, version, kind, *rest in rows]


def seal_fits(seal: Recorded, stream: bytes, events: Sequence[StoredEvent]) -> bool:
    """Whether a seal counts and hashes all events before it, as they were in the ledger where it was made."""
    event, before = seal.event, events[: seal.version - 1]
    if not isinstance(event, RunSealed) or event.count != len(before):
        return False
    seqs = seqs_under_seal(seal.version, events) or [one.seq for one in events]
    return root_of_events(before, stream, seqs) == event.root


def seqs_under_seal(version: int, events: Sequence[StoredEvent]) -> list[int] | None:
    """The numbers of the events where the seal that is event `version` of the run was made; None: here."""
    return next(filter(None, map(_seqs, events[version:])), None)


def fits_its_events(imported: Recorded, stream: bytes, events: Sequence[StoredEvent]) -> bool:
    """Whether a `run.imported` is over the events before it."""
    event, before = imported.event, events[: imported.version - 1]
    return (
        isinstance(event, RunImported)
        and len(event.seqs) == len(before)
        and root_of_events(before, stream, event.seqs) == event.root
    )


def erasures_told(events: Sequence[StoredEvent]) -> set[int]:
    """The versions of a run's events that some `payload.erased` of the run names."""
    told = set[int]()
    for stored in events:
        event = decode(stored.type, stored.payload) if stored.type == PayloadErased.type else None
        if isinstance(event, PayloadErased):
            told.update(event.versions)
    return told


def _seqs(stored: StoredEvent) -> list[int] | None:
    event = decode(stored.type, stored.payload) if stored.type == RunImported.type else None
    return event.seqs if isinstance(event, RunImported) else None


def root_of_events(events: Sequence[StoredEvent], stream: bytes, seqs: Sequence[int]) -> str | None:
    """The Merkle root (64 hex digits) over the leaves that events had where `seqs` were their numbers; None: none."""
    if len(seqs) < len(events):
        return None
    try:
        return merkle.root_of(event.leaf(stream, seq) for event, seq in zip(events, seqs, strict=False)).hex()
    except struct.error:
        return None  # numbers that no ledger gives out have no leaves
