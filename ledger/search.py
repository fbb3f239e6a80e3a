"""Runs that a filter asks for, page by page.

A search walks in the order that is asked for and looks at each run until the page is full; or, where one of
the conditions holds of few runs, it takes those and sorts them. Which of the two is cheaper is counted
before, in the indexes, and never further than needed to tell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from onrecord.ledger import filter_cursor
from onrecord.ledger.filter_cursor import Cursor
from onrecord.ledger.filter_drive import EVERY, Drive, Walk, conjuncts, drive, newest_first, walks
from onrecord.ledger.filter_sql import Compiler, Sql
from onrecord.ledger.filter_tree import And, Exists, Filter, Not, Order, Scalar

Fetch = Callable[[str, Sequence[object]], list[Any]]
_Statement = tuple[str, tuple[object, ...]]

# How far conditions are counted, and how far where there are several and none holds of few runs. Beyond, counting
# costs more than it tells.
_FEW = 2000
_MANY = 15_000
# For one that was not counted to the end: of so many runs one is expected to fulfil it.
_SPARED = 1.5


class Found(NamedTuple):
    """Rows of the table of runs, in the columns that were asked for, and where the next page begins."""

    rows: list[tuple[Any, ...]]
    next: str | None


class Search:
    """One filter on one ledger. `columns` of the row `r` are what it gives; `runs` says about how many there are."""

    def __init__(
        self, wanted: Filter, compiler: Compiler, fetch: Fetch, columns: Sequence[str], runs: Callable[[], int]
    ) -> None:
        self._order = wanted.order
        self._compiler = compiler
        self._fetch = fetch
        self._runs = runs
        self._columns = ", ".join(f"r.{name}" for name in columns)
        self._width = len(columns)
        self._parts = conjuncts(wanted.where)
        # Refuses fields and operators that a filter made by hand could hold, before anything is made of them.
        compiler.condition(And(self._parts))
        for key in wanted.order:
            compiler.value(key.field)

    def page(self, after: str | None, limit: int) -> Found:
        """At most `limit` runs after the cursor. Raises BadCursor."""
        cursor = None if after is None else filter_cursor.decode(after, self._order)
        rows = self._rows(cursor, limit + 1)
        more, rows = len(rows) > limit, rows[:limit]
        following = filter_cursor.encode(self._end(rows[-1]), self._order) if more else None
        return Found([row[: self._width] for row in rows], following)

    def _end(self, row: tuple[Any, ...]) -> Cursor:
        return Cursor(tuple(row[self._width : -1]), row[-1])

    def _rows(self, cursor: Cursor | None, limit: int) -> list[tuple[Any, ...]]:
        stretches = walks(self._order[0], self._parts, self._compiler) if self._order else None
        usual = None if self._order else newest_first(self._parts, self._compiler)
        chosen = self._cheaper(stretches, limit, usual) or usual
        if chosen is not None or stretches is None:
            return self._fetch(*self._sorted(chosen, cursor, limit))
        rows: list[tuple[Any, ...]] = []
        for walk in _from(stretches, cursor):
            here = cursor if cursor is not None and _holds(walk, cursor.keys[0]) else None
            rows += self._fetch(*self._walked(walk, here, limit - len(rows)))
            if len(rows) >= limit:
                break
        return rows

    def _cheaper(self, stretches: list[Walk] | None, limit: int, usual: Drive | None) -> Drive | None:
        # The condition to begin with, or None where walking in order is expected to look at fewer runs: through
        # all of them, or through those of `usual`.
        held = usual.part.parts if usual is not None and isinstance(usual.part, And) else ()
        found = [one for part in self._parts if (one := drive(part, self._compiler)) is not None]
        key = self._order[0].field if stretches is not None else None
        drives = [one for one in found if key is None or getattr(one.part, "field", None) != key]
        drives = [one for one in drives if not any(one.part is part for part in held)]
        if not drives:
            return None
        most, counts = _FEW, [self._count(one, _FEW) for one in drives]
        if min(counts) == _FEW and len(self._parts) > 1:
            most, counts = _MANY, [self._count(one, _MANY) for one in drives]
        least, known = min(counts), {id(one.part): count for one, count in zip(drives, counts, strict=True)}
        # What holds of few is asked first of each run.
        self._parts = tuple(sorted(self._parts, key=lambda part: known.get(id(part), most)))
        # Without an index that has the order, all runs would be looked at and sorted.
        if least <= limit or (self._order and stretches is None):
            return drives[counts.index(least)]
        runs, expected = self._runs(), float(limit)
        if usual is not None and (count := self._count(usual, _MANY)) < _MANY:
            runs = count
        for count in counts:
            expected *= runs / count if count < most else _SPARED
        if least >= min(expected, most):
            return None
        # Conditions on the key itself bound the walk.
        bounds = [self._count(one, least) for one in found if one not in drives]
        return drives[counts.index(least)] if least <= min(bounds, default=least) else None

    def _count(self, found: Drive, most: int) -> int:
        sql = f"SELECT count(*) FROM (SELECT 1 FROM {found.counted} WHERE {found.where.text} LIMIT ?)"  # noqa: S608
        return int(self._fetch(sql, (*found.where.values, most))[0][0])

    def _sorted(self, chosen: Drive | None, cursor: Cursor | None, limit: int) -> _Statement:
        if chosen is None:
            chosen = Drive(And(()), EVERY, EVERY, Sql("1"))
        compiler = self._compiler.beside(chosen.run)
        names = [f"k{place}" for place in range(len(self._order))]
        keys = [compiler.value(key.field) for key in self._order]
        # The rows of the index are those for which its condition holds.
        parts = tuple(part for part in self._parts if part is not chosen.part)
        return self._statement(
            chosen.source,
            [chosen.where, compiler.condition(And(parts)), _after(self._order, names, chosen.run, cursor)],
            list(zip(names, keys, strict=True)),
            _order_by(self._order, names, chosen.run),
            chosen.run,
            limit,
        )

    def _walked(self, walk: Walk, cursor: Cursor | None, limit: int) -> _Statement:
        compiler = self._compiler.beside(walk.tie)
        names = [walk.key if walk.holds else "NULL", *(f"k{place}" for place in range(1, len(self._order)))]
        keys = [Sql(walk.key), *(compiler.value(key.field) for key in self._order[1:])]
        parts = tuple(part for part in self._parts if not any(part is one for one in walk.parts))
        conditions = [walk.where, compiler.condition(And(parts))]
        if walk.holds is None:
            conditions.append(compiler.condition(Not(Exists(self._order[0].field))))
        return self._statement(
            walk.source,
            [*conditions, _after(self._order, names, walk.tie, cursor, known=True)],
            list(zip(["k0", *names[1:]], keys, strict=True)),
            _order_by(self._order, names, walk.tie, known=True),
            walk.tie,
            limit,
        )

    def _statement(
        self, source: str, where: Sequence[Sql], keys: Sequence[tuple[str, Sql]], order: str, tie: str, limit: int
    ) -> _Statement:
        selected = "".join(f", {sql.text} AS {name}" for name, sql in keys)
        conditions = " AND ".join(sql.text for sql in where if sql.text != "1") or "1"
        values = [value for sql in (*(sql for _, sql in keys), *where) for value in sql.values]
        # See filter_sql: nothing in here was written by a user.
        statement = f"SELECT {self._columns}{selected}, {tie} FROM {source} WHERE {conditions}"  # noqa: S608
        return f"{statement} ORDER BY {order} LIMIT ?", (*values, limit)


def _from(stretches: list[Walk], cursor: Cursor | None) -> list[Walk]:
    # A cursor is inside of one stretch: the former ones are done.
    if cursor is None:
        return stretches
    places = [place for place, walk in enumerate(stretches) if _holds(walk, cursor.keys[0])]
    return stretches[places[0] :] if places else []


def _holds(walk: Walk, value: Scalar | None) -> bool:
    if walk.holds is None or value is None:
        return walk.holds is None and value is None
    return isinstance(value, str) == (walk.holds is str)


def _order_by(order: tuple[Order, ...], names: Sequence[str], tie: str, *, known: bool = False) -> str:
    # `known`: the first key has a value in every row, or in none. What is missing sorts first in SQLite.
    if not order:
        return f"{tie} DESC"
    terms = []
    for place, (key, name) in enumerate(zip(order, names, strict=True)):
        if name != "NULL":
            last = "" if key.descending or (known and place == 0) else " NULLS LAST"
            terms.append(f"{name} {_direction(key)}{last}")
    return ", ".join([*terms, f"{tie} {_direction(order[-1])}"])


def _direction(key: Order) -> str:
    return "DESC" if key.descending else "ASC"


def _after(
    order: tuple[Order, ...], names: Sequence[str], tie: str, cursor: Cursor | None, *, known: bool = False
) -> Sql:
    """What is true of the rows behind the cursor."""
    if cursor is None:
        return Sql("1")
    if not order:
        return Sql(f"{tie} < ?", (cursor.tie,))
    beyond = "<" if order[-1].descending else ">"
    first = cursor.keys[0]
    if known and len(order) == 1 and first is not None:
        # The index can be searched for a pair.
        return Sql(f"({names[0]}, {tie}) {beyond} (?, ?)", (first, cursor.tie))
    sql = Sql(f"{tie} {beyond} ?", (cursor.tie,))
    for key, name, value in reversed(list(zip(order, names, cursor.keys, strict=True))):
        if value is None:
            sql = Sql(f"({name} IS NULL AND {sql.text})", sql.values)
        else:
            beyond = "<" if key.descending else ">"
            sql = Sql(
                f"({name} {beyond} ? OR {name} IS NULL OR ({name} = ? AND {sql.text}))", (value, value, *sql.values)
            )
    if known and first is not None:
        least = "<=" if order[0].descending else ">="
        sql = Sql(f"{names[0]} {least} ? AND {sql.text}", (first, *sql.values))
    return sql
