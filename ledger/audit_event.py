"""What is wrong with one event: looked at in full once the audit's loop has found that something is."""

from __future__ import annotations

import struct

import attrs

from onrecord.ledger import merkle
from onrecord.ledger.references import NAMING
from onrecord.ledger.run_state import TYPES
from onrecord.ledger.states import AFTER_THE_END, MOVING_EVENTS, OF_NO_RUN

# seq, stream, rseq, type, ts, salt, payload, pcommit, leaf: as they are in the table, whatever they are.
Row = tuple[int, bytes, int, bytes, int, bytes | None, bytes | None, bytes, bytes]
MISSHAPEN = "its fields are not of the kind that was written"


@attrs.frozen
class Finding:
    """One thing that is wrong: `where` (event 12, run 01k…, table runs) and `problem`."""

    where: str
    problem: str


@attrs.frozen
class Kind:
    """A type of events: whether it can change a run's row, is read by the audit, and is a fact about no run."""

    text: str
    moves: bool
    is_read: bool
    is_of_no_run: bool

    @property
    def counts_only(self) -> bool:
        """Whether nothing but its place matters."""
        return not (self.moves or self.is_read or self.is_of_no_run)


def kind_of(kind_bytes: bytes) -> Kind:
    """The kind behind a type as it is stored."""
    text = kind_bytes.decode("utf-8", "replace")
    return Kind(text, text in TYPES | MOVING_EVENTS | AFTER_THE_END, text in NAMING, text in OF_NO_RUN)


def order_problems(seq: int, version: int, run_id: str, before: int, version_before: int) -> list[str]:
    """What is wrong with the place of an event after `before`, and in its run after `version_before`."""
    found = []
    if seq != before + 1:
        found.append(f"events are missing: the one before it has seq {before}")
    if version != version_before + 1:
        found.append(f"in its run {run_id} it is event {version}, after event {version_before}")
    return found


def hash_problems(row: Row) -> list[str]:
    """What is wrong with the hashes of an event; nothing of one that was erased as it should be."""
    seq, stream, version, kind_bytes, at, salt, payload, commitment, leaf = row
    if not isinstance(commitment, bytes) or not {type(salt), type(payload)} <= {bytes, type(None)}:
        return [MISSHAPEN]
    found = []
    if (payload is None) != (salt is None):
        found.append("its payload and its salt were not erased together")
    elif payload is not None and salt is not None and merkle.payload_commitment(salt, payload) != commitment:
        found.append("its payload is not what was written (the commitment differs)")
    kind = kind_bytes.decode("utf-8", "replace")
    try:
        same = len(stream) == 16 and kind.encode() == kind_bytes
        same = same and merkle.leaf_hash(seq, stream, version, at, kind, commitment) == leaf
    except struct.error:
        same = False
    if not same:
        found.append("its fields are not what was written (the leaf differs)")
    return found
