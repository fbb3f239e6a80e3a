"""The values in a filter: what a word or a quoted text means beside a field of some kind."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from onrecord.ledger.arguments import number
from onrecord.ledger.errors import BadRunId
from onrecord.ledger.filter_fields import ANY, FLAG, NUMBER, RUN, SPAN, STATUS, TEXT, TIME, kind_of
from onrecord.ledger.filter_lexer import Token, complaint
from onrecord.ledger.filter_tree import And, Compare, Field, Matches, Node, Not, Scalar
from onrecord.ledger.filter_values import moment, span
from onrecord.ledger.ids import LENGTH, clean_prefix
from onrecord.ledger.states import ALL_STATES, NOT_RESPONDING

_INFINITE = {"inf": float("inf"), "+inf": float("inf"), "-inf": float("-inf")}
# What ends a condition cannot be a value unless it is quoted: a forgotten value must not read as one.
_RESERVED = frozenset({"and", "or", "not", "order", "limit", "in", "is"})


def closest(word: str, words: Iterable[str]) -> str | None:
    """The word that was probably meant, or None."""
    # Only for messages, and costly to import.
    from difflib import get_close_matches

    near = get_close_matches(word.lower(), list(words), 1)
    return near[0] if near else None


class Operands:
    """Reads the values of one filter; `now` in microseconds since the epoch."""

    def __init__(self, filter_text: str, now: int) -> None:
        self._filter = filter_text
        self._now = now

    def _fail(self, token: Token, problem: str, why: str = "", next_step: str = "") -> NoReturn:
        raise complaint(self._filter, token.start, problem, why, next_step)

    def text(self, token: Token) -> str:
        """The text of a quoted token or a word."""
        if token.kind not in ("text", "word") or token.keyword in _RESERVED:
            self._fail(token, "here must be a value", 'text is written "…", a number as it is')
        return token.value

    def check_text(self, field: Field, token: Token) -> None:
        """Refuse to look for text in what is none."""
        kind = kind_of(field)
        if kind not in (TEXT, ANY, RUN, STATUS):
            self._fail(token, f"{token.keyword} looks into text, and this field is a {kind}", next_step="= < <= > >=")

    def run(self, token: Token) -> str:
        """A run's id, the start of one, `@last` or `@best:METRIC`."""
        text = self.text(token)
        if text.startswith("@"):
            return text
        try:
            return clean_prefix(text)
        except BadRunId as problem:
            self._fail(token, problem.what, problem.why)

    def compared(self, field: Field, operator: Token, token: Token) -> Node:
        """The comparison of `field` with the value that `token` says."""
        if operator.value == "!=":
            return Not(self.compared(field, operator._replace(value="="), token))
        kind, text = kind_of(field), self.text(token)
        if kind == TIME:
            return _within(field, operator.value, *self._moment(token))
        if kind in (STATUS, RUN, FLAG) and operator.value != "=":
            self._fail(
                operator, f"a {kind} is equal or not: '{operator.value}' does not apply", next_step="= or !=, in (…)"
            )
        if kind == RUN:
            run = self.run(token)
            whole = len(run) == LENGTH or run.startswith("@")
            return Compare(field, "=", run) if whole else Matches(field, "starts", run)
        return Compare(field, operator.value, self._scalar(kind, token, text))

    def _scalar(self, kind: str, token: Token, text: str) -> Scalar:
        if kind == STATUS:
            return self._status(token)
        if kind == FLAG:
            return self._flag(token)
        if kind == NUMBER:
            return self._number(token)
        if kind == SPAN:
            length = span(text)
            if length is None:
                self._fail(token, f"'{text}' is not a duration", "a duration is written 90s, 1h30m or 2d")
            return length
        if kind == ANY and token.kind == "word":
            value = number(text)
            return text if value is None else value
        return text

    def _number(self, token: Token) -> Scalar:
        value = number(token.value) if token.kind == "word" else None
        if value is None:
            value = _INFINITE.get(token.keyword)
        if value is None:
            self._fail(token, f"'{token.value}' is not a number", "this field holds numbers: 3, -0.5, 1e-3, inf")
        return value

    def _flag(self, token: Token) -> int:
        if token.value.lower() not in ("true", "false"):
            self._fail(token, f"'{token.value}' is neither true nor false", next_step="true or false")
        return int(token.value.lower() == "true")

    def _status(self, token: Token) -> str:
        wanted = token.value.lower().replace("_", "").replace("-", "")
        known = {state.lower(): state for state in ALL_STATES}
        if wanted in known:
            return known[wanted]
        if wanted == NOT_RESPONDING.lower():
            self._fail(
                token, f"{NOT_RESPONDING} is not stored", "it is what an unfinished run without a conductor looks like"
            )
        near = closest(wanted, known)
        hint = f"did you mean '{known[near]}'?" if near else f"a run is {', '.join(ALL_STATES)}"
        return self._fail(token, f"there is no status '{token.value}'", hint)

    def _moment(self, token: Token) -> tuple[int, int]:
        text = token.value
        if text.lower() == "now":
            return self._now, self._now + 1
        age = span(text.removesuffix("ago").strip())
        if age is not None and text.endswith("ago"):
            return self._now - age, self._now - age + 1
        if age is not None:
            self._fail(token, f"'{text}' is a duration, and this field a time", next_step=f"{text} ago")
        found = moment(text)
        if found is None:
            self._fail(
                token,
                f"'{text}' is not a time",
                "a time is written 2026-01-31, 2026-01-31T12:00, 2026-01-31T12:00Z, 7d ago or now",
            )
        return found


def _within(field: Field, operator: str, first: int, after: int) -> Node:
    # A day is all its moments: later than it is after its end, equal to it is inside.
    if operator == "=":
        return And((Compare(field, ">=", first), Compare(field, "<", after)))
    if operator in (">", ">="):
        return Compare(field, ">=", after if operator == ">" else first)
    return Compare(field, "<", first if operator == "<" else after)
