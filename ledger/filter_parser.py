"""The filter language: its grammar, read by recursive descent.

    filter    = [ either ] [ "order by" key { "," key } ] [ "limit" NUMBER ]
    either    = both { "or" both }            both = single { "and" single }
    single    = "not" single | "(" either ")" | words | kin | field test
    words     = ( "text" | "~" ) TEXT         kin = ( "descendant" | "ancestor" ) "of" RUN
    test      = ( "=" | "!=" | "<" | "<=" | ">" | ">=" ) VALUE
              | [ "not" ] "in" "(" VALUE { "," VALUE } ")" | [ "not" ] ( "contains" | "like" | "starts with" ) TEXT
              | [ "not" ] "exists" | "is" [ "not" ] "null"
    field     = COLUMN | ( "metrics" | "params" | "tags" | "properties" ) "." NAME | MEASURE "(" metrics.NAME ")"
    key       = field [ "asc" | "desc" ]

NAME goes to the next blank or operator, dots and all, or is quoted: metrics."val loss".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, NoReturn

from onrecord.ledger.filter_fields import COLUMNS, KEYED, MEASURES, RUN, SYNONYMS, TIME, kind_of
from onrecord.ledger.filter_lexer import Token, complaint, tokens
from onrecord.ledger.filter_operands import Operands, closest
from onrecord.ledger.filter_tree import (
    And,
    Compare,
    Exists,
    Field,
    Filter,
    Kin,
    Matches,
    Node,
    Not,
    OneOf,
    Or,
    Order,
    Words,
)

# The stack of SQLite's own parser holds 100 symbols, and each level takes up to four.
DEEPEST = 20
MOST_CONDITIONS = 300
MOST_VALUES = 1000
MOST_KEYS = 8


def parse(text: str, now: int) -> Filter:
    """The filter that `text` says at the time `now` (microseconds since the epoch). Raises BadFilter."""
    return _Parser(text, now).whole()


def parse_fields(text: str) -> list[tuple[str, Field]]:
    """The fields in a list parted by commas, each with its spelling. Raises BadFilter."""
    return _Parser(text, 0).fields()


class _Heard(NamedTuple):
    field: Field
    token: Token


class _Parser:
    """One reading of one text."""

    def __init__(self, text: str, now: int) -> None:
        self._text = text
        self._tokens = tokens(text)
        self._place = 0
        self._depth = 0
        self._conditions = 0
        self._operands = Operands(text, now)

    @property
    def _token(self) -> Token:
        return self._tokens[self._place]

    def _take(self) -> Token:
        token = self._token
        self._place = min(self._place + 1, len(self._tokens) - 1)
        return token

    def _takes(self, *keywords: str) -> bool:
        # All of the keywords, one after the other, or none.
        ahead = self._tokens[self._place : self._place + len(keywords)]
        if [token.keyword for token in ahead] != list(keywords):
            return False
        self._place += len(keywords)
        return True

    def _fail(self, token: Token, problem: str, why: str = "", next_step: str = "") -> NoReturn:
        raise complaint(self._text, token.start, problem, why, next_step)

    def _expect(self, kind: str, where: str) -> Token:
        if self._token.kind != kind:
            self._fail(self._token, f"here must be '{kind}'", where)
        return self._take()

    def whole(self) -> Filter:
        """The filter, to the end of the text."""
        where: Node | None = None
        if self._token.kind != "end" and self._token.keyword not in ("order", "limit"):
            where = self._either()
        order = self._order() if self._takes("order", "by") else ()
        limit = self._limit() if self._takes("limit") else None
        if self._token.kind != "end":
            self._fail(
                self._token,
                f"'{self._token.value}' is not expected here",
                "conditions are joined by and, or; then may come: order by FIELD [desc], limit NUMBER",
            )
        return Filter(where, order, limit)

    def fields(self) -> list[tuple[str, Field]]:
        """The fields, to the end of the text."""
        found = []
        while True:
            heard = self._field()
            found.append((self._text[heard.token.start : heard.token.end], heard.field))
            if self._token.kind == "end":
                return found
            self._expect(",", "fields are parted by commas: metrics.loss,params.alpha")

    def _either(self) -> Node:
        return self._joined("or", self._both, Or)

    def _both(self) -> Node:
        return self._joined("and", self._single, And)

    def _joined(self, keyword: str, part: Callable[[], Node], join: type[And] | type[Or]) -> Node:
        parts = [part()]
        while self._takes(keyword):
            parts.append(part())
        return parts[0] if len(parts) == 1 else join(tuple(parts))

    def _single(self) -> Node:
        token = self._token
        self._depth += 1
        if self._depth > DEEPEST:
            self._fail(token, "the filter is nested too deeply", f"{DEEPEST} levels are possible")
        try:
            if self._takes("not"):
                return Not(self._single())
            if token.kind == "(":
                self._take()
                inner = self._either()
                self._expect(")", f"it closes the ( at character {token.start + 1}")
                return inner
            return self._condition()
        finally:
            self._depth -= 1

    def _condition(self) -> Node:
        token, following = self._token, self._tokens[min(self._place + 1, len(self._tokens) - 1)]
        self._conditions += 1
        if self._conditions > MOST_CONDITIONS:
            self._fail(
                token, "the filter has too many conditions", f"it may have {MOST_CONDITIONS}; in (…) counts as one"
            )
        if (token.value == "~" and token.kind == "operator") or (
            token.keyword == "text" and following.kind != "operator"
        ):
            self._take()
            return Words(self._operands.text(self._take()))
        if token.keyword in ("descendant", "ancestor") and following.keyword == "of":
            self._place += 2
            return Kin(token.keyword, self._operands.run(self._take()))
        return self._test(self._field())

    def _test(self, heard: _Heard) -> Node:
        field, token = heard.field, self._take()
        if token.kind == "operator" and token.value != "~":
            return self._operands.compared(field, token, self._value())
        if token.keyword == "not" and self._token.keyword in ("in", "contains", "like", "starts", "exists"):
            return Not(self._test(heard))
        if token.keyword == "is":
            negated = self._takes("not")
            if not self._takes("null"):
                self._fail(self._token, "here must be 'null'", "the test is: is null, or: is not null")
            return Exists(field) if negated else Not(Exists(field))
        if token.keyword == "exists":
            return Exists(field)
        if token.keyword == "in":
            return self._one_of(field)
        if token.keyword in ("contains", "like") or (token.keyword == "starts" and self._takes("with")):
            self._operands.check_text(field, token)
            return Matches(field, token.keyword, self._operands.text(self._take()))
        spelled = self._text[heard.token.start : heard.token.end]
        return self._fail(
            token,
            f"a comparison of {spelled} must follow",
            "there are = != < <= > >= in (…) contains, like, starts with, exists, is null",
        )

    def _one_of(self, field: Field) -> Node:
        self._expect("(", "the form is: in (VALUE, VALUE)")
        equal = Token("operator", "=", self._token.start, self._token.start)
        parts = [self._operands.compared(field, equal, self._value())]
        while self._token.kind == ",":
            self._take()
            if len(parts) == MOST_VALUES:
                self._fail(self._token, "these are too many values", f"there may be {MOST_VALUES:,}")
            parts.append(self._operands.compared(field, equal, self._value()))
        self._expect(")", "values are parted by commas: in (VALUE, VALUE)")
        if kind_of(field) in (TIME, RUN):
            # Of these a value may mean a range.
            if len(parts) > MOST_CONDITIONS:
                self._fail(self._token, "these are too many values", f"of {field.name} there may be {MOST_CONDITIONS}")
            return parts[0] if len(parts) == 1 else Or(tuple(parts))
        return OneOf(field, tuple(part.value for part in parts if isinstance(part, Compare)))

    def _value(self) -> Token:
        token = self._take()
        if token.kind == "word" and self._token.keyword == "ago":
            return Token("word", f"{token.value} ago", token.start, self._take().end)
        return token

    def _field(self) -> _Heard:
        token = self._take()
        if token.kind == "word" and self._token.kind == "(" and token.keyword in MEASURES:
            self._take()
            inner = self._field()
            if inner.field.table != "metrics":
                self._fail(
                    inner.token, f"{token.keyword}(…) needs a metric", f"for example {token.keyword}(metrics.loss)"
                )
            end = self._expect(")", f"the form is: {token.keyword}(metrics.NAME)")
            field = Field("metrics", inner.field.name, MEASURES[token.keyword])
            return _Heard(field, Token("word", token.value, token.start, end.end))
        if token.kind != "word":
            self._fail(token, "here must be a field", "for example status, metrics.loss, params.alpha or tags.team")
        table, dot, name = token.value.partition(".")
        if dot and table.lower() in KEYED:
            return self._entry(token, table.lower(), name)
        known = SYNONYMS.get(token.keyword, token.keyword)
        if known not in COLUMNS:
            self._unknown(token)
        return _Heard(Field("runs", known), token)

    def _entry(self, token: Token, table: str, name: str) -> _Heard:
        if not name and self._token.kind == "text" and self._token.start == token.end:
            quoted = self._take()
            name, token = quoted.value, Token("word", token.value, token.start, quoted.end)
        if not name:
            self._fail(token, f"here must be a name after '{table}.'", next_step=f'{table}.NAME or {table}."any name"')
        return _Heard(Field(table, name, "last" if table == "metrics" else ""), token)

    def _unknown(self, token: Token) -> NoReturn:
        known = [*COLUMNS, *(f"{table}.NAME" for table in KEYED)]
        head, dot, rest = token.value.partition(".")
        near = closest(head, [*KEYED, *COLUMNS]) if dot else closest(token.value, [*COLUMNS, *SYNONYMS])
        if near and dot:
            near += f".{rest}" if near in KEYED else ""
        hint = f"did you mean '{near}'?" if near else "fields are " + ", ".join(known)
        self._fail(token, f"there is no field '{token.value}'", hint)

    def _order(self) -> tuple[Order, ...]:
        keys = [self._key()]
        while self._token.kind == ",":
            self._take()
            keys.append(self._key())
        if len(keys) > MOST_KEYS:
            self._fail(self._token, "the order has too many keys", f"it may have {MOST_KEYS}")
        return tuple(keys)

    def _key(self) -> Order:
        field = self._field().field
        descending = self._takes("desc")
        if not descending:
            self._takes("asc")
        return Order(field, descending)

    def _limit(self) -> int:
        token = self._take()
        if not (token.value.isascii() and token.value.isdigit()) or not 0 < int(token.value[:9]) <= 10**8:
            self._fail(token, "here must be a whole number from 1", "the form is: limit 20")
        return int(token.value[:9])
