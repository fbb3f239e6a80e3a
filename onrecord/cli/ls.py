"""`onrecord ls`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from onrecord.attempts import PROPERTY as ATTEMPT
from onrecord.cli.common import complete_run, json_option, open_workspace, print_json, state_named
from onrecord.documents import note_document, run_document, status_of
from onrecord.tag_names import checked_tags
from onrecord.wording import Style, ago, columns, duration, fitted, narrate, printable
from onrecord.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onrecord.ledger.filter_tree import Filter
    from onrecord.ledger.query import Facts, Query, RunRow

_SHOWN = 30
_MOST = 1_000_000_000
_SHORT_ID = 10


class _Wanted(NamedTuple):
    """What the command line asks for. A `limit` of None was not given: `usual` counts then, and None there is all."""

    filter: str | None
    experiment: str | None
    status: str | None
    tags: dict[str, str | None]
    limit: int | None
    usual: int | None
    after: str | None
    as_of: str | None
    archived: bool
    parent: str | None
    children: bool


class _Listed(NamedTuple):
    """What is shown, from where, and how to go on."""

    rows: list[RunRow]
    query: Query
    more: bool
    next: str | None = None


@click.command()
@click.argument("wanted", metavar="[FILTER]", required=False)
@click.option("-e", "--experiment", help="Only runs of this experiment.")
@click.option("-s", "--status", help="Only runs in this state, for example Failed.")
@click.option("-t", "--tag", "tags", multiple=True, metavar="KEY[=VALUE]", help="Only runs with this tag; repeatable.")
@click.option("--parent", metavar="RUN", help="Only runs that were started from this one.", shell_complete=complete_run)
@click.option(
    "--children", is_flag=True, help="Also runs that were started from others; of a --parent all generations."
)
@click.option(
    "-n", "--limit", type=click.IntRange(1, _MOST), help=f"At most this many (default {_SHOWN}; --json: all)."
)
@click.option("-a", "--all", "everything", is_flag=True, help="All of them.")
@click.option("-c", "--columns", "shown", metavar="FIELDS", help="Show these, for example metrics.loss,params.alpha.")
@click.option("--archived", is_flag=True, help="Only archived runs; others are listed without it.")
@click.option("--after", metavar="CURSOR", help="Go on where a list with a FILTER ended.")
@click.option("--as-of", metavar="SEQ|TIME", help="As the ledger was after this event, or at this time.")
@json_option
def command(
    wanted: str | None,
    experiment: str | None,
    status: str | None,
    tags: tuple[str, ...],
    parent: str | None,
    children: bool,
    limit: int | None,
    everything: bool,
    shown: str | None,
    after: str | None,
    as_of: str | None,
    archived: bool,
    as_json: bool,
) -> None:
    """List runs, newest first, or those that FILTER asks for.

    For example: onrecord ls 'metrics.loss < 0.5 and params.alpha >= 0.1 and tags.team = a order by metrics.loss'.
    Runs that were started from another run are listed with --children, with --parent RUN, and with a FILTER, which
    looks at every run unless it says `parent is null`.
    The language is described in docs/filters.md.
    """
    workspace = open_workspace()
    asked = {key: value if given else None for key, given, value in (tag.partition("=") for tag in tags)}
    checked_tags(asked)
    usual = None if everything or as_json else _SHOWN
    if parent is not None:
        parent = workspace.get_run(parent).id
    request = _Wanted(
        wanted, experiment, state_named(status), asked, limit, usual, after, as_of, archived, parent, children
    )
    plain = wanted is None and after is None and as_of is None and parent is None
    listed = _plainly(workspace, request) if plain else _searched(workspace, request)
    fields = _fields(listed, shown) if shown is not None else None
    if as_json:
        print_json(_documents(workspace, listed, fields, live=as_of is None))
    elif not listed.rows:
        _narrate_none(workspace, request, filtered=bool(experiment or status or tags or not plain))
    elif fields is None:
        _print_table(workspace, listed, live=as_of is None)
    else:
        _print_fields(workspace, listed, fields, live=as_of is None)
    if listed.next:
        narrate(f"there are more; --after {listed.next}")
    elif listed.more:
        narrate("there are more; -n N or --all shows them")


def _narrate_none(workspace: Workspace, wanted: _Wanted, *, filtered: bool) -> None:
    if wanted.archived:
        narrate("no archived runs")
        return
    hides_children = wanted == wanted._replace(filter=None, after=None, as_of=None, parent=None, children=False)
    if hides_children and _plainly(workspace, wanted._replace(children=True, limit=1)).rows:
        narrate("only runs that were started from others; --children lists them")
    elif workspace.query.runs(experiment=wanted.experiment, archived=True, limit=1):
        narrate("no runs but archived ones; onrecord ls --archived lists them")
    elif filtered:
        narrate("no runs")
    else:
        narrate("no runs yet; onrecord run SCRIPT makes one")


def _plainly(workspace: Workspace, wanted: _Wanted) -> _Listed:
    # Without a filter nothing of its language is imported.
    limit = wanted.limit or wanted.usual
    # One more than is shown tells whether there are more.
    rows = workspace.query.runs(
        experiment=wanted.experiment,
        status=wanted.status,
        tags=wanted.tags,
        archived=wanted.archived,
        children=wanted.children,
        limit=-1 if limit is None else limit + 1,
    )
    return _Listed(rows[:limit], workspace.query, limit is not None and len(rows) > limit)


def _searched(workspace: Workspace, wanted: _Wanted) -> _Listed:
    query = workspace.query if wanted.as_of is None else workspace.query.at(wanted.as_of)
    whole = _combined(query.parsed(wanted.filter or ""), wanted)
    page = query.search(whole, after=wanted.after, limit=wanted.limit or whole.limit or wanted.usual or sys.maxsize - 1)
    return _Listed(page.rows, query, page.next is not None, page.next)


def _combined(parsed: Filter, wanted: _Wanted) -> Filter:
    from onrecord.ledger.filter_tree import (
        ARCHIVED,
        And,
        Compare,
        Exists,
        Field,
        Kin,
        Node,
        Not,
        with_active_only,
    )

    parts: list[Node] = [] if parsed.where is None else [parsed.where]
    for column, value in (("experiment", wanted.experiment), ("status", wanted.status)):
        if value is not None:
            parts.append(Compare(Field("runs", column), "=", value))
    for name, value in wanted.tags.items():
        field = Field("tags", name)
        parts.append(Exists(field) if value is None else Compare(field, "=", value))
    parent = Field("runs", "parent")
    if wanted.parent is not None:
        parts.append(Kin("descendant", wanted.parent) if wanted.children else Compare(parent, "=", wanted.parent))
    elif wanted.filter is None and not wanted.children:
        parts.append(Not(Exists(parent)))
    if wanted.archived:
        parts.append(Compare(ARCHIVED, "=", 1))
    return with_active_only(parsed._replace(where=And(tuple(parts)) if parts else None))


class _Fields(NamedTuple):
    names: list[str]
    kinds: list[str]
    values: dict[str, tuple[Any, ...]]


def _fields(listed: _Listed, shown: str) -> _Fields:
    from onrecord.ledger.filter_fields import kind_of
    from onrecord.ledger.filter_parser import parse_fields

    found = parse_fields(shown)
    fields = [field for _, field in found]
    values = listed.query.values([row.run_id for row in listed.rows], fields)
    return _Fields([name for name, _ in found], [kind_of(field) for field in fields], values)


def _documents(workspace: Workspace, listed: _Listed, fields: _Fields | None, *, live: bool) -> list[dict[str, Any]]:
    facts = listed.query.facts([row.run_id for row in listed.rows])
    said = listed.query.descriptions([row.run_id for row in listed.rows])
    notes = listed.query.notes([row.run_id for row in listed.rows])
    with_children = listed.query.child_counts([row.run_id for row in listed.rows], 1)
    documents = []
    for row in listed.rows:
        known = facts[row.run_id]
        children = listed.query.children_by_status(row.run_id) if row.run_id in with_children else {}
        document = run_document(workspace, row, known.tags, known.properties, children, live=live)
        document["description"] = said.get(row.run_id, "")
        document["notes"] = [note_document(note) for note in notes[row.run_id]]
        if fields is not None:
            document["columns"] = {
                name: _plain(value) for name, value in zip(fields.names, fields.values[row.run_id], strict=True)
            }
        documents.append(document)
    return documents


def _plain(value: Any) -> Any:
    # JSON knows no infinity.
    return str(value) if isinstance(value, float) and value in (float("inf"), float("-inf")) else value


def _print_table(workspace: Workspace, listed: _Listed, *, live: bool) -> None:
    facts: dict[str, Facts] = listed.query.facts([row.run_id for row in listed.rows])
    said = listed.query.descriptions([row.run_id for row in listed.rows])
    table = [["RUN", "STATUS", "NAME", "CREATED", "DURATION", "EXIT", "TAGS", *["DESCRIPTION"] * bool(said)]]
    shorten = short_ids([row.run_id for row in listed.rows])
    children = listed.query.child_counts([row.run_id for row in listed.rows])
    for row in listed.rows:
        exit_code = "-" if row.exit_code is None else str(row.exit_code)
        words = [printable(said.get(row.run_id, "").partition("\n")[0])] if said else []
        marks = " ".join(f"{key}={value}" if value else key for key, value in facts[row.run_id].tags.items())
        status = status_of(workspace, row) if live else row.status
        table.append(
            [shorten[row.run_id], status, _name(row, children.get(row.run_id, 0), facts[row.run_id].properties),
             ago(row.created_at),
             duration(row.duration_seconds),
             exit_code, printable(marks), *words]
        )  # fmt: skip
    _print_lines(table, right=frozenset({4, 5}), dim=6)


def _print_fields(workspace: Workspace, listed: _Listed, fields: _Fields, *, live: bool) -> None:
    shorten = short_ids([row.run_id for row in listed.rows])
    table = [["RUN", "STATUS", "NAME", *map(printable, fields.names)]]
    for row in listed.rows:
        status = status_of(workspace, row) if live else row.status
        values = zip(fields.kinds, fields.values[row.run_id], strict=True)
        cells = [_cell(kind, value) for kind, value in values]
        table.append([shorten[row.run_id], status, _name(row), *cells])
    numeric = {place + 3 for place, kind in enumerate(fields.kinds) if kind in ("number", "any", "duration")}
    _print_lines(table, right=frozenset(numeric))


def _cell(kind: str, value: Any) -> str:
    from onrecord.wording import local_time, metric

    if value is None:
        return "-"
    if kind == "time":
        return local_time(value)
    return duration(value / 1e6) if kind == "duration" else metric(value)


def _print_lines(table: list[list[str]], *, right: frozenset[int], dim: int | None = None) -> None:
    # A name, then what stands last, gives way where a row would not fit; --json has all of it.
    table = fitted(table, [2, len(table[0]) - 1] if dim is not None else [2], sys.stdout)
    style, lines = Style(sys.stdout), columns(table, right=right)
    print(style.bold("  ".join(lines[0]).rstrip()))
    for cells, texts in zip(lines[1:], table[1:], strict=True):
        cells[1] = style.status(texts[1], len(cells[1]))
        if dim is not None:
            cells[dim] = style.dim(cells[dim])
        print("  ".join(cells).rstrip())


def _name(row: RunRow, children: int = 0, properties: Mapping[str, str] | None = None) -> str:
    name, attempt = printable(row.display_name), (properties or {}).get(ATTEMPT)
    name = f"{name} (erased)" if row.erased and row.experiment else name
    name = f"{name} (attempt {printable(attempt)})" if attempt else name
    return f"{name} ({children:,} child{'ren' * (children > 1)})" if children else name


def short_ids(run_ids: list[str]) -> dict[str, str]:
    """The start of each id, long enough to tell it from the others."""
    length = _SHORT_ID
    while length < 26 and len({run_id[:length] for run_id in run_ids}) < len(run_ids):
        length += 1
    return {run_id: run_id[:length] for run_id in run_ids}
