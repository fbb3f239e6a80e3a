"""Questions about runs: the only reader of the projections."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from onrecord.ledger.archived import ARCHIVED
from onrecord.ledger.errors import AmbiguousRun, BadFilter, UnknownRun
from onrecord.ledger.ids import LENGTH, clean_prefix
from onrecord.ledger.ids import decode as id_bytes
from onrecord.ledger.journal import Journal
from onrecord.ledger.run_rows import Facts as Facts
from onrecord.ledger.run_rows import FileRow as FileRow
from onrecord.ledger.run_rows import NoteRow as NoteRow
from onrecord.ledger.run_rows import Page as Page
from onrecord.ledger.run_rows import RunRow as RunRow
from onrecord.ledger.text import storable

if TYPE_CHECKING:
    from onrecord.ledger.buckets import Bucket
    from onrecord.ledger.events import Series
    from onrecord.ledger.filter_sql import Compiler
    from onrecord.ledger.filter_tree import Field, Filter
    from onrecord.ledger.resources import ResourceRow
    from onrecord.ledger.series import Standing

# The version of `run.submitted` that `config` understands, as events.py has it.
SUBMITTED_VERSION = 1


# In the order of the fields of `Facts`.
_FACTS = (("tags", "value"), ("properties", "value"), ("params", "value"), ("metrics", "last"))
_COLUMNS = ", ".join(RunRow._fields)
_ERROR = RunRow._fields.index("error")


class Query:
    """Typed answers from one ledger."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._past: tuple[int, Query] | None = None
        self._counted: tuple[int, int] | None = None

    def at(self, as_of: int | str) -> Query:
        """The same questions to the ledger as it was: after its event `as_of` (a seq), or at a time.

        Times are written as in filters: `2026-01-31`, `2026-01-31T12:00Z`, `7d ago`; a day is meant to its end.
        The first question replays the events up to there in memory, a second or two for 100,000; the last such
        ledger is kept. Raises BadFilter for text that is neither.
        """
        from onrecord.ledger.past import PastJournal, seq_of

        seq = seq_of(self._journal, as_of)
        if self._past is None or self._past[0] != seq:
            self._past = (seq, Query(PastJournal(self._journal.database.path, seq)))
        return self._past[1]

    def search(
        self,
        wanted: str | Filter = "",
        *,
        after: str | None = None,
        limit: int | None = None,
        as_of: int | str | None = None,
    ) -> Page:
        """The runs that a filter asks for, in its order or newest first; at most `limit` of them, or 50.

        `after` is the `next` of the page before: pages stay in step while new runs arrive. A `limit` in the
        filter's text is the size of its pages. Raises BadFilter, BadCursor, UnknownRun, AmbiguousRun.
        """
        if as_of is not None:
            return self.at(as_of).search(wanted, after=after, limit=limit)
        from onrecord.ledger.search import Search

        if limit is not None and limit < 1:
            raise BadFilter("a page has room for one run at least", next_step="limit=50", filter=wanted, position=0)
        found = self.parsed(wanted)
        search = Search(found, self._compiler(), self._journal.fetch, RunRow._fields, self._about_how_many)
        rows, following = search.page(after, limit or found.limit or 50)
        return Page([_row(row) for row in rows], following)

    def facts(self, run_ids: Sequence[str]) -> dict[str, Facts]:
        """Tags, properties, parameters and metrics of these runs, in five statements however many they are."""
        self._journal.catch_up()
        known = self._journal.fetch(
            "SELECT r.run_id, r.seq FROM json_each(?) AS asked CROSS JOIN runs AS r ON r.run_id = asked.value",
            (json.dumps(list(run_ids)),),
        )
        facts = {run: Facts({}, {}, {}, {}) for _, run in known}
        asked = json.dumps(list(facts))
        for place, (table, column) in enumerate(_FACTS):
            of_run = {run: found[place] for run, found in facts.items()}
            rows = self._journal.fetch(
                f"SELECT e.run, e.name, e.{column} FROM json_each(?) AS asked"  # noqa: S608
                f" CROSS JOIN run_{table} AS e ON e.run = asked.value",
                (asked,),
            )
            for run, name, value in rows:
                of_run[run][name] = value
        found = {run_id: facts[run] for run_id, run in known}
        return {run_id: found.get(run_id) or Facts({}, {}, {}, {}) for run_id in run_ids}

    def values(self, run_ids: Sequence[str], fields: Sequence[Field]) -> dict[str, tuple[str | float | None, ...]]:
        """The value of each field of these runs, None where a run has none."""
        compiler = self._compiler()
        columns = [compiler.value(field) for field in fields]
        selected = ", ".join(["r.run_id", *(column.text for column in columns)])
        values = [value for column in columns for value in column.values]
        rows = self._journal.fetch(
            f"SELECT {selected} FROM json_each(?) AS asked"  # noqa: S608 - see filter_sql
            " CROSS JOIN runs AS r ON r.run_id = asked.value",
            (*values, json.dumps(list(run_ids))),
        )
        return {row[0]: tuple(row[1:]) for row in rows}

    def parsed(self, wanted: str | Filter) -> Filter:
        """The filter that a text says now. Raises BadFilter."""
        if not isinstance(wanted, str):
            return wanted
        from onrecord.ledger.filter_parser import parse
        from onrecord.ledger.journal import microseconds_now

        return parse(wanted, microseconds_now())

    def _compiler(self) -> Compiler:
        from onrecord.ledger.filter_sql import Compiler

        self._journal.catch_up()
        return Compiler(self.find, self._has_full_text)

    def _about_how_many(self) -> int:
        # Counting 100,000 runs takes longer than finding some, so it is done again when a tenth has been added.
        size = self._journal.size()
        if self._counted is None or size > self._counted[0] * 1.1:
            self._counted = (size, int(self._journal.fetch("SELECT count(*) FROM runs")[0][0]))
        return self._counted[1]

    def _has_full_text(self) -> bool:
        rows = self._journal.fetch(
            "SELECT type FROM pragma_table_list WHERE name = 'search' ORDER BY schema DESC LIMIT 1"
        )
        return bool(rows[0][0] == "virtual")

    def run(self, run_id: str) -> RunRow:
        """The run with this full id. Raises UnknownRun."""
        rows = self._journal.fetch(f"SELECT {_COLUMNS} FROM runs WHERE run_id = ?", (run_id,))  # noqa: S608
        if not rows:
            raise _unknown(run_id)
        return _row(rows[0])

    def config(self, run_id: str) -> dict[str, Any]:
        """What the run was submitted with; empty where that cannot be read. Loads no class of events."""
        rows = self._journal.fetch(
            "SELECT payload FROM events WHERE stream = ? AND rseq = 1 AND type = 'run.submitted'", (id_bytes(run_id),)
        )
        try:
            submitted = json.loads(rows[0][0]) if rows and rows[0][0] is not None else None
        except (ValueError, RecursionError):
            return {}
        if not isinstance(submitted, dict) or submitted.get("v") != SUBMITTED_VERSION:
            return {}
        config = submitted.get("config")
        return config if isinstance(config, dict) else {}

    def find(self, text: str) -> str:
        """The full id behind a unique start of one, `@last`, or `@best:METRIC`.

        `@best:loss` is the run with the lowest last value of the metric `loss`, `@best:max:accuracy` the one with
        the highest (`@best:min:NAME` says the default, for names that start with `max:`); of equals the newest.
        Raises UnknownRun, AmbiguousRun, BadRunId.
        """
        if text == "@last":
            return self._last()
        if text.startswith("@best:"):
            return self._best(text)
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
        archived: bool | None = None,
        children: bool = True,
        limit: int = -1,
    ) -> list[RunRow]:
        """Runs, newest first. A tag with the value None asks only that the tag is there; all must hold.

        `archived`: only those that are, or only those that are not, by themselves or with their experiment.
        Without `children` those that were started from another run are left out.
        """
        conditions, values = ["1" if children else "parent IS NULL"], list[Any]()
        if experiment is not None:
            conditions.append("experiment = ?")
            values.append(experiment)
        if status is not None:
            conditions.append("status = ?")
            values.append(status)
        for name, value in (tags or {}).items():
            conditions.append(
                "EXISTS (SELECT 1 FROM run_tags AS e WHERE e.run = r.seq AND e.name = ? AND value = ifnull(?, value))"
            )
            values += [name, value]
        if archived is not None:
            conditions.append(ARCHIVED if archived else f"NOT {ARCHIVED}")
        if tags or archived is not None:
            self._journal.catch_up()
        where = " AND ".join(conditions)
        rows = self._journal.fetch(
            f"SELECT {_COLUMNS} FROM runs AS r WHERE {where} ORDER BY seq DESC LIMIT ?",  # noqa: S608
            (*values, limit),
        )
        return [_row(row) for row in rows]

    def experiments(self) -> list[str]:
        """Names of the experiments that have runs, sorted; not that of erased runs, which is empty."""
        # From one name to the next in the index: DISTINCT would look at every run.
        rows = self._journal.fetch(
            "WITH RECURSIVE found(one) AS (SELECT min(experiment) FROM runs WHERE experiment > '' UNION ALL"
            " SELECT (SELECT min(experiment) FROM runs WHERE experiment > found.one) FROM found WHERE one IS NOT NULL)"
            " SELECT one FROM found WHERE one IS NOT NULL"
        )
        return [str(row[0]) for row in rows]

    def has_children(self, run_id: str) -> bool:
        """Whether another run was started from it."""
        return bool(self._journal.fetch("SELECT 1 FROM runs WHERE parent = ? LIMIT 1", (run_id,)))

    def children(self, run_id: str, status: str | None = None, *, limit: int = -1) -> list[RunRow]:
        """The runs that were started from it, the newest first; those in one state where it is given."""
        rows = self._journal.fetch(
            f"SELECT {_COLUMNS} FROM runs INDEXED BY runs_parent WHERE parent = ?"  # noqa: S608
            " AND status = ifnull(?, status) ORDER BY seq DESC LIMIT ?",
            (run_id, status, limit),
        )
        return [_row(row) for row in rows]

    def unfinished_children(self, run_id: str) -> list[RunRow]:
        """Those of its children that have not ended, the newest first; costs by the unfinished runs of all."""
        return [row for row in self.unfinished() if row.parent == run_id]

    def children_by_status(self, run_id: str) -> dict[str, int]:
        """How many children it has in each state."""
        rows = self._journal.fetch(
            "SELECT status, count(*) FROM runs INDEXED BY runs_parent WHERE parent = ? GROUP BY 1 ORDER BY 1", (run_id,)
        )
        return {str(status): int(count) for status, count in rows}

    def child_counts(self, run_ids: Sequence[str], most: int = 1000) -> dict[str, int]:
        """How many children these runs have, each counted to `most`; those without any are left out."""
        rows = self._journal.fetch(
            "SELECT asked.value, (SELECT count(*) FROM (SELECT 1 FROM runs WHERE parent = asked.value LIMIT ?)) AS n"
            " FROM json_each(?) AS asked WHERE n > 0",
            (most, json.dumps(list(run_ids))),
        )
        return {str(run_id): int(count) for run_id, count in rows}

    def noted_failure(self, run_id: str) -> dict[str, str] | None:
        """What a script first said of its own failure: `code`, `message` and perhaps more. Loads no class of events."""
        rows = self._journal.fetch(
            "SELECT payload FROM events WHERE stream = ? AND type = 'run.failure_noted' AND payload IS NOT NULL"
            " ORDER BY rseq LIMIT 1",
            (id_bytes(run_id),),
        )
        try:
            error = json.loads(rows[0][0]).get("error") if rows else None
        except (ValueError, RecursionError, AttributeError):
            return None
        return {str(key): str(value) for key, value in error.items()} if isinstance(error, dict) else None

    def archived_experiments(self) -> dict[str, int]:
        """Experiments that are archived, and since when: microseconds since the epoch, UTC."""
        self._journal.catch_up()
        return dict(self._journal.fetch("SELECT experiment, at FROM archived_experiments ORDER BY 1"))

    def experiment_tags(self, experiment: str) -> dict[str, str]:
        """Tags of an experiment."""
        self._journal.catch_up()
        sql = "SELECT name, value FROM experiment_tags WHERE experiment = ? ORDER BY 1"
        return dict(self._journal.fetch(sql, (experiment,)))

    def descriptions(self, run_ids: Sequence[str]) -> dict[str, str]:
        """What is said of these runs, without those of which nothing is."""
        self._journal.catch_up()
        sql = "SELECT run_id, text FROM json_each(?) AS asked JOIN descriptions ON run_id = asked.value"
        return dict(self._journal.fetch(sql, (json.dumps(list(run_ids)),)))

    def notes(self, run_ids: Sequence[str]) -> dict[str, list[NoteRow]]:
        """The notes about each of these runs, oldest first."""
        self._journal.catch_up()
        found: dict[str, list[NoteRow]] = {run_id: [] for run_id in run_ids}
        sql = (
            "SELECT run_id, text, author, at FROM json_each(?) AS asked JOIN notes ON run_id = asked.value ORDER BY seq"
        )
        for run_id, *note in self._journal.fetch(sql, (json.dumps(list(run_ids)),)):
            found[run_id].append(NoteRow(*note))
        return found

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

    def files(self, run_id: str, *, removed: bool = False) -> list[FileRow]:
        """The newest version of each file of a run, by name; `removed`: also of those that are gone from its folder."""
        return [row for row, newest in self._files(run_id) if newest and (removed or row.removed_at is None)]

    def file_versions(self, run_id: str, name: str) -> list[FileRow]:
        """Every version of one file, oldest first; empty when the run has had no such file."""
        return [row for row, _ in self._files(run_id, storable(name))]

    def descendants(self, run_id: str) -> list[RunRow]:
        """The runs that were started from a run, and those that were started from them …, oldest first."""
        self._journal.catch_up()
        rows = self._journal.fetch(
            f"SELECT {_COLUMNS} FROM families JOIN runs ON run_id = descendant WHERE ancestor = ? ORDER BY seq",  # noqa: S608
            (run_id,),
        )
        return [_row(row) for row in rows]

    def standings(self, run_id: str) -> list[Standing]:
        """How each metric of a run stands, by name: count, last, least, greatest; no point is read for it."""
        from onrecord.ledger import series

        return series.standings(self._journal, run_id)

    def last_value(self, run_id: str, name: str) -> Any:
        """The last value of one metric, as it was logged; None where there is none."""
        from onrecord.ledger import series

        return series.last_value(self._journal, run_id, name)

    def metrics(self, run_id: str) -> dict[str, list[Series]]:
        """Every metric's points in the order in which they were logged, in one or more pieces by metric."""
        from onrecord.ledger import series

        return series.all_series(self._journal, run_id)

    def points(
        self, run_id: str, name: str, *, from_step: int | None = None, to_step: int | None = None
    ) -> list[Series]:
        """One metric's points in the order of logging; of a range of steps, both ends included, where one is given."""
        from onrecord.ledger import series

        return series.series_of(self._journal, run_id, name, series.Steps(from_step, to_step))

    def downsampled(
        self,
        run_id: str,
        name: str,
        buckets: int = 1000,
        *,
        from_step: int | None = None,
        to_step: int | None = None,
    ) -> list[Bucket]:
        """One metric in at most so many buckets, which hold every point once and keep every spike.

        Of a range of steps, both ends included, where one is given. Milliseconds also for millions of points.
        Empty where there are none. Raises BadBuckets.
        """
        from onrecord.ledger import series

        return series.downsampled(self._journal, run_id, name, buckets, series.Steps(from_step, to_step))

    def latest_metric(self, run_id: str) -> tuple[str, int | None, float | None] | None:
        """Name, step and number of what the run logged last, of several at once the first by name; None for nothing."""
        self._journal.catch_up()
        rows = self._journal.fetch(
            "SELECT name, last_step, last FROM run_metrics WHERE run = (SELECT seq FROM runs WHERE run_id = ?)"
            " ORDER BY last_at DESC, name LIMIT 1",
            (run_id,),
        )
        return (rows[0][0], rows[0][1], rows[0][2]) if rows else None

    def resources(self, run_id: str) -> ResourceRow | None:
        """What the run's processes used in sum; None where nothing of it is on record."""
        from onrecord.ledger.resources import summary_of

        return summary_of(self._journal, run_id)

    def resource_samples(self, run_id: str) -> Mapping[str, list[int | None]]:
        """Every look at what they used: `times` and one list a quantity, as `run.resources` names and counts them."""
        from onrecord.ledger.resources import samples_of

        return samples_of(self._journal, run_id)

    def spool_position(self, run_id: str) -> int:
        """How many bytes of the run's spool are in the ledger."""
        self._journal.catch_up()
        rows = self._journal.fetch(
            "SELECT position FROM spools WHERE run = (SELECT seq FROM runs WHERE run_id = ?)", (run_id,)
        )
        return int(rows[0][0]) if rows else 0

    def _last(self) -> str:
        self._journal.catch_up()
        sql = f"SELECT run_id FROM runs AS r WHERE NOT {ARCHIVED} ORDER BY seq DESC LIMIT 1"  # noqa: S608
        rows = self._journal.fetch(sql)
        if not rows and self._journal.fetch("SELECT 1 FROM runs LIMIT 1"):
            raise UnknownRun("every run is archived", next_step="onrecord ls --archived", run_id="@last")
        if not rows:
            raise UnknownRun("there is no run yet", next_step="onrecord run SCRIPT", run_id="@last")
        return str(rows[0][0])

    def _best(self, text: str) -> str:
        wanted = text.removeprefix("@best:")
        highest, name = wanted.startswith("max:"), wanted.removeprefix("max:" if wanted.startswith("max:") else "min:")
        self._journal.catch_up()
        # Read from the end of the index on: the first that is not archived ends it.
        rows = self._journal.fetch(
            "SELECT run_id FROM run_metrics AS m INDEXED BY metrics_by_value CROSS JOIN runs AS r ON r.seq = m.run"  # noqa: S608
            f" WHERE m.name = ?1 AND m.last IS NOT NULL AND NOT {ARCHIVED}"
            f" ORDER BY m.last {'DESC' if highest else 'ASC'}, m.run DESC LIMIT 1",
            (storable(name),),
        )
        if not rows:
            raise UnknownRun(f"no run has a number for the metric '{name}'", next_step="onrecord ls", run_id=text)
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

    def _files(self, run_id: str, name: str | None = None) -> list[tuple[FileRow, bool]]:
        self._journal.catch_up()
        rows = self._journal.fetch(
            "SELECT name, version, digest, size, recorded_at, removed_at, uploaded,"  # noqa: S608
            " version = max(version) OVER (PARTITION BY name)"
            f" FROM files WHERE run_id = ? {'AND name = ?' * (name is not None)} ORDER BY name, version",
            (run_id, *([] if name is None else [name])),
        )
        return [(FileRow._make(row[:7]), bool(row[7])) for row in rows]


def _row(row: tuple[Any, ...]) -> RunRow:
    if row[_ERROR] is None:
        return RunRow._make(row)
    values = list(row)
    values[_ERROR] = json.loads(values[_ERROR]) if values[_ERROR] else None
    return RunRow(*values)


def _unknown(text: str) -> UnknownRun:
    return UnknownRun(f"no run's id starts with '{text}'", next_step="onrecord ls", run_id=text)
