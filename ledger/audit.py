"""Is what the ledger says what was written? Every hash is computed again, and every state replayed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import attrs

from onrecord.ledger import merkle
from onrecord.ledger.codec import decode
from onrecord.ledger.events import FileRecorded, RunSealed, RunSubmitted
from onrecord.ledger.ids import encode as id_text
from onrecord.ledger.journal import Journal
from onrecord.ledger.projections import HOT
from onrecord.ledger.recorded import Recorded
from onrecord.ledger.states import state_after

_HOT_COLUMNS = (
    "run_id, head, experiment, number, name, status, created_at, started_at, ended_at, exit_code, signal, error,"
    " snapshot_id, sealed"
)


@attrs.frozen
class Finding:
    """One thing that is wrong: `where` (event 12, run 01k…, table runs) and `problem`."""

    where: str
    problem: str


@attrs.define
class Audit:
    """What an audit saw: counts, the tree's root (64 hex digits), findings, and the objects that runs refer to."""

    events: int = 0
    runs: int = 0
    erased: int = 0
    root: str = ""
    findings: list[Finding] = attrs.field(factory=list)
    snapshots: set[str] = attrs.field(factory=set)
    objects: set[str] = attrs.field(factory=set)

    def wrong(self, where: str, problem: str) -> None:
        """Note one finding."""
        self.findings.append(Finding(where, problem))


def audit(journal: Journal) -> Audit:
    """Read the whole ledger once and compare it with what its hashes, its order and its states must be."""
    result = Audit()
    replay = sqlite3.connect(":memory:", isolation_level=None)
    replay.executescript(HOT.SCHEMA)
    tree = merkle.Frontier()
    runs: dict[bytes, _Run] = {}
    for row in _raw_events(journal):
        _check_event(row, tree, runs, replay, result)
    result.events, result.runs, result.root = tree.size, len(runs), tree.root().hex()
    _compare_runs(journal, replay, result)
    replay.close()
    for (problem,) in journal.fetch("PRAGMA quick_check"):
        if problem != "ok":
            result.wrong("the database file", str(problem))
    return result


@attrs.define
class _Run:
    status: str | None = None
    leaves: list[bytes] = attrs.field(factory=list)


_Row = tuple[int, bytes, int, str, int, bytes | None, bytes | None, bytes, bytes]


def _raw_events(journal: Journal) -> Iterator[_Row]:
    after = 0
    while True:
        rows = journal.fetch(
            "SELECT seq, stream, rseq, type, ts, salt, payload, pcommit, leaf FROM events WHERE seq > ?"
            " ORDER BY seq LIMIT 2000",
            (after,),
        )
        yield from rows
        if not rows:
            return
        after = rows[-1][0]


def _check_event(
    row: _Row, tree: merkle.Frontier, runs: dict[bytes, _Run], replay: sqlite3.Connection, result: Audit
) -> None:
    seq, stream, version, kind, at, salt, payload, commitment, leaf = row
    where = f"event {seq}"
    if seq != tree.size + 1:
        result.wrong(where, f"events are missing: the one before it has seq {tree.size}")
    if (payload is None) != (salt is None):
        result.wrong(where, "its payload and its salt were not erased together")
    elif payload is None:
        result.erased += 1
    elif salt is not None and merkle.payload_commitment(salt, payload) != commitment:
        result.wrong(where, "its payload is not what was written (the commitment differs)")
    if merkle.leaf_hash(seq, stream, version, at, kind, commitment) != leaf:
        result.wrong(where, "its fields are not what was written (the leaf differs)")
    tree.add(leaf)
    run = runs.setdefault(stream, _Run())
    if version != len(run.leaves) + 1:
        result.wrong(where, f"its run {id_text(stream)} has {len(run.leaves)} events before it, not {version - 1}")
    after = state_after(run.status, kind)
    if after is None:
        result.wrong(where, f"{kind} cannot follow the state {run.status or 'of a run that does not exist'}")
    recorded = Recorded(seq, id_text(stream), version, kind, at, decode(kind, payload))
    _check_meaning(recorded, run, where, result)
    run.leaves.append(leaf)
    run.status = after or run.status
    try:
        HOT.apply(replay, recorded)
    except (sqlite3.Error, TypeError):
        result.wrong(where, "it cannot be replayed")


def _check_meaning(recorded: Recorded, run: _Run, where: str, result: Audit) -> None:
    event = recorded.event
    if isinstance(event, RunSealed):
        root = merkle.root_of(run.leaves[: event.count]).hex()
        if event.count != len(run.leaves) or event.root != root:
            result.wrong(where, f"the seal of run {recorded.run_id} does not fit its events")
    elif isinstance(event, RunSubmitted) and event.snapshot_id:
        result.snapshots.add(event.snapshot_id)
    elif isinstance(event, FileRecorded):
        result.objects.add(event.digest)


def _compare_runs(journal: Journal, replay: sqlite3.Connection, result: Audit) -> None:
    select = f"SELECT {_HOT_COLUMNS} FROM runs ORDER BY run_id"  # noqa: S608
    stored = {row[0]: row for row in journal.fetch(select)}
    replayed = {row[0]: row for row in replay.execute(select)}
    names = [name.strip() for name in _HOT_COLUMNS.split(",")]
    for run_id in sorted(stored.keys() | replayed.keys()):
        before, after = stored.get(run_id), replayed.get(run_id)
        if before is None or after is None:
            which = "is in no event" if after is None else "is missing"
            result.wrong(f"table runs, run {run_id}", f"the row {which}; onrecord rebuild makes it again")
            continue
        for name, had, must in zip(names, before, after, strict=True):
            if had != must:
                result.wrong(f"table runs, run {run_id}", f"{name} is {had!r}, the events say {must!r}")
