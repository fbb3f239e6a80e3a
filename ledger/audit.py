"""Is what the ledger says what was written? Every hash is computed again, and every state replayed.

The hashes, the seals, the tree and the order are checked in pieces (`audit_pieces`) by all processors, beside the
walk over the states (`audit_walk`). Both are written for speed and only compare; what is wrong with an event that
differs is then said by `audit_event`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection
from contextlib import closing
from functools import cache
from typing import Any

import attrs

from onrecord.ledger import audit_event, problems
from onrecord.ledger.audit_event import Finding
from onrecord.ledger.audit_processes import Checks
from onrecord.ledger.audit_walk import Walk
from onrecord.ledger.events import PayloadErased, RunSealed
from onrecord.ledger.ids import encode as id_text
from onrecord.ledger.journal import Journal
from onrecord.ledger.origin import FIRST_OWN_LEAF, erasures_told, fits_its_events, seal_fits, stored_events
from onrecord.ledger.read_models import differences
from onrecord.ledger.recorded import Recorded
from onrecord.ledger.references import References
from onrecord.ledger.replay import RunsReplay, without_collector
from onrecord.ledger.run_state import RunState
from onrecord.ledger.schema import TRIGGERS

_SCHEMA = "SELECT name, type, tbl_name, sql FROM sqlite_master"
_COLUMNS = ", ".join(RunState.COLUMNS)


@attrs.define
class Audit:
    """What an audit saw: counts, the tree's root (64 hex digits), findings, and the objects that runs name.

    `own_leaf` is that of the first own event (`origin`); `roots` has the root (32 bytes) at each size asked for.
    """

    events: int = 0
    runs: int = 0
    erased: int = 0
    root: str = ""
    findings: list[Finding] = attrs.field(factory=list)
    named: References = attrs.field(factory=References)
    own_leaf: bytes = b""
    roots: dict[int, bytes] = attrs.field(factory=dict)

    def wrong(self, where: str, problem: str) -> None:
        """Note one finding."""
        self.findings.append(Finding(where, problem))


def audit(journal: Journal, *, sizes: Collection[int] = (), read_models: bool = True) -> Audit:
    """Read the whole ledger once and compare it with what its hashes, its order and its states must be.

    Of the moment when it is called: appends meanwhile go on and are not looked at. `sizes`: the numbers of
    events at which the root is wanted. Without `read_models` only the table of runs is compared with the events,
    not the tables that catch up. Costs memory for one row a run. What is wrong is read once more, to say what it is.
    Raises LedgerDamaged where SQLite cannot read on.
    """
    result = Audit()
    try:
        _audit(journal, result, sizes, read_models)
    except sqlite3.OperationalError as problem:
        raise problems.misshapen(journal.database.path, problem) from problem
    return result


def _audit(journal: Journal, result: Audit, sizes: Collection[int], read_models: bool) -> None:
    stored, last = _stored_runs(journal)
    walk = Walk(journal, last)
    with Checks(journal, journal.database.path, last) as checks:
        whole = walk.is_whole()
        checks.begin(whole)
        with without_collector():
            smooth = whole and walk.skim()
            answer = checks.answer()
    misshapen = _misshapen(journal, answer.suspects)
    if not misshapen:
        _look_again(journal, answer.suspects, result)
    if smooth and answer.orderly and not misshapen and not result.findings:
        wrong_nodes, result.events = answer.wrong_nodes, last
        result.roots = {size: answer.tree.root(size) for size in sizes if size <= last}
        result.root = answer.tree.root(last).hex()
    else:
        walk = Walk(journal, last)
        if not walk.over_all(sizes) or misshapen:
            # They can be neither hashed nor replayed, and nothing behind them fits.
            result.findings = [*walk.findings, *misshapen]
            return
        wrong_nodes, result.events = walk.wrong_nodes, walk.tree.size
        result.roots, result.root = walk.roots, walk.tree.root().hex()
    _check_imports(journal, walk.imports, result)
    # The order in which the ledger has them; each finding begins with its event.
    result.findings = sorted([*walk.findings, *result.findings], key=_number_of)
    result.findings += map(_wrong_node, wrong_nodes)
    result.runs, result.named = walk.count_runs(), walk.named
    result.own_leaf = next((leaf for (leaf,) in journal.fetch(FIRST_OWN_LEAF)), b"")
    erased = _erased_since(journal, last, walk.replay)
    states = walk.rows()
    for run_id in erased:
        # Of a later moment than the row that it would be compared with.
        stored.pop(run_id, None), states.pop(run_id, None)
    _compare_runs(stored, states, result)
    if _check_database(journal, answer.faults, result) and read_models:
        result.findings += [Finding(where, problem) for where, problem in differences(journal)]


def _number_of(finding: Finding) -> int:
    return int(finding.where.removeprefix("event "))


def _wrong_node(key: int) -> Finding:
    where = f"table tree, height {key % 64} up to event {key // 64}"
    return Finding(where, "the node is not the one that the events make; onrecord rebuild makes it again")


def _look_again(journal: Journal, suspects: list[int], result: Audit) -> None:
    """Say what is wrong with the events that are suspected; count those that were erased."""
    erased: dict[bytes, dict[int, int]] = {}
    for seq in suspects:
        row = journal.fetch(
            "SELECT seq, stream, rseq, CAST(type AS BLOB), ts, salt, payload, pcommit, leaf FROM events WHERE seq = ?",
            (seq,),
        )[0]
        stream, version, kind, payload = row[1], row[2], row[3].decode("utf-8", "replace"), row[6]
        if row[5] is None and payload is None:
            erased.setdefault(stream, {})[version] = seq
        problems = audit_event.hash_problems(row)
        run_id = id_text(stream)
        recorded = Recorded.stored(seq, run_id, version, kind, row[4], payload)
        if isinstance(recorded.event, RunSealed) and not seal_fits(recorded, stream, stored_events(journal, run_id)):
            problems.append(f"the seal does not fit the events of its run {run_id}")
        for problem in problems:
            result.wrong(f"event {seq}", problem)
    for stream, versions in erased.items():
        result.erased += len(versions)
        told = erasures_told(stored_events(journal, id_text(stream)))
        for version in versions.keys() - told:
            problem = "its payload is gone, and no event of its run says that it was erased"
            result.wrong(f"event {versions[version]}", problem)


def _check_imports(journal: Journal, imports: list[tuple[bytes, Recorded]], result: Audit) -> None:
    for stream, imported in imports:
        if not fits_its_events(imported, stream, stored_events(journal, imported.run_id)):
            result.wrong(f"event {imported.seq}", "its events are not those that the run was imported with")


def _erased_since(journal: Journal, last: int, replay: RunsReplay) -> set[str]:
    # Erasing goes on beside an audit, and takes payloads away that it has not read yet.
    rows = journal.fetch(
        "SELECT seq, stream, rseq, type, ts, payload FROM events WHERE seq > ? AND type = ? AND length(stream) = 16",
        (last, PayloadErased.type),
    )
    for seq, stream, version, kind, at, payload in rows:
        replay.note(Recorded.stored(seq, id_text(stream), version, kind, at, payload))
    return {id_text(row[1]) for row in rows}


def _misshapen(journal: Journal, suspects: list[int]) -> list[Finding]:
    # STRICT keeps SQL from storing other types, and not a damaged page from holding them.
    rows = journal.fetch(
        "SELECT seq FROM events WHERE seq IN (SELECT value FROM json_each(?)) AND ("
        "(typeof(stream), typeof(rseq), typeof(type), typeof(ts), typeof(pcommit), typeof(leaf))"
        " != ('blob', 'integer', 'text', 'integer', 'blob', 'blob')"
        " OR typeof(salt) NOT IN ('blob', 'null') OR typeof(payload) NOT IN ('blob', 'null')) ORDER BY seq",
        (json.dumps(suspects),),
    )
    return [Finding(f"event {seq}", audit_event.MISSHAPEN) for (seq,) in rows]


def _stored_runs(journal: Journal) -> tuple[dict[str, tuple[Any, ...]], int]:
    # One statement, so that the table and the last event are of one moment: beside a live writer, anything
    # else reports runs that are one event ahead of what was replayed.
    rows = journal.fetch(
        f"SELECT (SELECT coalesce(max(seq), 0) FROM events), {_COLUMNS} FROM (SELECT 1) LEFT JOIN runs"  # noqa: S608
    )
    return {row[2]: row[1:] for row in rows if row[1] is not None}, rows[0][0]


def _compare_runs(stored: dict[str, tuple[Any, ...]], states: dict[str, RunState], result: Audit) -> None:
    for run_id in sorted(stored.keys() | states.keys(), key=str):
        before, after = stored.get(run_id), states.get(run_id)
        if before is None or after is None:
            which = "is in no event" if after is None else "is missing"
            result.wrong(f"table runs, run {run_id}", f"the row {which}; onrecord rebuild makes it again")
        elif before != after.values:
            for name, had, must in zip(RunState.COLUMNS, before, after.values, strict=True):
                if had != must:
                    result.wrong(f"table runs, run {run_id}", f"{name} is {had!r}, the events say {must!r}")


def _check_database(journal: Journal, faults: list[str], result: Audit) -> bool:
    """Whether the tables are as onrecord made them, so that they can be compared row by row."""
    found = {row[0]: row for row in journal.fetch(_SCHEMA)}
    for name in sorted(TRIGGERS - found.keys()):
        result.wrong("the database file", f"the trigger {name} is missing: nothing keeps the events from being changed")
    others = []
    if journal.database.newer is None:
        made = _schema_as_made().items()
        others = [name for name, row in made if found.get(name) != row and (name in found or name not in TRIGGERS)]
    for name in others:
        result.wrong("the database file", f"{name} is not as onrecord made it")
    for name, row in found.items():
        if row[1] == "trigger" and name not in _schema_as_made():
            result.wrong("the database file", f"the trigger {name} is not onrecord's: it may change what is recorded")
    for fault in faults:
        result.wrong("the database file", fault)
    return not others and not faults


@cache
def _schema_as_made() -> dict[str, tuple[str | None, ...]]:
    from onrecord.ledger.migrations import migrate

    with closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
        migrate(fresh)
        return {row[0]: row for row in fresh.execute(_SCHEMA)}
