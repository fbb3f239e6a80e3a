"""What a filter says, as values: conditions over the fields of a run, an order, a limit.

Every condition is true or false of a run, never neither: a comparison with a value that the run does not have
is false, and so `!=`, `not` and `not in`, which are negations, are true of it.

Named tuples rather than attrs classes, so that a filtered list of runs imports no attrs.
"""

from __future__ import annotations

from typing import NamedTuple

Scalar = str | int | float


class Field(NamedTuple):
    """A column of a run, or one entry of its metrics, params, tags or properties.

    `table` is `runs` and `name` a key of `filter_fields.COLUMNS`; or `name` is the entry's own, any text, and
    `measure` for metrics a column of theirs.
    """

    table: str
    name: str
    measure: str = ""


class Compare(NamedTuple):
    """`operator` is one of = < <= > >=. A number does not equal its spelling: text and numbers differ."""

    field: Field
    operator: str
    value: Scalar


class OneOf(NamedTuple):
    """The field has one of the values."""

    field: Field
    values: tuple[Scalar, ...]


class Matches(NamedTuple):
    """`how`: contains, starts, like (% any text, _ any character, backslash quotes); ASCII letters in either case."""

    field: Field
    how: str
    text: str


class Exists(NamedTuple):
    """The run has a value here."""

    field: Field


class Words(NamedTuple):
    """Somewhere in the run's name, script, tags, error, description … these words follow each other."""

    text: str


class Kin(NamedTuple):
    """The run descends from another (`side` descendant), or the other from it (ancestor)."""

    side: str
    run: str


class Not(NamedTuple):
    """The part is false."""

    part: Node


class And(NamedTuple):
    """All parts are true."""

    parts: tuple[Node, ...]


class Or(NamedTuple):
    """One part at least is true."""

    parts: tuple[Node, ...]


Node = Compare | OneOf | Matches | Exists | Words | Kin | Not | And | Or


class Order(NamedTuple):
    """One key of the order. Runs without the value come last, whichever the direction."""

    field: Field
    descending: bool = False


class Filter(NamedTuple):
    """A parsed filter; without an order the newest run comes first."""

    where: Node | None = None
    order: tuple[Order, ...] = ()
    limit: int | None = None


ARCHIVED = Field("runs", "archived")


def with_active_only(wanted: Filter) -> Filter:
    """The same without archived runs, unless the filter itself says what is to be with them."""
    if wanted.where is not None and _names_archived(wanted.where):
        return wanted
    active = Compare(ARCHIVED, "=", 0)
    return wanted._replace(where=active if wanted.where is None else And((wanted.where, active)))


def _names_archived(node: Node) -> bool:
    if isinstance(node, And | Or):
        return any(map(_names_archived, node.parts))
    if isinstance(node, Not):
        return _names_archived(node.part)
    return getattr(node, "field", None) == ARCHIVED
