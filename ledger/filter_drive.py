"""By which index a search may walk: from the rows that fulfil one condition, or in the order that is asked for.

SQLite is told which one (CROSS JOIN fixes the order of tables, INDEXED BY the index): it knows nothing of how
values are spread, and a ledger that is written all the time has no use for statistics of yesterday.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from onrecord.ledger.arguments import number
from onrecord.ledger.filter_fields import COLUMNS
from onrecord.ledger.filter_sql import Compiler, Sql, phrase
from onrecord.ledger.filter_tree import And, Compare, Exists, Field, Kin, Matches, Node, Not, OneOf, Order, Words

_OF_METRICS = "run_metrics AS d INDEXED BY metrics_by_value"
_OF_NUMBERS = "run_params AS d INDEXED BY params_by_number"
_OF_TEXTS = "run_params AS d INDEXED BY params_by_text"
_JOIN = " CROSS JOIN runs AS r ON r.seq = d.run"
# Column of runs -> its index, for equality and for ranges.
_RUN_INDEXES = {
    "experiment": "runs_experiment",
    "status": "runs_status",
    "created": "runs_created",
    "parent": "runs_parent",
    "run_id": "sqlite_autoindex_runs_1",
}
EVERY = "runs AS r NOT INDEXED"
_WITHOUT_PARENT = Not(Exists(Field("runs", "parent")))


class Drive(NamedTuple):
    """Rows of an index: `source` and `where` give each run that fulfils the condition once.

    `counted` is the part of the source that tells how many they are; `part` the condition, `run` the column with
    the run's `seq`.
    """

    part: Node
    source: str
    counted: str
    where: Sql
    run: str = "r.seq"


class Walk(NamedTuple):
    """A stretch of the order: `key` and `tie` are the columns that the index is sorted by.

    Where `where` holds, the first key of the order has a value of the type `holds` (None: it has none), and the
    conditions `parts` hold.
    """

    source: str
    where: Sql
    key: str
    tie: str
    holds: type[str] | type[float] | None
    parts: tuple[Node, ...] = ()


def conjuncts(where: Node | None) -> tuple[Node, ...]:
    """The conditions that must all hold."""
    if where is None:
        return ()
    if not isinstance(where, And):
        return (where,)
    return tuple(inner for part in where.parts for inner in conjuncts(part))


def drive(node: Node, compiler: Compiler) -> Drive | None:
    """The index that leads to the runs of one condition, or None."""
    match node:
        case Kin(side, run):
            this, other = ("descendant", "ancestor") if side == "descendant" else ("ancestor", "descendant")
            where = Sql(f"d.{other} = ?", (compiler.whole(run),))
            source = f"families AS d CROSS JOIN runs AS r ON r.run_id = d.{this}"
            return Drive(node, source, "families AS d", where)
        case Words(text):
            if not compiler.full_text():
                return None
            # A table's name, not its alias, is what MATCH takes.
            where = Sql("search MATCH ?", (phrase(text),))
            return Drive(node, "search CROSS JOIN runs AS r ON r.seq = search.rowid", "search", where, "search.rowid")
        case Not() if node == _WITHOUT_PARENT:
            source = "runs AS r INDEXED BY runs_without_parent"
            return Drive(node, source, source, Sql("r.parent IS NULL"))
        case Compare() | OneOf() | Exists() | Matches():
            return _drive_of_run(node, compiler) if node.field.table == "runs" else _drive_of_entry(node, compiler)
        case _:
            return None


def newest_first(parts: tuple[Node, ...], compiler: Compiler) -> Drive | None:
    """The index that has the newest run first among those of one parent, or without one; None where neither is asked.

    Its `part` holds the conditions that it fulfils. Without it, runs that a sweep made in their thousands would all
    be looked at before the next one that is not of it.
    """
    for part in parts:
        if isinstance(part, Compare) and part.field == Field("runs", "parent") and part.operator == "=":
            found = drive(part, compiler)
            return found and found._replace(part=And((part,)))
    if _WITHOUT_PARENT not in parts:
        return None
    without = next(part for part in parts if part == _WITHOUT_PARENT)
    for part in parts:
        if isinstance(part, Compare) and part.field == Field("runs", "experiment") and part.operator == "=":
            source, test = "runs AS r INDEXED BY runs_without_parent_by_experiment", compiler.test(part, "r")
            where = Sql(f"r.parent IS NULL AND {test.text}", test.values)
            return Drive(And((without, part)), source, source, where)
    found = drive(without, compiler)
    return found and found._replace(part=And((without,)))


def _drive_of_run(node: Compare | OneOf | Exists | Matches, compiler: Compiler) -> Drive | None:
    name = node.field.name
    index = _RUN_INDEXES.get(name)
    searchable = isinstance(node, Compare | OneOf) or (isinstance(node, Matches) and name in ("run_id", "parent"))
    if index is None or not searchable or (isinstance(node, Matches) and node.how != "starts"):
        return None
    source = f"runs AS r INDEXED BY {index}"
    # Parentheses around a column do not keep SQLite from its index.
    return Drive(node, source, source, compiler.test(node, "r"))


def _drive_of_entry(node: Compare | OneOf | Exists | Matches, compiler: Compiler) -> Drive | None:
    field = node.field
    if isinstance(node, Matches) or (field.table == "metrics" and field.measure != "last"):
        return None
    if field.table == "params":
        return _drive_of_param(node, compiler)
    source = _OF_METRICS if field.table == "metrics" else f"run_{field.table} AS d INDEXED BY {field.table}_by_name"
    test = compiler.test(node, "d")
    where = Sql(f"d.name = ? AND {test.text}", (field.name, *test.values))
    return Drive(node, source + _JOIN, source, where, "d.run")


def _drive_of_param(node: Compare | OneOf | Exists, compiler: Compiler) -> Drive | None:
    name = node.field.name
    if isinstance(node, Compare) and not isinstance(node.value, str):
        test = compiler.test(node, "d")
        where = Sql(f"d.name = ? AND {test.text}", (name, *test.values))
        return Drive(node, _OF_NUMBERS + _JOIN, _OF_NUMBERS, where, "d.run")
    if isinstance(node, Compare) and node.operator == "=" and number(str(node.value)) is None:
        where = Sql("d.name = ? AND d.number IS NULL AND d.value = ?", (name, node.value))
        return Drive(node, _OF_TEXTS + _JOIN, _OF_TEXTS, where, "d.run")
    return None


def walks(order: Order, parts: tuple[Node, ...], compiler: Compiler) -> list[Walk] | None:
    """The stretches of the order one after the other, for the first key; None where no index has it.

    Conditions on the key itself narrow the stretches.
    """
    field = order.field
    if field == Field("runs", "created"):
        column = COLUMNS["created"].sql
        tests = [drive(part, compiler) for part in parts if _is_about(part, field)]
        where = _all([test.where for test in tests if test is not None])
        return [Walk("runs AS r INDEXED BY runs_created", where, column, "r.seq", float)]
    found = list(_walks_of_entries(field, parts, compiler))
    if not found:
        return None
    if order.descending:
        found.reverse()
    if not any(_is_about(part, field) for part in parts):
        found.append(Walk("runs AS r", Sql("1"), "NULL", "r.seq", None))
    return found


def _walks_of_entries(field: Field, parts: tuple[Node, ...], compiler: Compiler) -> Iterator[Walk]:
    about = [found for part in parts if _is_about(part, field) and (found := drive(part, compiler)) is not None]
    for source, holding, column, type_held in _stretches(field):
        narrowing = [found for found in about if found.counted == source]
        if narrowing or not about:
            # Beside a comparison, IS NOT NULL would be taken as the lower bound in the index.
            named = Sql(f"d.name = ? AND {holding}", (field.name,))
            where = _all([found.where for found in narrowing] or [named])
            parts_held = tuple(found.part for found in narrowing)
            yield Walk(source + _JOIN, where, column, "d.run", type_held, parts_held)


def _stretches(field: Field) -> list[tuple[str, str, str, type[str] | type[float]]]:
    # The indexes that have the field in order, in the order of SQLite's types: numbers, then text.
    if field.table == "metrics" and field.measure == "last":
        return [(_OF_METRICS, "d.last IS NOT NULL", "d.last", float)]
    if field.table == "params":
        return [
            (_OF_NUMBERS, "d.number IS NOT NULL", "d.number", float),
            (_OF_TEXTS, "d.number IS NULL", "d.value", str),
        ]
    if field.table in ("tags", "properties"):
        return [(f"run_{field.table} AS d INDEXED BY {field.table}_by_name", "1", "d.value", str)]
    return []


def _is_about(part: Node, field: Field) -> bool:
    # True of no run that lacks the field.
    return isinstance(part, Compare | OneOf | Exists | Matches) and part.field == field


def _all(pieces: list[Sql]) -> Sql:
    text = " AND ".join(piece.text for piece in pieces) or "1"
    return Sql(text, tuple(value for piece in pieces for value in piece.values))
