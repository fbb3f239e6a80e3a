"""Is what the ledger says what was written? Every hash is computed again, and every state replayed."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from typing import Any

import attrs

from onrecord.ledger import merkle, problems
from onrecord.ledger.events import FileRecorded, PayloadErased, RunImported, RunSealed, RunSubmitted
from onrecord.ledger.ids import encode as id_text
from onrecord.ledger.journal import Journal
from onrecord.ledger.origin import fits_its_events, seal_fits, stored_events
from onrecord.ledger.recorded import Recorded
from onrecord.ledger.replay import RunsReplay
from onrecord.ledger.run_state import RunState
from onrecord.ledger.schema import TRIGGERS
from onrecord.ledger.states import state_after

_SCHEMA = "SELECT name, type, tbl_name, sql FROM sqlite_master"
_COLUMNS = ", ".join(RunState.COLUMNS)


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
    """Read the whole ledger once and compare it with what its hashes, its order and its states must be.

    Of the moment when it is called: appends meanwhile go on and are not looked at. Costs memory for the
    hashes (32 bytes an event) and one row a run. Raises LedgerDamaged where SQLite cannot read on.
    """
    result = Audit()
    try:
        _audit(journal, result)
    except sqlite3.OperationalError as problem:
        raise problems.misshapen(journal.database.path, problem) from problem
    return result


def _audit(journal: Journal, result: Audit) -> None:
    stored, last = _stored_runs(journal)
    if _find_misshapen(journal, last, result):
        return  # They can be neither hashed nor replayed, and nothing behind them fits.
    state = _State()
    for row in _raw_events(journal, last):
        _check_event(row, state, result)
    result.events, result.runs, result.root = state.tree.size, len(state.runs), state.tree.root().hex()
    _check_seals(journal, state, result)
    erased = _erased_since(journal, last, state)
    states = state.replay.finish()
    for run_id in erased:
        # Of a later moment than the row that it would be compared with.
        stored.pop(run_id, None), states.pop(run_id, None)
    _compare_runs(stored, states, result)
    _check_database(journal, result)


@attrs.define
class _Run:
    status: str | None = None
    version: int = 0
    leaves: list[bytes] = attrs.field(factory=list)
    # Seals that are not over the leaves of this ledger: those of another one, or wrong.
    odd_seals: list[Recorded] = attrs.field(factory=list)
    imports: list[Recorded] = attrs.field(factory=list)


@attrs.define
class _State:
    replay: RunsReplay = attrs.field(factory=RunsReplay)
    seq: int = 0
    tree: merkle.Frontier = attrs.field(factory=merkle.Frontier)
    runs: dict[bytes, _Run] = attrs.field(factory=dict)


_Row = tuple[int, bytes, int, bytes, int, bytes | None, bytes | None, bytes, bytes]


def _find_misshapen(journal: Journal, last: int, result: Audit) -> bool:
    # STRICT keeps SQL from storing other types, and not a damaged page from holding them.
    rows = journal.fetch(
        "SELECT seq FROM events WHERE seq <= ? AND ("
        "(typeof(stream), typeof(rseq), typeof(type), typeof(ts), typeof(pcommit), typeof(leaf))"
        " != ('blob', 'integer', 'text', 'integer', 'blob', 'blob')"
        " OR typeof(salt) NOT IN ('blob', 'null') OR typeof(payload) NOT IN ('blob', 'null')) ORDER BY seq",
        (last,),
    )
    for (seq,) in rows:
        result.wrong(f"event {seq}", "its fields are not of the kind that was written")
    return bool(rows)


def _stored_runs(journal: Journal) -> tuple[dict[str, tuple[Any, ...]], int]:
    # One statement, so that the table and the last event are of one moment: beside a live writer, anything
    # else reports runs that are one event ahead of what was replayed.
    rows = journal.fetch(
        f"SELECT (SELECT coalesce(max(seq), 0) FROM events), {_COLUMNS} FROM (SELECT 1) LEFT JOIN runs"  # noqa: S608
    )
    return {row[2]: row[1:] for row in rows if row[1] is not None}, rows[0][0]


def _raw_events(journal: Journal, last: int) -> Iterator[_Row]:
    after = -(2**63)
    while True:
        # The type as bytes: text that is not UTF-8 is a finding, not the end of the audit.
        rows = journal.fetch(
            "SELECT seq, stream, rseq, CAST(type AS BLOB), ts, salt, payload, pcommit, leaf FROM events"
            " WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT 500",
            (after, last),
        )
        yield from rows
        if not rows:
            return
        after = rows[-1][0]


def _check_event(row: _Row, state: _State, result: Audit) -> None:
    seq, stream, version, kind_bytes, at, _, payload, _, leaf = row
    where = f"event {seq}"
    kind = kind_bytes.decode("utf-8", "replace")
    run = state.runs.setdefault(stream, _Run())
    if seq != state.seq + 1:
        result.wrong(where, f"events are missing: the one before it has seq {state.seq}")
    if version != run.version + 1:
        result.wrong(where, f"in its run {id_text(stream)} it is event {version}, after event {run.version}")
    _check_hashes(row, kind, where, result)
    after = state_after(run.status, kind)
    if after is None:
        result.wrong(where, f"{kind} cannot follow the state {run.status or 'of a run that does not exist'}")
    recorded = Recorded.stored(seq, id_text(stream), version, kind, at, payload)
    _check_meaning(recorded, run, where, result)
    state.tree.add(leaf)
    run.leaves.append(leaf)
    state.seq, run.version, run.status = seq, version, after or run.status
    state.replay.take(recorded)


def _check_hashes(row: _Row, kind: str, where: str, result: Audit) -> None:
    seq, stream, version, kind_bytes, at, salt, payload, commitment, leaf = row
    if (payload is None) != (salt is None):
        result.wrong(where, "its payload and its salt were not erased together")
    elif payload is None:
        result.erased += 1
    elif salt is not None and merkle.payload_commitment(salt, payload) != commitment:
        result.wrong(where, "its payload is not what was written (the commitment differs)")
    try:
        same = len(stream) == 16 and kind.encode() == kind_bytes
        same = same and merkle.leaf_hash(seq, stream, version, at, kind, commitment) == leaf
    except struct.error:
        same = False
    if not same:
        result.wrong(where, "its fields are not what was written (the leaf differs)")


def _check_meaning(recorded: Recorded, run: _Run, where: str, result: Audit) -> None:
    event = recorded.event
    if isinstance(event, RunSealed):
        root = merkle.root_of(run.leaves[: event.count]).hex()
        if event.count != len(run.leaves) or event.root != root:
            run.odd_seals.append(recorded)
    elif isinstance(event, RunImported):
        run.imports.append(recorded)
    elif isinstance(event, RunSubmitted) and event.snapshot_id:
        result.snapshots.add(event.snapshot_id)
    elif isinstance(event, FileRecorded):
        result.objects.add(event.digest)


def _check_seals(journal: Journal, state: _State, result: Audit) -> None:
    """Seals of runs that were imported are over the leaves that their events had where the seal was made."""
    for stream, run in state.runs.items():
        if not (run.odd_seals or run.imports):
            continue
        events = stored_events(journal, id_text(stream))
        for imported in run.imports:
            if not fits_its_events(imported, stream, events):
                result.wrong(f"event {imported.seq}", "its events are not those that the run was imported with")
        for seal in run.odd_seals:
            if not seal_fits(seal, stream, events):
                result.wrong(f"event {seal.seq}", f"the seal of run {seal.run_id} does not fit its events")


def _erased_since(journal: Journal, last: int, state: _State) -> set[str]:
    # Erasing goes on beside an audit, and takes payloads away that it has not read yet.
    rows = journal.fetch(
        "SELECT seq, stream, rseq, type, ts, payload FROM events WHERE seq > ? AND type = ?",
        (last, PayloadErased.type),
    )
    for seq, stream, version, kind, at, payload in rows:
        state.replay.note(Recorded.stored(seq, id_text(stream), version, kind, at, payload))
    return {id_text(row[1]) for row in rows}


def _compare_runs(stored: dict[str, tuple[Any, ...]], states: dict[str, RunState], result: Audit) -> None:
    replayed = {run_id: state.values for run_id, state in states.items()}
    for run_id in sorted(stored.keys() | replayed.keys(), key=str):
        before, after = stored.get(run_id), replayed.get(run_id)
        if before is None or after is None:
            which = "is in no event" if after is None else "is missing"
            result.wrong(f"table runs, run {run_id}", f"the row {which}; onrecord rebuild makes it again")
            continue
        for name, had, must in zip(RunState.COLUMNS, before, after, strict=True):
            if had != must:
                result.wrong(f"table runs, run {run_id}", f"{name} is {had!r}, the events say {must!r}")


def _check_database(journal: Journal, result: Audit) -> None:
    found = {row[0]: row for row in journal.fetch(_SCHEMA)}
    for name in sorted(TRIGGERS - found.keys()):
        result.wrong("the database file", f"the trigger {name} is missing: nothing keeps the events from being changed")
    if journal.database.newer is None:
        for name, row in _schema_as_made().items():
            if found.get(name) != row and (name in found or name not in TRIGGERS):
                result.wrong("the database file", f"{name} is not as onrecord made it")
    # Not quick_check: an index that has lost an entry hides an event from whoever reads its run.
    for (problem,) in journal.fetch("PRAGMA integrity_check"):
        if problem != "ok":
            result.wrong("the database file", str(problem))


@cache
def _schema_as_made() -> dict[str, tuple[str | None, ...]]:
    from onrecord.ledger.migrations import migrate

    with closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
        migrate(fresh)
        return {row[0]: row for row in fresh.execute(_SCHEMA)}
