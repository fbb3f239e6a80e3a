"""Is what the ledger says what was written? Every hash is computed again, and every state replayed.

The loop over the events is written for speed: it compares, and only an event that differs is looked at again,
by `audit_event`, to say what is wrong with it.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from hashlib import sha256
from typing import Any

import attrs

from onrecord.ledger import audit_event, merkle
from onrecord.ledger.audit_event import Finding, Kind, Row
from onrecord.ledger.events import FileRecorded, RunSealed, RunSubmitted
from onrecord.ledger.ids import encode as id_text
from onrecord.ledger.journal import Journal
from onrecord.ledger.projections import tree
from onrecord.ledger.read_models import differences
from onrecord.ledger.recorded import Recorded
from onrecord.ledger.replay import RunsReplay
from onrecord.ledger.run_state import RunState
from onrecord.ledger.schema import TRIGGERS
from onrecord.ledger.states import state_after

BATCH = 4096
_COLUMNS = ", ".join(RunState.COLUMNS)
_ENTRY = struct.Struct(">5sQ16sQq")


@attrs.define
class Audit:
    """What an audit saw: counts, the tree's root (64 hex digits), findings, and the objects that runs refer to.

    `first_leaf` is that of event 1; `roots` has the root (32 bytes) at each size that was asked for.
    """

    events: int = 0
    runs: int = 0
    erased: int = 0
    root: str = ""
    findings: list[Finding] = attrs.field(factory=list)
    snapshots: set[str] = attrs.field(factory=set)
    objects: set[str] = attrs.field(factory=set)
    first_leaf: bytes = b""
    roots: dict[int, bytes] = attrs.field(factory=dict)

    def wrong(self, where: str, problem: str) -> None:
        """Note one finding."""
        self.findings.append(Finding(where, problem))


def audit(journal: Journal, *, sizes: Collection[int] = (), read_models: bool = True) -> Audit:
    """Read the whole ledger once and compare it with what its hashes, its order and its states must be.

    Of the moment when it is called: appends meanwhile go on and are not looked at. `sizes`: the numbers of
    events at which the root is wanted. Without `read_models` only the table of runs is compared with the events,
    not the tables that catch up. Costs memory for the hashes (32 bytes an event) and one row a run. Raises
    LedgerDamaged where SQLite cannot read on.
    """
    result = Audit()
    stored, last = _stored_runs(journal)
    walk = _Walk(result, sizes)
    for rows in _batches(journal, last):
        walk.check(rows)
        walk.compare_nodes(journal)
    result.events, result.runs, result.root = walk.tree.size, len(walk.runs), walk.tree.root().hex()
    _compare_runs(stored, walk.replay.states, result)
    if read_models:
        for where, problem in differences(journal):
            result.wrong(where, problem)
    _check_database(journal, result)
    return result


class _Run:
    """A run on the walk: the leaves of its events, one after the other, and its row once it is submitted."""

    __slots__ = ("leaves", "row", "run_id", "version")

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.version = 0
        self.row: RunState | None = None
        self.leaves = bytearray()


class _Walk:
    """What is known after the events so far."""

    def __init__(self, result: Audit, sizes: Collection[int]) -> None:
        self.result = result
        self.seq = 0
        self.tree = merkle.Frontier()
        self.replay = RunsReplay()
        self.runs: dict[bytes, _Run] = {}
        self._kinds: dict[bytes, Kind] = {}
        self._sizes = sorted(set(sizes))
        self._made: list[tuple[int, bytes]] = []
        self._since = 0

    def check(self, rows: list[Row]) -> None:
        """Go on over the next events."""
        runs, kinds, pack, before = self.runs, self._kinds, _ENTRY.pack, self.seq
        for row in rows:
            seq, stream, version, kind_bytes, at, salt, payload, commitment, leaf = row
            kind = kinds.get(kind_bytes) or self._kind(kind_bytes)
            run = runs.get(stream) or self._run(stream, seq)
            try:
                right = (
                    seq == before + 1
                    and version == run.version + 1
                    and sha256(b"RLP\x01" + salt + payload).digest() == commitment  # type: ignore[operator]
                    and sha256(pack(b"\0RLE\1", seq, stream, version, at) + kind.suffix + commitment).digest() == leaf
                )
            except (TypeError, struct.error):
                right = False
            if not right:
                self._look_again(row, kind, run, before)
            before, run.version = seq, version
            if kind.counts_only and run.row is not None:
                run.row.head = version
            else:
                self._take(row, kind, run)
            run.leaves += leaf
        self.seq = before
        self._grow([row[8] for row in rows])

    def compare_nodes(self, journal: Journal) -> None:
        """Compare the stored nodes over the last batch with those that its leaves make."""
        low, high = self._since * 64 + 63, self.tree.size * 64 + 63
        stored = dict(journal.fetch("SELECT id, hash FROM tree WHERE id > ? AND id <= ?", (low, high)))
        if stored:
            expected = dict(self._made)
            for key in sorted(stored):
                if stored[key] != expected.get(key):
                    self.result.wrong(
                        f"table tree, height {key % 64} up to event {key // 64}",
                        "the node is not the one that the events make; onrecord rebuild makes it again",
                    )
        self._made, self._since = [], self.tree.size

    def _grow(self, leaves: list[bytes]) -> None:
        if leaves and not self.tree.size:
            self.result.first_leaf = leaves[0]
        # In pieces that end where a root is wanted.
        while self._sizes and self._sizes[0] <= self.tree.size + len(leaves):
            size = self._sizes.pop(0)
            piece = size - self.tree.size
            self._made += tree.rows(self.tree.extend(leaves[:piece]))
            leaves = leaves[piece:]
            self.result.roots[size] = self.tree.root()
        self._made += tree.rows(self.tree.extend(leaves))

    def _kind(self, kind_bytes: bytes) -> Kind:
        kind = self._kinds[kind_bytes] = audit_event.kind_of(kind_bytes)
        return kind

    def _run(self, stream: bytes, seq: int) -> _Run:
        if len(stream) != 16:
            self.result.wrong(f"event {seq}", "its fields are not what was written (a run has 16 bytes)")
        run = self.runs[stream] = _Run(id_text(stream))
        return run

    def _look_again(self, row: Row, kind: Kind, run: _Run, before: int) -> None:
        problems = audit_event.problems(row, kind, run.run_id, before, run.version)
        self.result.erased += row[5] is None and row[6] is None
        for problem in problems:
            self.result.wrong(f"event {row[0]}", problem)

    def _take(self, row: Row, kind: Kind, run: _Run) -> None:
        """An event that moves the state, or whose content the audit needs."""
        seq, _, version, _, at, _, payload, _, _ = row
        status = run.row.status if run.row else None
        if state_after(status, kind.text) is None:
            before = status or "of a run that does not exist"
            self.result.wrong(f"event {seq}", f"{kind.text} cannot follow the state {before}")
        recorded = Recorded.stored(seq, run.run_id, version, kind.text, at, payload)
        self.replay.take(recorded)
        run.row = self.replay.states.get(run.run_id)
        event = recorded.event if kind.is_read else None
        if isinstance(event, RunSealed):
            problem = audit_event.seal_problem(event, run.leaves)
            if problem:
                self.result.wrong(f"event {seq}", f"{problem} (run {run.run_id})")
        elif isinstance(event, RunSubmitted) and event.snapshot_id:
            self.result.snapshots.add(event.snapshot_id)
        elif isinstance(event, FileRecorded):
            self.result.objects.add(event.digest)


def _stored_runs(journal: Journal) -> tuple[dict[str, tuple[Any, ...]], int]:
    # One statement, so that the table and the last event are of one moment: beside a live writer, anything
    # else reports runs that are one event ahead of what was replayed.
    rows = journal.fetch(
        f"SELECT (SELECT coalesce(max(seq), 0) FROM events), {_COLUMNS} FROM (SELECT 1) LEFT JOIN runs"  # noqa: S608
    )
    return {row[2]: row[1:] for row in rows if row[1] is not None}, rows[0][0]


def _batches(journal: Journal, last: int) -> Iterator[list[Row]]:
    after = -(2**63)
    while True:
        # The type as bytes: text that is not UTF-8 is a finding, not the end of the audit.
        rows = journal.fetch(
            "SELECT seq, stream, rseq, CAST(type AS BLOB), ts, salt, payload, pcommit, leaf FROM events"
            f" WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT {BATCH}",
            (after, last),
        )
        if not rows:
            return
        yield rows
        after = rows[-1][0]


def _compare_runs(stored: dict[str, tuple[Any, ...]], states: dict[str, RunState], result: Audit) -> None:
    for run_id in sorted(stored.keys() | states.keys()):
        before, after = stored.get(run_id), states.get(run_id)
        if before is None or after is None:
            which = "is in no event" if after is None else "is missing"
            result.wrong(f"table runs, run {run_id}", f"the row {which}; onrecord rebuild makes it again")
        elif before != after.values:
            for name, had, must in zip(RunState.COLUMNS, before, after.values, strict=True):
                if had != must:
                    result.wrong(f"table runs, run {run_id}", f"{name} is {had!r}, the events say {must!r}")


def _check_database(journal: Journal, result: Audit) -> None:
    found = {name for (name,) in journal.fetch("SELECT name FROM sqlite_master WHERE type = 'trigger'")}
    for name in sorted(TRIGGERS - found):
        result.wrong("the database file", f"the trigger {name} is missing: nothing keeps the events from being changed")
    for (problem,) in journal.fetch("PRAGMA quick_check"):
        if problem != "ok":
            result.wrong("the database file", str(problem))
