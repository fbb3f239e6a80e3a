"""The walk over the events in order: what follows what, and the table of runs that they make.

`skim` looks at the events that move a state or name an object, a third of them or less, and leaves it to the pieces
(`audit_pieces`) that nothing is missing between them. Where anything is wrong, `over_all` looks at every event.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from operator import itemgetter
from typing import Any

from onrecord.ledger import audit_event, merkle
from onrecord.ledger.audit_event import Finding, Kind
from onrecord.ledger.audit_pieces import BATCH, SEAL, SEALED
from onrecord.ledger.events import REGISTRY, FileRecorded, RunImported, RunSealed
from onrecord.ledger.ids import encode as id_text
from onrecord.ledger.journal import Journal
from onrecord.ledger.projections import tree
from onrecord.ledger.recorded import Recorded
from onrecord.ledger.references import References
from onrecord.ledger.replay import RunsReplay
from onrecord.ledger.run_state import RunState
from onrecord.ledger.states import state_after

# seq, stream, rseq, type, ts, payload, and leaf where all are looked at: as they are in the table, whatever they are.
Row = tuple[Any, ...]
_SHAPE: tuple[set[type[Any]], ...] = ({int}, {bytes}, {int}, {bytes}, {int}, {bytes, type(None)}, {bytes})
_leaf_of = itemgetter(6)
_FILE = FileRecorded.type.encode()
_COUNTED = sorted(kind for kind in REGISTRY if audit_event.kind_of(kind.encode()).counts_only)
# The type as bytes: text that is not UTF-8 is a finding, not the end of the audit.
_COLUMNS = "seq, stream, rseq, CAST(type AS BLOB), ts, payload"
_EVERY = f"SELECT {_COLUMNS}, leaf FROM events WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"  # noqa: S608
_TELLING = (
    f"SELECT {_COLUMNS} FROM events WHERE seq > ? AND seq <= ?"  # noqa: S608
    f" AND (rseq = 1 OR type NOT IN ({', '.join('?' * len(_COUNTED))})) ORDER BY seq LIMIT ?"
)
_HEADS = "SELECT stream, count(*), max(rseq), min(seq) FROM events WHERE seq <= ? GROUP BY stream"


class _Run:
    """A run on the walk, with its row once it is submitted; or a stream of facts about no run, and how many."""

    __slots__ = ("facts_of_no_run", "row", "run_id", "version")

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.version = 0
        self.row: RunState | None = None
        self.facts_of_no_run = 0


class Walk:
    """What is known after the events so far. `wrong_nodes` and `roots` only of a walk over all.

    `imports`: each `run.imported` with the 16 bytes of its run; `roots`: of 32 bytes, by the sizes asked for.
    """

    def __init__(self, journal: Journal, last: int) -> None:
        self.findings: list[Finding] = []
        self.named = References()
        self.imports: list[tuple[bytes, Recorded]] = []
        self.replay = RunsReplay()
        self.runs: dict[bytes, _Run] = {}
        self.tree = merkle.Frontier()
        self.roots: dict[int, bytes] = {}
        self.wrong_nodes: list[int] = []
        self._journal = journal
        self._last = last
        self._seq = 0
        self._counted: set[bytes] = set()
        self._kinds: dict[bytes, Kind] = {}
        self._heads: list[tuple[bytes, int, int, int]] = []
        self._sizes: list[int] = []
        self._leaves: list[bytes] = []

    def is_whole(self) -> bool:
        """Whether the events are numbered from 1 to the last, and so are those of each run."""
        self._heads = self._journal.fetch(_HEADS, (self._last,))
        counts = [count for _, count, _, _ in self._heads]
        return sum(counts) == self._last and all(count == head and first > 0 for _, count, head, first in self._heads)

    def skim(self) -> bool:
        """Take the telling events of a ledger that is whole; whether nothing strange was met."""
        for rows in self._batches(_TELLING, *_COUNTED):
            if not _is_shaped(rows):
                return False
            for seq, stream, version, kind_bytes, at, payload in rows:
                run = self.runs.get(stream) or self._new_run(stream)
                if kind_bytes not in self._counted or run.row is None:
                    self._take(seq, stream, run, version, kind_bytes, at, payload)
        if self.findings or len(self.runs) != len(self._heads):
            return False
        for stream, _, head, _ in self._heads:
            self.runs[stream].version = head
        # A stream of facts about no run has no row, and must hold nothing else.
        return all(run.row is not None or run.facts_of_no_run == run.version for run in self.runs.values())

    def over_all(self, sizes: Collection[int]) -> bool:
        """Take every event, and the tree with its roots at `sizes`; False at rows that nothing can be made of."""
        self._sizes = sorted(set(sizes))
        for rows in self._batches(_EVERY):
            if not _is_shaped(rows):
                # They can be neither hashed nor replayed, and nothing behind them fits.
                return False
            self._follow(rows)
            self._grow()
        self._grow(at_least=1)
        return True

    def count_runs(self) -> int:
        """How many runs there are events of."""
        return sum(run.row is not None or not run.facts_of_no_run for run in self.runs.values())

    def rows(self) -> dict[str, RunState]:
        """The table of runs as the events make it."""
        for run in self.runs.values():
            if run.row is not None:
                run.row.head = run.version
        return self.replay.finish()

    def _follow(self, rows: list[Row]) -> None:
        runs, counted, before = self.runs, self._counted, self._seq
        for seq, stream, version, kind_bytes, at, payload, _ in rows:
            run = runs.get(stream) or self._new_run(stream)
            if seq != before + 1 or version != run.version + 1:
                for problem in audit_event.order_problems(seq, version, run.run_id, before, run.version):
                    self._wrong(seq, problem)
            before, run.version = seq, version
            if kind_bytes not in counted or run.row is None:
                self._take(seq, stream, run, version, kind_bytes, at, payload)
        self._seq = before
        self._leaves += map(_leaf_of, rows)

    def _grow(self, at_least: int = 4096) -> None:
        # Take the leaves into the tree once there are so many, and compare the nodes that are stored with it.
        if len(self._leaves) < at_least:
            return
        before, leaves, made = self.tree.size, self._leaves, list[tuple[int, bytes]]()
        self._leaves = []
        # In pieces that end where a root is wanted.
        while self._sizes and self._sizes[0] <= self.tree.size + len(leaves):
            size = self._sizes.pop(0)
            piece = size - self.tree.size
            made += tree.rows(self.tree.extend(leaves[:piece]))
            leaves = leaves[piece:]
            self.roots[size] = self.tree.root()
        made += tree.rows(self.tree.extend(leaves))
        ids = (before * 64 + 63, self.tree.size * 64 + 63)
        stored = self._journal.fetch("SELECT id, hash FROM tree WHERE id > ? AND id <= ?", ids)
        expected = dict(made)
        self.wrong_nodes += [key for key, node in stored if node != expected.get(key)]

    def _wrong(self, seq: int, problem: str) -> None:
        self.findings.append(Finding(f"event {seq}", problem))

    def _new_run(self, stream: bytes) -> _Run:
        run = self.runs[stream] = _Run(id_text(stream))
        return run

    def _kind(self, kind_bytes: bytes) -> Kind:
        kind = self._kinds[kind_bytes] = audit_event.kind_of(kind_bytes)
        if kind.counts_only:
            self._counted.add(kind_bytes)
        return kind

    def _take(
        self, seq: int, stream: bytes, run: _Run, version: int, kind_bytes: bytes, at: int, payload: bytes | None
    ) -> None:
        """An event that moves the state, or whose content the audit needs."""
        kind = self._kinds.get(kind_bytes) or self._kind(kind_bytes)
        status = run.row.status if run.row else None
        if (status is None or kind.moves or kind.is_of_no_run) and not _may_follow(run, kind):
            before = status or "of a run that does not exist"
            self._wrong(seq, f"{kind.text} cannot follow the state {before}")
        if kind.is_of_no_run and run.row is None:
            run.facts_of_no_run += 1
        if kind_bytes == _FILE:
            self.named.take(kind.text, payload)
            return
        if kind_bytes == SEALED and (seal := SEAL.fullmatch(payload or b"")):
            sealed = RunSealed(count=int(seal[1]), root=seal[2].decode())
            recorded = Recorded(seq, run.run_id, version, kind.text, at, sealed)
        else:
            recorded = Recorded.stored(seq, run.run_id, version, kind.text, at, payload)
        if kind.moves:
            self.replay.take(recorded)
            run.row = self.replay.states.get(run.run_id)
            if kind.text == RunImported.type:
                self.imports.append((stream, recorded))
        if kind.is_read:
            self.named.take_event(recorded.event)

    def _batches(self, sql: str, *parameters: str) -> Iterator[list[Row]]:
        after = -(2**63)
        while rows := self._journal.fetch(sql, (after, self._last, *parameters, BATCH)):
            yield rows
            after = rows[-1][0]


def _may_follow(run: _Run, kind: Kind) -> bool:
    if run.facts_of_no_run and not kind.is_of_no_run:
        return False
    return state_after(run.row.status if run.row else None, kind.text) is not None


def _is_shaped(rows: list[Row]) -> bool:
    kinds = [set(map(type, column)) for column in zip(*rows, strict=True)]
    return all(kind <= allowed for kind, allowed in zip(kinds, _SHAPE, strict=False))
