"""The ledger's history as others can check it: checkpoints, proofs and receipts, made from the stored tree."""

from __future__ import annotations

from collections.abc import Sequence

from onrecord.ledger import proofs
from onrecord.ledger.checkpoint import Checkpoint, check_same_ledger
from onrecord.ledger.errors import EmptyLedger, ProofFailed, RunNotSealed, UnknownRun
from onrecord.ledger.ids import decode as id_bytes
from onrecord.ledger.ids import encode as id_text
from onrecord.ledger.journal import Journal
from onrecord.ledger.merkle import Frontier, node_hash, parents
from onrecord.ledger.origin import origin_of, seqs_under_seal, stored_events
from onrecord.ledger.projections import tree
from onrecord.ledger.proof_text import ConsistencyProof, InclusionProof
from onrecord.ledger.receipt import make_receipt
from onrecord.ledger.receipt_text import Receipt
from onrecord.ledger.stored_event import StoredEvent

_BATCH = 1 << 14
_BLOCK = 1 << tree.LOWEST
_SHARED = 8
_Place = tuple[int, int]


class History:
    """Proofs of one ledger. They are made from the stored nodes and leaves; that these fit is the audit's to say."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        # Nodes that many proofs share: at most a hundredth of the events, and a complete node never changes.
        self._shared: dict[_Place, bytes] = {}

    def catch_up(self) -> None:
        """Keep the nodes of all events; where the ledger cannot be written they are computed when they are needed.

        About 1 microsecond an event that is new. Hashing is done outside of the writers' lock.
        """
        database = self._journal.database
        size = self._journal.size()
        if database.read_only or not size:
            return
        start = self._journal.fetch("SELECT seq FROM projections WHERE name = ?", (tree.NAME,))[0][0]
        if start >= size:
            return
        standing = proofs.perfect_subtrees(0, start)
        nodes = self._nodes(standing)
        frontier = Frontier(start, {place[0]: nodes[place] for place in standing})
        while frontier.size < size:
            first = frontier.size + 1
            leaves = self._leaves(first, min(size, first + _BATCH - 1))
            made = tree.rows(frontier.extend(leaves))
            with self._journal.transaction() as connection:
                tree.store(connection, made, frontier.size)

    def origin(self) -> str:
        """The ledger's name. Raises EmptyLedger."""
        origin = origin_of(self._journal)
        if origin:
            return origin
        path = self._journal.database.path
        raise EmptyLedger(
            f"{path} has no event yet",
            why="a ledger is named by its first event, and a checkpoint names that ledger",
            next_step="onrecord run SCRIPT",
            path=path,
        )

    def checkpoint(self, size: int | None = None) -> Checkpoint:
        """What names the first `size` events (default: all there are). Raises EmptyLedger."""
        origin = self.origin()
        self.catch_up()
        size = size or self._journal.size()
        return Checkpoint(origin, size, self.root_at(size))

    def checkpoint_at_seal(self, run_id: str) -> Checkpoint:
        """What names the history up to the run's last seal. Raises UnknownRun, RunNotSealed."""
        return self.checkpoint(self._sealed_events(run_id)[1].seq)

    def root_at(self, size: int) -> bytes:
        """The root over the first `size` events, by the stored nodes."""
        return self._roots([(0, size)])[0]

    def inclusion(self, seq: int, checkpoint: Checkpoint) -> tuple[bytes, InclusionProof]:
        """The leaf of event `seq`, and the proof that it is in the history that `checkpoint` names."""
        index = seq - 1
        leaf, *hashes = self._roots([(index, seq), *proofs.inclusion_ranges(index, checkpoint.size)])
        return leaf, InclusionProof(index, tuple(hashes), checkpoint)

    def consistency(self, old: Checkpoint, new: Checkpoint) -> ConsistencyProof:
        """The proof that `new` extends `old`. Raises ProofFailed where it does not."""
        check_same_ledger(old, new)
        if not 0 < old.size <= new.size:
            raise ProofFailed(
                f"history was truncated: the checkpoint names {old.size} events, there are {new.size}",
                why="a history only grows",
                kind="checkpoint",
            )
        hashes = self._roots(proofs.consistency_ranges(old.size, new.size))
        proof = ConsistencyProof(old.size, old.root, tuple(hashes), new)
        proof.check()
        return proof

    def receipt(self, run_id: str, checkpoint: Checkpoint | None = None, *, full: bool = False) -> Receipt:
        """The receipt of a run that has ended and is sealed; `full` with every event.

        Raises UnknownRun, RunNotSealed, and ProofFailed where the stored tree does not fit the events.
        """
        events, seal = self._sealed_events(run_id)
        checkpoint = checkpoint or self.checkpoint()
        leaf, inclusion = self.inclusion(seal.seq, checkpoint)
        inclusion.check(leaf)
        return make_receipt(id_text(id_bytes(run_id)), events, seal, inclusion, full=full)

    def _sealed_events(self, run_id: str) -> tuple[Sequence[StoredEvent], StoredEvent]:
        """The events under the run's last seal, as they were where it was sealed, and the seal."""
        events = stored_events(self._journal, run_id)
        seals = [event for event in events if event.type == "run.sealed"]
        if not events:
            raise UnknownRun(f"there is no run {run_id}", next_step="onrecord ls", run_id=run_id)
        if not seals:
            raise RunNotSealed(
                f"run {run_id} has no seal yet, so there is no receipt of it",
                why="a run is sealed when it has ended",
                next_step=f"onrecord show {run_id}   (or onrecord logs -f {run_id}, to wait for its end)",
                run_id=run_id,
            )
        seal = seals[-1]
        before = events[: seal.version - 1]
        seqs = seqs_under_seal(seal.version, events)
        if seqs:
            before = [event._replace(seq=seq) for event, seq in zip(before, seqs, strict=False)]
        return before, seal

    def _leaves(self, first: int, last: int) -> list[bytes]:
        rows = self._journal.fetch("SELECT leaf FROM events WHERE seq BETWEEN ? AND ? ORDER BY seq", (first, last))
        return [leaf for (leaf,) in rows]

    def _roots(self, ranges: Sequence[proofs.Range]) -> list[bytes]:
        """The roots of some ranges of leaves, from nodes that are fetched together."""
        parts = [proofs.perfect_subtrees(low, high) for low, high in ranges]
        nodes = self._nodes([place for places in parts for place in places])
        return [proofs.root_of_parts([nodes[place] for place in places]) for places in parts]

    def _nodes(self, wanted: Sequence[_Place]) -> dict[_Place, bytes]:
        found = {place: self._shared[place] for place in wanted if place in self._shared}
        high = {tree.key(*place): place for place in wanted if place[0] >= tree.LOWEST and place not in found}
        if high:
            marks = ",".join("?" * len(high))
            rows = self._journal.fetch(f"SELECT id, hash FROM tree WHERE id IN ({marks})", tuple(high))  # noqa: S608
            found.update((high[key], hash) for key, hash in rows)
        for height, index in wanted:
            if height < tree.LOWEST:
                self._add_block(found, (index << height) // _BLOCK)
            elif (height, index) not in found:
                found[height, index] = self._computed(height, index)
            if height >= _SHARED:
                self._shared[height, index] = found[height, index]
        return found

    def _add_block(self, found: dict[_Place, bytes], block: int) -> None:
        """Every complete node below the height from which nodes are stored, over one block of leaves."""
        first = block * _BLOCK
        if (0, first) in found:
            return
        nodes = self._leaves(first + 1, first + _BLOCK)
        for height in range(tree.LOWEST):
            at = first >> height
            for place, node in enumerate(nodes, at):
                found[height, place] = node
            nodes = parents(nodes)

    def _computed(self, height: int, index: int) -> bytes:
        """A node that is not stored (yet): from its leaves at the lowest height, else from the two below it."""
        if height == tree.LOWEST:
            frontier = Frontier()
            frontier.extend(self._leaves(index * _BLOCK + 1, (index + 1) * _BLOCK))
            return frontier.root()
        below = self._nodes([(height - 1, 2 * index), (height - 1, 2 * index + 1)])
        return node_hash(below[height - 1, 2 * index], below[height - 1, 2 * index + 1])
