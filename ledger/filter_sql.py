"""Conditions and fields of a filter as SQL over the row `r` of the table of runs.

Nothing that a user wrote is ever part of the SQL: names, values and patterns are all parameters, and what is
spelled out comes from the tables in here and in `filter_fields`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from onrecord.ledger.errors import BadFilter
from onrecord.ledger.filter_fields import COLUMNS, KEYED, MEASURES, RUN
from onrecord.ledger.filter_tree import (
    And,
    Compare,
    Exists,
    Field,
    Kin,
    Matches,
    Node,
    Not,
    OneOf,
    Or,
    Scalar,
    Words,
)
from onrecord.ledger.ids import LENGTH

# SQLite takes 32,766 parameters; some are needed beside the conditions.
MOST_PARAMETERS = 30_000
_OPERATORS = frozenset({"=", "<", "<=", ">", ">="})
_SEARCHED = ("name", "experiment", "script", "tags", "error", "description", "notes")


class Sql(NamedTuple):
    """A piece of SQL and the values of its parameters, in order."""

    text: str
    values: tuple[Scalar, ...] = ()


class Compiler:
    """Makes SQL of conditions.

    `find` gives the full id behind `@last` or the start of an id; `full_text` says whether the table `search` is
    a full-text index. `run` is the column that has the run's `seq`: where it is one of the index that is walked, a
    run is looked up only when the conditions on its metrics, params, tags and properties hold.
    """

    def __init__(self, find: Callable[[str], str], full_text: Callable[[], bool], run: str = "r.seq") -> None:
        self.find = find
        self.full_text = full_text
        self._this = f"e.run = {run} AND e.name = ?"
        self._run = run

    def beside(self, run: str) -> Compiler:
        """The same with the run's `seq` in another column."""
        return self if run == self._run else Compiler(self.find, self.full_text, run)

    def condition(self, node: Node) -> Sql:
        """An expression that is 1 or 0 of every run, never NULL. Raises BadFilter, UnknownRun, AmbiguousRun."""
        match node:
            case Not(part):
                inner = self.condition(part)
                return Sql(f"NOT {inner.text}", inner.values)
            case And(parts):
                return self._joined(" AND ", parts)
            case Or(parts):
                return self._joined(" OR ", parts)
            case Kin(side, run):
                return self._kin(side, run)
            case Words(text):
                return self._words(text)
            case _:
                return self._of_field(node)

    def value(self, field: Field) -> Sql:
        """The field's value of a run, NULL where it has none; of params a number where it is one, else text."""
        if field.table == "runs":
            return Sql(f"({COLUMNS[field.name].sql})")
        # Numbers sort before text.
        column = "coalesce(e.number, e.value)" if field.table == "params" else f"e.{_column_of_entry(field, '')}"
        return Sql(f"(SELECT {column} FROM {_entries(field)} WHERE {self._this})", (field.name,))  # noqa: S608

    def test(self, node: Compare | OneOf | Matches | Exists, alias: str) -> Sql:
        """The condition on one row of the field's table, without its name: what an index can be searched for."""
        match node:
            case Compare(field, operator, value):
                if operator not in _OPERATORS:
                    raise _impossible(f"there is no operator {operator!r}")
                return Sql(f"{self._column(field, value, alias)} {operator} ?", (self._whole(field, value),))
            case OneOf(field, values):
                return self._one_of(field, values, alias)
            case Matches(field, how, text):
                return _matches(self._column(field, text, alias), how, text, COLUMNS.get(field.name), field.table)
            case Exists(field):
                return Sql(f"{self._column(field, '', alias)} IS NOT NULL")

    def _joined(self, word: str, parts: Iterable[Node]) -> Sql:
        pieces = [self.condition(part) for part in parts]
        values = tuple(value for piece in pieces for value in piece.values)
        if len(values) > MOST_PARAMETERS:
            raise _impossible(f"it has more than {MOST_PARAMETERS:,} values")
        if not pieces:
            return Sql("1" if word == " AND " else "0")
        return Sql("(" + word.join(piece.text for piece in pieces) + ")", values)

    def _of_field(self, node: Compare | OneOf | Matches | Exists) -> Sql:
        field, test = node.field, self.test(node, "e")
        if field.table != "runs":
            where = f"{self._this} AND {test.text}"
            return Sql(f"EXISTS (SELECT 1 FROM {_entries(field)} WHERE {where})", (field.name, *test.values))  # noqa: S608
        if COLUMNS[field.name].nullable and not isinstance(node, Exists):
            return Sql(f"ifnull({test.text}, 0)", test.values)
        return Sql(f"({test.text})", test.values)

    def _column(self, field: Field, value: Scalar, alias: str) -> str:
        return f"({COLUMNS[field.name].sql})" if field.table == "runs" else f"{alias}.{_column_of_entry(field, value)}"

    def whole(self, run: str) -> str:
        """The full id of a run. A full one is taken as it is: the run may be known only as a parent."""
        return run if len(run) == LENGTH and not run.startswith("@") else self.find(run)

    def _whole(self, field: Field, value: Scalar) -> Scalar:
        # A run may be named in other ways than by its whole id.
        if field.table == "runs" and COLUMNS[field.name].kind == RUN and str(value).startswith("@"):
            return self.find(str(value))
        return value

    def _one_of(self, field: Field, values: tuple[Scalar, ...], alias: str) -> Sql:
        numbers = tuple(value for value in values if not isinstance(value, str))
        texts = tuple(value for value in values if isinstance(value, str))
        tests = [
            Sql(f"{self._column(field, group[0], alias)} IN ({', '.join('?' * len(group))})", group)
            for group in (numbers, texts)
            if group
        ]
        if not tests:
            return Sql("0")
        return Sql("(" + " OR ".join(test.text for test in tests) + ")", (*numbers, *texts))

    def _kin(self, side: str, run: str) -> Sql:
        this, other = ("descendant", "ancestor") if side == "descendant" else ("ancestor", "descendant")
        where = f"f.{this} = r.run_id AND f.{other} = ?"
        return Sql(f"EXISTS (SELECT 1 FROM families AS f WHERE {where})", (self.whole(run),))  # noqa: S608

    def _words(self, text: str) -> Sql:
        if self.full_text():
            return Sql(f"{self._run} IN (SELECT rowid FROM search WHERE search MATCH ?)", (phrase(text),))  # noqa: S608
        tests = " OR ".join(f"instr(lower({column}), ?)" for column in _SEARCHED)
        if not any(map(str.isalnum, text)):
            # No word is in it, so none is found, as with the index.
            return Sql("0")
        values = (lowered(text),) * len(_SEARCHED)
        return Sql(f"{self._run} IN (SELECT rowid FROM search WHERE {tests})", values)  # noqa: S608


def phrase(text: str) -> str:
    """The text as an FTS5 query: its words one after the other, the last one perhaps only begun."""
    return '"' + text.replace('"', '""') + '" *'


def lowered(text: str) -> str:
    """Lower case as SQLite makes it: ASCII letters only."""
    return "".join(character.lower() if character.isascii() else character for character in text)


def _entries(field: Field) -> str:
    if field.table not in KEYED:
        raise _impossible(f"there is no table {field.table!r}")
    return f"run_{field.table} AS e"


def _column_of_entry(field: Field, value: Scalar) -> str:
    # What a value of this type is compared with.
    if field.table != "metrics":
        return "number" if field.table == "params" and not isinstance(value, str) else "value"
    if field.measure not in MEASURES.values():
        raise _impossible(f"there is no measure {field.measure!r}")
    return field.measure


def _matches(column: str, how: str, text: str, known: object, table: str) -> Sql:
    if how == "contains":
        return Sql(f"instr(lower({column}), ?) > 0", (lowered(text),))
    if how == "like":
        return Sql(rf"{column} LIKE ? ESCAPE '\'", (_escaped(text),))
    if how != "starts":
        raise _impossible(f"there is no test {how!r}")
    if table == "runs" and getattr(known, "kind", "") == RUN:
        # As a range, so that an index can be used.
        return Sql(f"{column} BETWEEN ? AND ?", (text, text + "z" * (LENGTH - len(text))))
    return Sql(f"lower(substr({column}, 1, ?)) = ?", (len(text), lowered(text)))


def _escaped(pattern: str) -> str:
    # SQLite refuses a lone escape character at the end.
    return pattern + "\\" if (len(pattern) - len(pattern.rstrip("\\"))) % 2 else pattern


def _impossible(problem: str) -> BadFilter:
    return BadFilter(f"this filter cannot be answered: {problem}", filter="", position=0, problem=problem)
