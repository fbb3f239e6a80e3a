"""What is wrong with one event: looked at in full once the audit's loop has found that something is."""

from __future__ import annotations

import struct

import attrs

from onrecord.ledger import merkle
from onrecord.ledger.events import RunSealed
from onrecord.ledger.run_state import TYPES
from onrecord.ledger.states import AFTER_THE_END, MOVING_EVENTS

# seq, stream, rseq, type, ts, salt, payload, pcommit, leaf: as they are in the table, whatever they are.
Row = tuple[int, bytes, int, bytes, int, bytes | None, bytes | None, bytes, bytes]
_READ = frozenset({"run.submitted", "run.sealed", "run.file_recorded"})


@attrs.frozen
class Finding:
    """One thing that is wrong: `where` (event 12, run 01k…, table runs) and `problem`."""

    where: str
    problem: str


@attrs.frozen
class Kind:
    """A type of events: `suffix`, its bytes in an entry (None where no entry can hold it), and what it needs.

    `counts_only`: nothing but its place matters to the audit. `is_read`: the audit needs its content.
    """

    text: str
    suffix: bytes | None
    counts_only: bool
    is_read: bool


def kind_of(kind_bytes: bytes) -> Kind:
    """The kind behind a type as it is stored."""
    text = kind_bytes.decode("utf-8", "replace")
    possible = text.encode() == kind_bytes and len(kind_bytes) < 2**16
    suffix = len(kind_bytes).to_bytes(2, "big") + kind_bytes if possible else None
    matters = text in TYPES | MOVING_EVENTS | AFTER_THE_END | _READ
    return Kind(text, suffix, not matters, text in _READ)


def problems(row: Row, kind: Kind, run_id: str, before: int, version_before: int) -> list[str]:
    """What is wrong with an event after `before`, and in its run after `version_before`; nothing of an erased one."""
    seq, stream, version, _, at, salt, payload, commitment, leaf = row
    found = []
    if seq != before + 1:
        found.append(f"events are missing: the one before it has seq {before}")
    if version != version_before + 1:
        found.append(f"in its run {run_id} it is event {version}, after event {version_before}")
    if (payload is None) != (salt is None):
        found.append("its payload and its salt were not erased together")
    elif payload is not None and salt is not None and merkle.payload_commitment(salt, payload) != commitment:
        found.append("its payload is not what was written (the commitment differs)")
    try:
        same = kind.suffix is not None and merkle.leaf_hash(seq, stream, version, at, kind.text, commitment) == leaf
    except struct.error:
        same = False
    if not same:
        found.append("its fields are not what was written (the leaf differs)")
    return found


def seal_problem(seal: RunSealed, leaves: bytes | bytearray) -> str | None:
    """What is wrong with a seal over a run whose leaves so far, of 32 bytes each, are `leaves`; None when it fits."""
    count = len(leaves) // 32
    root = merkle.root_of([bytes(leaves[at : at + 32]) for at in range(0, 32 * min(seal.count, count), 32)])
    if seal.count != count or seal.root != root.hex():
        return "the seal does not fit the events of its run"
    return None
