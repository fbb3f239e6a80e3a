"""Runs that are listed by what they are: the arguments that Azure ML's lists take, as a filter over the indexes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from onrecord.documents import status_of
from onrecord.errors import OnRecordError
from onrecord.ledger.filter_tree import ARCHIVED, And, Compare, Exists, Field, Filter, Kin, Node, Not, OneOf, Or
from onrecord.ledger.states import ALL_STATES, NOT_RESPONDING, TERMINAL

if TYPE_CHECKING:
    from onrecord.run import Run
    from onrecord.workspace import Workspace

Wanted = str | Sequence[str] | Mapping[str, Any] | None
SCRIPT = "onrecord.script"
_PARENT = Field("runs", "parent")
# What code that was written for Azure ML calls them.
_TYPES = {"azureml.scriptrun": SCRIPT}


class BadListing(OnRecordError):
    """Runs cannot be listed by that. Attributes: `field`, `value`."""


class Listing:
    """Which runs: all conditions must hold.

    `tags` and `properties`: a name that must be there, several of them, or names with their values. `parent`: the id
    of the run that they were started from, over all generations where it is `recursive`. Without `include_children`
    runs that were started from another are left out, unless the filter asks for such. Archived runs are left out as
    everywhere, but not those of an archived experiment or of a parent. `wanted` is a filter's text,
    with an order and a limit where it says so. Raises BadListing, BadFilter.
    """

    def __init__(
        self,
        workspace: Workspace,
        *,
        experiment: str | None = None,
        parent: str | None = None,
        recursive: bool = False,
        run_type: str | None = None,
        tags: Wanted = None,
        properties: Wanted = None,
        status: str | None = None,
        include_children: bool = True,
        wanted: str | Filter | None = None,
    ) -> None:
        self._workspace = workspace
        self._responding = _checked_status(status) != NOT_RESPONDING
        parsed = workspace.query.parsed(wanted or "")
        parts = [*_entries("tags", tags), *_entries("properties", properties)]
        if experiment is not None:
            parts.append(Compare(Field("runs", "experiment"), "=", experiment))
        if parent is not None:
            parts.append(Kin("descendant", parent) if recursive else Compare(_PARENT, "=", parent))
        elif not include_children and not speaks_of_kin(parsed.where):
            parts.append(Not(Exists(_PARENT)))
        if run_type is not None:
            parts.append(Compare(Field("runs", "type"), "=", _TYPES.get(run_type, run_type)))
        if status is not None:
            parts.append(_of_status(_checked_status(status)))
        if parent is not None or experiment in workspace.query.archived_experiments():
            # Whoever asks for the family of a run, or for an experiment that is archived as a whole, means all of it.
            parts.append(OneOf(ARCHIVED, (0, 1)))
        if parsed.where is not None:
            parts.append(parsed.where)
        self.filter = parsed._replace(where=And(tuple(parts)) if parts else None)

    def runs(self) -> Iterator[Run]:
        """The runs, newest first or in the filter's order, read page by page while they are asked for."""
        for run in self._workspace.runs(self.filter):
            if self._responding or status_of(self._workspace, self._workspace.query.run(run.id)) == NOT_RESPONDING:
                yield run


def speaks_of_kin(node: Node | None) -> bool:
    """Whether a condition is about the runs that a run was started from."""
    match node:
        case And(parts) | Or(parts):
            return any(speaks_of_kin(part) for part in parts)
        case Not(part):
            return speaks_of_kin(part)
        case None:
            return False
        case _:
            return isinstance(node, Kin) or getattr(node, "field", None) == _PARENT


def _entries(table: str, wanted: Wanted) -> list[Node]:
    if wanted is None:
        return []
    if isinstance(wanted, Mapping):
        pairs = list(wanted.items())
    else:
        pairs = [(name, None) for name in ([wanted] if isinstance(wanted, str) else wanted)]
    nodes: list[Node] = []
    for name, value in pairs:
        if not isinstance(name, str) or not name:
            raise BadListing(
                f"{table} are asked for by {name!r}",
                why="a name is text that is not empty",
                next_step=f'{table}="name", {table}=["one", "other"] or {table}={{"name": "value"}}',
                field=table,
                value=wanted,
            )
        field = Field(table, name)
        nodes.append(Exists(field) if value is None else Compare(field, "=", str(value)))
    return nodes


def _checked_status(given: str | None) -> str | None:
    if given is None:
        return None
    for state in (*ALL_STATES, NOT_RESPONDING):
        if str(given).lower().replace("_", "").replace(" ", "") == state.lower():
            return state
    raise BadListing(
        f"there is no status {given!r}",
        why=f"a run is {', '.join((*ALL_STATES, NOT_RESPONDING))}",
        next_step='status="Completed"',
        field="status",
        value=given,
    )


def _of_status(status: str | None) -> Node:
    field = Field("runs", "status")
    if status == NOT_RESPONDING:
        # Not recorded but found out: of each run that has not ended.
        return OneOf(field, tuple(state for state in ALL_STATES if state not in TERMINAL))
    return Compare(field, "=", str(status))
