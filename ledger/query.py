"""Questions about runs: the only reader of the projections."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from onrecord.ledger.errors import AmbiguousRun, UnknownRun
from onrecord.ledger.ids import LENGTH, clean_prefix
from onrecord.ledger.journal import Journal
from onrecord.ledger.states import ERASED, TERMINAL

if TYPE_CHECKING:
    from onrecord.ledger.events import RunMetrics, Series

# Rows are named tuples, not attrs classes: a list of runs then imports no attrs, 15 to 20 ms of its time.
_COLUMNS = (
    "run_id, head, experiment, number, name, run_type, parent, status, created_at, started_at, ended_at,"
    " exit_code, signal, error, snapshot_id, sealed"
)


class RunRow(NamedTuple):
    """A run as the ledger knows it. Times in microseconds since the epoch, UTC; `head` is its events."""

    run_id: str
    head: int
    experiment: str
    number: int
    name: str
    run_type: str
    parent: str | None
    status: str
    created_at: int
    started_at: int | None
    ended_at: int | None
    exit_code: int | None
    signal: int | None
    error: dict[str, str] | None
    snapshot_id: str | None
    sealed: int

    @property
    def ended(self) -> bool:
        """Whether the run has come to its end."""
        return self.status in TERMINAL

    @property
    def display_name(self) -> str:
        """The name given at submit, or the experiment's name with the run's number."""
        if not self.experiment and self.erased:
            return "(erased)"
        return self.name or f"{self.experiment}_{self.number}"

    @property
    def erased(self) -> bool:
        """Whether what its events said was erased."""
        return self.run_type == ERASED

    @property
    def duration_seconds(self) -> float | None:
        """From the script's start to its end; None while either is not known."""
        if self.started_at is None or self.ended_at is None:
            return None
        return round((self.ended_at - self.started_at) / 1_000_000, 6)


class FileRow(NamedTuple):
    """One version of a file of a run. `size` in bytes, `digest` 64 hex digits."""

    name: str
    version: int
    digest: str
    size: int
    recorded_at: int


class Query:
    """Typed answers from one ledger."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def run(self, run_id: str) -> RunRow:
        """The run with this full id. Raises UnknownRun."""
        rows = self._journal.fetch(f"SELECT {_COLUMNS} FROM runs WHERE run_id = ?", (run_id,))  # noqa: S608
        if not rows:
            raise _unknown(run_id)
        return _row(rows[0])

    def find(self, text: str) -> str:
        """The full id behind a unique start of one, or `@last`. Raises UnknownRun, AmbiguousRun, BadRunId."""
        if text == "@last":
            return self._last()
        prefix = clean_prefix(text)
        rows = self._journal.fetch(
            "SELECT run_id FROM runs WHERE run_id BETWEEN ? AND ? ORDER BY seq DESC LIMIT 11",
            (prefix, prefix + "z" * (LENGTH - len(prefix))),
        )
        if not rows:
            raise _unknown(text)
        found = [str(row[0]) for row in rows]
        if len(found) > 1:
            raise AmbiguousRun(
                f"'{text}' is the start of {'more than 10' if len(found) > 10 else len(found)} runs",
                why="they are " + ", ".join(found[:10]),
                next_step="write more of the id",
                prefix=text,
                candidates=found[:10],
            )
        return found[0]

    def runs(
        self,
        *,
        experiment: str | None = None,
        status: str | None = None,
        tags: Mapping[str, str | None] | None = None,
        limit: int = -1,
    ) -> list[RunRow]:
        """Runs, newest first. A tag with the value None asks only that the tag is there; all must hold."""
        conditions, values = ["1"], list[Any]()
        if experiment is not None:
            conditions.append("experiment = ?")
            values.append(experiment)
        if status is not None:
            conditions.append("status = ?")
            values.append(status)
        for name, value in (tags or {}).items():
            conditions.append(
                "EXISTS (SELECT 1 FROM tags WHERE tags.run_id = runs.run_id AND tags.name = ?"
                " AND value = ifnull(?, value))"
            )
            values += [name, value]
        if tags:
            self._journal.catch_up()
        where = " AND ".join(conditions)
        rows = self._journal.fetch(
            f"SELECT {_COLUMNS} FROM runs WHERE {where} ORDER BY seq DESC LIMIT ?",  # noqa: S608
            (*values, limit),
        )
        return [_row(row) for row in rows]

    def experiments(self) -> list[str]:
        """Names of the experiments that have runs, sorted."""
        return [str(row[0]) for row in self._journal.fetch("SELECT DISTINCT experiment FROM runs ORDER BY 1")]

    def unfinished(self) -> list[RunRow]:
        """Runs that have not ended, newest first."""
        rows = self._journal.fetch(
            f"SELECT {_COLUMNS} FROM runs WHERE status NOT IN ('Completed', 'Failed', 'Canceled')"  # noqa: S608
            " ORDER BY seq DESC"
        )
        return [_row(row) for row in rows]

    def tags(self, run_id: str | None = None) -> dict[str, dict[str, str]]:
        """Tags by run: of one run, or of every run that has any."""
        return self._attributes("tags", run_id)

    def properties(self, run_id: str | None = None) -> dict[str, dict[str, str]]:
        """Properties by run: of one run, or of every run that has any."""
        return self._attributes("properties", run_id)

    def files(self, run_id: str) -> list[FileRow]:
        """The newest version of each file of a run, by name."""
        return [row for row, newest in self._files(run_id) if newest]

    def file_versions(self, run_id: str, name: str) -> list[FileRow]:
        """Every version of one file, oldest first; empty when the run has no such file."""
        return [row for row, _ in self._files(run_id) if row.name == name]

    def recorded(self, run_id: str) -> set[str]:
        """The objects (64 hex digits) of every file that a run has had."""
        return {row.digest for row, _ in self._files(run_id)}

    def recorded_elsewhere(self, digests: Iterable[str], without: Iterable[str] = ()) -> set[str]:
        """Those of some objects (64 hex digits) that are files of runs other than `without`."""
        self._journal.catch_up()
        rows = self._journal.fetch(
            "SELECT DISTINCT digest FROM files WHERE digest IN (SELECT value FROM json_each(?))"
            " AND run_id NOT IN (SELECT value FROM json_each(?))",
            (json.dumps(list(digests)), json.dumps(list(without))),
        )
        return {str(row[0]) for row in rows}

    def snapshots_elsewhere(self, without: Iterable[str] = ()) -> set[str]:
        """The snapshots of all runs other than `without`."""
        rows = self._journal.fetch(
            "SELECT DISTINCT snapshot_id FROM runs WHERE snapshot_id IS NOT NULL"
            " AND run_id NOT IN (SELECT value FROM json_each(?))",
            (json.dumps(list(without)),),
        )
        return {str(row[0]) for row in rows}

    def metrics(self, run_id: str) -> dict[str, list[Series]]:
        """Every metric's points in the order in which they were logged, in one or more pieces by metric."""
        self._journal.catch_up()
        rows = self._journal.fetch(
            "SELECT name, place, seq FROM metrics WHERE run_id = ? ORDER BY name, first", (run_id,)
        )
        chunks = self._chunks(run_id)
        found: dict[str, list[Series]] = {}
        for name, place, seq in rows:
            if seq in chunks:
                found.setdefault(name, []).append(chunks[seq].series[place])
        return found

    def _chunks(self, run_id: str) -> dict[int, RunMetrics]:
        from onrecord.ledger.codec import decode
        from onrecord.ledger.events import RunMetrics

        # Each payload once: a join would copy a chunk of 100 metrics 100 times.
        payloads = self._journal.fetch(
            "SELECT seq, payload FROM events WHERE seq IN (SELECT seq FROM metrics WHERE run_id = ?)", (run_id,)
        )
        decoded = ((seq, decode("run.metrics", payload)) for seq, payload in payloads)
        return {seq: chunk for seq, chunk in decoded if isinstance(chunk, RunMetrics)}

    def spool_position(self, run_id: str) -> int:
        """How many bytes of the run's spool are in the ledger."""
        self._journal.catch_up()
        rows = self._journal.fetch("SELECT position FROM spools WHERE run_id = ?", (run_id,))
        return int(rows[0][0]) if rows else 0

    def _last(self) -> str:
        rows = self._journal.fetch("SELECT run_id FROM runs ORDER BY seq DESC LIMIT 1")
        if not rows:
            raise UnknownRun("there is no run yet", next_step="onrecord run SCRIPT", run_id="@last")
        return str(rows[0][0])

    def _attributes(self, table: str, run_id: str | None) -> dict[str, dict[str, str]]:
        self._journal.catch_up()
        where, values = ("WHERE run_id = ?", (run_id,)) if run_id else ("", ())
        found: dict[str, dict[str, str]] = {run_id: {}} if run_id else {}
        rows = self._journal.fetch(
            f"SELECT run_id, name, value FROM {table} {where} ORDER BY run_id, name",  # noqa: S608
            values,
        )
        for run, name, value in rows:
            found.setdefault(run, {})[name] = value
        return found

    def _files(self, run_id: str) -> list[tuple[FileRow, bool]]:
        self._journal.catch_up()
        rows = self._journal.fetch(
            "SELECT name, version, digest, size, recorded_at, version = max(version) OVER (PARTITION BY name)"
            " FROM files WHERE run_id = ? ORDER BY name, version",
            (run_id,),
        )
        return [(FileRow(*row[:5]), bool(row[5])) for row in rows]


def _row(row: tuple[Any, ...]) -> RunRow:
    values = list(row)
    values[13] = json.loads(values[13]) if values[13] else None
    return RunRow(*values)


def _unknown(text: str) -> UnknownRun:
    return UnknownRun(f"no run's id starts with '{text}'", next_step="onrecord ls", run_id=text)
