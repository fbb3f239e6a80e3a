"""What the holder of a run's receipt can check without the ledger: what was said, bound by hashes to a checkpoint.

    onrecord/receipt@v1
    run 01m85msy41eeq836n71bb3xrx3
                                        (then, for each event that moved the run's state)
    event 1 1 1767225600000000 run.submitted        (seq, place in the run, microseconds, type)
    salt x08go/ZJkuBS9UG/SffcvA==
    payload {"experiment":"ridge",…}
    proof gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=     (the way to the run's root, leaf's side first)

    event 9 9 1767225602000000 run.sealed           (names how many events the run has, and their root)
    …

    c2sp.org/tlog-proof@v1              (the way from the seal to the checkpoint: `proof_text`)
    …

A full receipt has every event of the run and no `proof` lines: the run's root is computed from all of them.
`payload64` is a payload that is not a line of text; `erased` the commitment that is left of an erased one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from onrecord.ledger import merkle, proofs
from onrecord.ledger.checkpoint import Checkpoint, check_same_ledger
from onrecord.ledger.codec import decode
from onrecord.ledger.errors import ProofFailed
from onrecord.ledger.events import RunSealed
from onrecord.ledger.ids import decode as id_bytes
from onrecord.ledger.note import PublicKey, verify
from onrecord.ledger.proof_text import ConsistencyProof, InclusionProof
from onrecord.ledger.receipt_text import Receipt, parse_receipt
from onrecord.ledger.recorded import Recorded
from onrecord.ledger.run_state import RunState
from onrecord.ledger.states import TERMINAL, state_after
from onrecord.ledger.stored_event import StoredEvent


@attrs.frozen
class Confirmed:
    """What a receipt says, every word of it bound to the checkpoint. Times in microseconds since the epoch, UTC.

    `events` the run had under its seal, `run_root` is their root; `full` when the receipt holds all of them.
    `erased` of the events that it shows have no payload: what they said (exit code, error …) is then not known, and
    whether the ledger's owner or somebody on the way took it out cannot be told. `keys` signed the checkpoint.
    With `known`, it was joined to a checkpoint that the holder already had.
    """

    run: RunState
    events: int
    run_root: bytes
    full: bool
    erased: int
    checkpoint: Checkpoint
    keys: tuple[PublicKey, ...] = ()
    known: Checkpoint | None = None


def check(
    text: str,
    *,
    keys: Iterable[PublicKey] = (),
    checkpoint: Checkpoint | None = None,
    proof: ConsistencyProof | None = None,
) -> Confirmed:
    """Check a receipt alone, and against what its holder trusts; needs neither the ledger nor onrecord's files.

    `keys`: its checkpoint must be signed by one of them. `checkpoint`: one that the holder kept; it must be the
    receipt's own, or `proof` must join the two. Raises BadEvidence for what cannot be read, ProofFailed for what
    does not hold, SigningUnavailable.
    """
    receipt = parse_receipt(text)
    stream = id_bytes(receipt.run_id)
    sealed = _check_run(receipt, stream)
    inclusion = receipt.inclusion
    if inclusion.index != receipt.seal.seq - 1:
        raise _failed("its proof is of another event than the run's seal")
    inclusion.check(receipt.seal.leaf(stream))
    run = _replay(receipt)
    trusted = tuple(keys)
    signed = tuple(verify(inclusion.checkpoint.as_note(), trusted)) if trusted else ()
    if checkpoint is not None:
        join(inclusion.checkpoint, checkpoint, proof)
    erased = sum(event.payload is None for event in receipt.events)
    root = bytes.fromhex(sealed.root)
    return Confirmed(run, sealed.count, root, receipt.full, erased, inclusion.checkpoint, signed, checkpoint)


def join(one: Checkpoint, other: Checkpoint, proof: ConsistencyProof | None) -> None:
    """Refuse two checkpoints that are not of one history. Raises ProofFailed."""
    check_same_ledger(one, other)
    if one.size == other.size:
        return
    if proof is None:
        older, newer = sorted((one.size, other.size))
        raise ProofFailed(
            f"checkpoints of {older} and {newer} events cannot be compared without a proof",
            why="only the ledger can show that the longer history begins with the shorter one",
            next_step="ask its owner for: onrecord prove OLDER-CHECKPOINT NEWER-CHECKPOINT -o FILE",
            kind="consistency-proof",
        )
    if not proof.joins(one, other):
        raise ProofFailed(
            "the consistency proof is of other checkpoints",
            why=f"it leads from {proof.old_size} to {proof.new.size} events of {proof.new.origin}",
            kind="consistency-proof",
        )
    proof.check()


def make_receipt(
    run_id: str, events: Sequence[StoredEvent], seal: StoredEvent, inclusion: InclusionProof, *, full: bool = False
) -> Receipt:
    """The receipt of a run whose events up to the seal are `events`: those that moved its state, or all."""
    if full:
        return Receipt(run_id, tuple(events), (), seal, inclusion)
    stream = id_bytes(run_id)
    node = proofs.nodes_of([event.leaf(stream) for event in events])
    shown = [(index, event) for index, event in enumerate(events) if event.moves]
    ways = [tuple(proofs.inclusion_proof(index, len(events), node)) for index, _ in shown]
    return Receipt(run_id, tuple(event for _, event in shown), tuple(ways), seal, inclusion)


def _check_run(receipt: Receipt, stream: bytes) -> RunSealed:
    """The seal, once every event of the receipt is under it."""
    sealed = decode(receipt.seal.type, receipt.seal.payload)
    if not isinstance(sealed, RunSealed):
        raise _failed("the event that the proof is of is no seal of a run")
    if receipt.seal.version != sealed.count + 1:
        raise _failed(f"its seal is over {sealed.count} events and is itself event {receipt.seal.version} of the run")
    leaves = [event.leaf(stream) for event in receipt.events]
    if receipt.full:
        whole = [event.version for event in receipt.events] == list(range(1, sealed.count + 1))
        if not whole or merkle.root_of(leaves).hex() != sealed.root:
            raise _failed("its events are not those that the run's seal counts and hashes")
    else:
        for event, leaf, way in zip(receipt.events, leaves, receipt.ways, strict=True):
            root = proofs.root_from_inclusion(leaf, event.version - 1, sealed.count, way)
            if root is None or root.hex() != sealed.root:
                raise _failed(f"event {event.version} of the run ({event.type}) is not under the run's seal")
    return sealed


def _replay(receipt: Receipt) -> RunState:
    state: RunState | None = None
    before = 0
    for event in receipt.events:
        after = state_after(state.status if state else None, event.type)
        if event.version <= before or after is None:
            raise _failed(f"event {event.version} of the run ({event.type}) cannot follow what is before it")
        before = event.version
        recorded = Recorded.stored(event.seq, receipt.run_id, event.version, event.type, event.at, event.payload)
        if state is None:
            state = RunState.submitted(recorded, lambda _: 0)
        else:
            state.take(recorded)
    if state is None or state.status not in TERMINAL:
        raise _failed("it does not show how the run began and ended")
    return state


def _failed(why: str) -> ProofFailed:
    return ProofFailed("the receipt does not prove what it says", why=why, kind="receipt")
