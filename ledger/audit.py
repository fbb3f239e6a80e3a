"""Is what the ledger says what was written? Every hash is computed again, and every state replayed.

The events' own hashes and the seals are computed in `audit_hashes`, beside the walk here over their order, their
states and the tree. Both are written for speed and only compare; what is wrong with an event that differs is then
said by `audit_event`.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing
from functools import cache
from operator import itemgetter
from typing import Any

import attrs

from onrecord.ledger import audit_event, merkle, problems
from onrecord.ledger.audit_event import Finding, Kind
from onrecord.ledger.audit_hashes import BATCH, HashCheck
from onrecord.ledger.events import FileRecorded, PayloadErased, RunImported, RunSealed, RunSubmitted
from onrecord.ledger.ids import encode as id_text
from onrecord.ledger.journal import Journal
from onrecord.ledger.origin import FIRST_OWN_LEAF, erasures_told, fits_its_events, seal_fits, stored_events
from onrecord.ledger.projections import tree
from onrecord.ledger.read_models import differences
from onrecord.ledger.recorded import Recorded
from onrecord.ledger.replay import RunsReplay
from onrecord.ledger.run_state import RunState
from onrecord.ledger.schema import TRIGGERS
from onrecord.ledger.states import OF_NO_RUN, state_after

_SCHEMA = "SELECT name, type, tbl_name, sql FROM sqlite_master"
_COLUMNS = ", ".join(RunState.COLUMNS)
# seq, stream, rseq, type, ts, payload, leaf: as they are in the table, whatever they are.
_Row = tuple[int, bytes, int, bytes, int, bytes | None, bytes]
_SHAPE: tuple[set[type[Any]], ...] = ({int}, {bytes}, {int}, {bytes}, {int}, {bytes, type(None)}, {bytes})
_leaf_of = itemgetter(6)
# Of a file's event only the digest is needed; nothing else in such a payload can be spelled like this, because
# a quotation mark inside of a text is escaped.
_DIGEST = re.compile(rb'"digest":"([0-9a-f]{64})".*,"v":1}\Z', re.DOTALL)


@attrs.define
class Audit:
    """What an audit saw: counts, the tree's root (64 hex digits), findings, and the objects that runs refer to.

    `own_leaf` is that of the first own event (`origin`); `roots` has the root (32 bytes) at each size asked for.
    """

    events: int = 0
    runs: int = 0
    erased: int = 0
    root: str = ""
    findings: list[Finding] = attrs.field(factory=list)
    snapshots: set[str] = attrs.field(factory=set)
    objects: set[str] = attrs.field(factory=set)
    own_leaf: bytes = b""
    roots: dict[int, bytes] = attrs.field(factory=dict)

    def wrong(self, where: str, problem: str) -> None:
        """Note one finding."""
        self.findings.append(Finding(where, problem))


def audit(journal: Journal, *, sizes: Collection[int] = (), read_models: bool = True) -> Audit:
    """Read the whole ledger once and compare it with what its hashes, its order and its states must be.

    Of the moment when it is called: appends meanwhile go on and are not looked at. `sizes`: the numbers of
    events at which the root is wanted. Without `read_models` only the table of runs is compared with the events,
    not the tables that catch up. Costs memory for the hashes (32 to 70 bytes an event) and one row a run. Raises
    LedgerDamaged where SQLite cannot read on.
    """
    result = Audit()
    try:
        _audit(journal, result, sizes, read_models)
    except sqlite3.OperationalError as problem:
        raise problems.misshapen(journal.database.path, problem) from problem
    return result


def _audit(journal: Journal, result: Audit, sizes: Collection[int], read_models: bool) -> None:
    stored, last = _stored_runs(journal)
    walk = _Walk(result, sizes)
    with HashCheck(journal, journal.database.path, last) as hashes:
        for rows in _batches(journal, last):
            if not _is_shaped(rows):
                # They can be neither hashed nor replayed, and nothing behind them fits.
                _find_misshapen(journal, last, result)
                return
            walk.follow(rows)
            walk.grow(journal)
        walk.grow(journal, at_least=1)
        suspects, faults = hashes.answer()
    _look_again(journal, suspects, result)
    _check_imports(journal, walk.imports, result)
    if any(finding.problem == audit_event.MISSHAPEN for finding in result.findings):
        return
    # The order in which the ledger has them; each finding begins with its event.
    result.findings.sort(key=lambda finding: int(finding.where.removeprefix("event ")))
    result.events, result.runs, result.root = walk.tree.size, walk.count_runs(), walk.tree.root().hex()
    result.findings += walk.wrong_nodes
    result.own_leaf = next((leaf for (leaf,) in journal.fetch(FIRST_OWN_LEAF)), b"")
    erased = _erased_since(journal, last, walk.replay)
    states = walk.rows()
    for run_id in erased:
        # Of a later moment than the row that it would be compared with.
        stored.pop(run_id, None), states.pop(run_id, None)
    _compare_runs(stored, states, result)
    if _check_database(journal, faults, result) and read_models:
        result.findings += [Finding(where, problem) for where, problem in differences(journal)]


class _Run:
    """A run on the walk, with its row once it is submitted."""

    __slots__ = ("is_no_run", "row", "run_id", "version")

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.version = 0
        self.row: RunState | None = None
        # A stream of facts that belong to no run.
        self.is_no_run = False


class _Walk:
    """What is known after the events so far."""

    def __init__(self, result: Audit, sizes: Collection[int]) -> None:
        self.result = result
        self.seq = 0
        self.tree = merkle.Frontier()
        self.replay = RunsReplay()
        self.runs: dict[bytes, _Run] = {}
        self.wrong_nodes: list[Finding] = []
        self.imports: list[tuple[bytes, Recorded]] = []
        self._counted: set[bytes] = set()
        self._kinds: dict[bytes, Kind] = {}
        self._sizes = sorted(set(sizes))
        self._leaves: list[bytes] = []

    def follow(self, rows: list[_Row]) -> None:
        """Go on over the next events."""
        runs, counted, before = self.runs, self._counted, self.seq
        for seq, stream, version, kind_bytes, at, payload, _ in rows:
            run = runs.get(stream) or self._new_run(stream)
            if seq != before + 1 or version != run.version + 1:
                for problem in audit_event.order_problems(seq, version, run.run_id, before, run.version):
                    self.result.wrong(f"event {seq}", problem)
            before, run.version = seq, version
            if kind_bytes not in counted or run.row is None:
                self._take(seq, stream, run, kind_bytes, at, payload)
        self.seq = before
        self._leaves += map(_leaf_of, rows)

    def count_runs(self) -> int:
        """How many runs there are events of."""
        return sum(not run.is_no_run for run in self.runs.values())

    def rows(self) -> dict[str, RunState]:
        """The table of runs as the events make it."""
        for run in self.runs.values():
            if run.row is not None:
                run.row.head = run.version
        return self.replay.finish()

    def grow(self, journal: Journal, at_least: int = 4096) -> None:
        """Take the leaves into the tree once there are so many, and compare the nodes that are stored with it."""
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
            self.result.roots[size] = self.tree.root()
        made += tree.rows(self.tree.extend(leaves))
        self._compare_nodes(journal, before, made)

    def _compare_nodes(self, journal: Journal, before: int, made: list[tuple[int, bytes]]) -> None:
        ids = (before * 64 + 63, self.tree.size * 64 + 63)
        stored = journal.fetch("SELECT id, hash FROM tree WHERE id > ? AND id <= ?", ids)
        if not stored or stored == sorted(made):
            return
        expected = dict(made)
        for key, node in stored:
            if node != expected.get(key):
                where = f"table tree, height {key % 64} up to event {key // 64}"
                problem = "the node is not the one that the events make; onrecord rebuild makes it again"
                self.wrong_nodes.append(Finding(where, problem))

    def _new_run(self, stream: bytes) -> _Run:
        run = self.runs[stream] = _Run(id_text(stream))
        return run

    def _kind(self, kind_bytes: bytes) -> Kind:
        kind = self._kinds.get(kind_bytes)
        if kind is None:
            kind = self._kinds[kind_bytes] = audit_event.kind_of(kind_bytes)
            if kind.counts_only:
                self._counted.add(kind_bytes)
        return kind

    def _take(self, seq: int, stream: bytes, run: _Run, kind_bytes: bytes, at: int, payload: bytes | None) -> None:
        """An event that moves the state, or whose content the audit needs."""
        kind = self._kind(kind_bytes)
        status = run.row.status if run.row else None
        if state_after(status, kind.text) is None:
            before = status or "of a run that does not exist"
            self.result.wrong(f"event {seq}", f"{kind.text} cannot follow the state {before}")
        run.is_no_run = run.row is None and kind.text in OF_NO_RUN
        if kind.text == FileRecorded.type:
            digest = _DIGEST.search(payload or b"")
            if digest:
                self.result.objects.add(digest[1].decode())
                return
        recorded = Recorded.stored(seq, run.run_id, run.version, kind.text, at, payload)
        if kind.moves:
            self.replay.take(recorded)
            run.row = self.replay.states.get(run.run_id)
        if kind.text == RunImported.type:
            self.imports.append((stream, recorded))
        if kind.is_read:
            event = recorded.event
            if isinstance(event, RunSubmitted) and event.snapshot_id:
                self.result.snapshots.add(event.snapshot_id)
            elif isinstance(event, FileRecorded):
                self.result.objects.add(event.digest)


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


def _is_shaped(rows: list[_Row]) -> bool:
    kinds = [set(map(type, column)) for column in zip(*rows, strict=True)]
    return all(kind <= allowed for kind, allowed in zip(kinds, _SHAPE, strict=True))


def _find_misshapen(journal: Journal, last: int, result: Audit) -> None:
    # STRICT keeps SQL from storing other types, and not a damaged page from holding them.
    rows = journal.fetch(
        "SELECT seq FROM events WHERE seq <= ? AND ("
        "(typeof(stream), typeof(rseq), typeof(type), typeof(ts), typeof(pcommit), typeof(leaf))"
        " != ('blob', 'integer', 'text', 'integer', 'blob', 'blob')"
        " OR typeof(salt) NOT IN ('blob', 'null') OR typeof(payload) NOT IN ('blob', 'null')) ORDER BY seq",
        (last,),
    )
    for (seq,) in rows:
        result.wrong(f"event {seq}", audit_event.MISSHAPEN)


def _stored_runs(journal: Journal) -> tuple[dict[str, tuple[Any, ...]], int]:
    # One statement, so that the table and the last event are of one moment: beside a live writer, anything
    # else reports runs that are one event ahead of what was replayed.
    rows = journal.fetch(
        f"SELECT (SELECT coalesce(max(seq), 0) FROM events), {_COLUMNS} FROM (SELECT 1) LEFT JOIN runs"  # noqa: S608
    )
    return {row[2]: row[1:] for row in rows if row[1] is not None}, rows[0][0]


def _batches(journal: Journal, last: int) -> Iterator[list[_Row]]:
    after = -(2**63)
    while True:
        # The type as bytes: text that is not UTF-8 is a finding, not the end of the audit.
        rows = journal.fetch(
            "SELECT seq, stream, rseq, CAST(type AS BLOB), ts, payload, leaf FROM events"
            " WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?",
            (after, last, BATCH),
        )
        if not rows:
            return
        yield rows
        after = rows[-1][0]


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
