"""A filter's text to its tokens, each with its place.

A word is anything up to a blank, a quote, a parenthesis, a comma or an operator: what it means (a field, a
keyword, a number, a date, a run's id) only its place in the filter tells.
"""

from __future__ import annotations

from typing import NamedTuple

from onrecord.ledger.errors import BadFilter
from onrecord.ledger.text import storable

# Longer than people write; every condition costs SQLite some of its stack.
LONGEST = 20_000

_OPERATORS = ("<=", ">=", "!=", "==", "<>", "=", "<", ">", "~")
_SINGLE = "(),"
_SPECIAL = frozenset("\"'`()<>=!~,")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


class Token(NamedTuple):
    """`kind`: word, text (it was quoted), operator, ( ) , or end. `start` and `end` count characters from 0."""

    kind: str
    value: str
    start: int
    end: int

    @property
    def keyword(self) -> str:
        """The word in lower case; empty for what is not a word."""
        return self.value.lower() if self.kind == "word" else ""


def tokens(text: str) -> list[Token]:
    """The tokens, the last one an `end`. Raises BadFilter."""
    if len(text) > LONGEST:
        raise complaint(text, LONGEST, "the filter is too long", f"it may have {LONGEST:,} characters")
    if "\0" in text:
        raise complaint(text, text.index("\0"), "a filter cannot hold the character NUL")
    found, place = list[Token](), 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        found.append(_next(text, place))
        place = found[-1].end
    found.append(Token("end", "", len(text), len(text)))
    return found


def quoted(text: str) -> str:
    r"""`text` as a filter writes it, for names and values that vary: f"tags.{quoted(name)} = {quoted(value)}".

    >>> quoted('val "loss"')
    '"val \\"loss\\""'
    """
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def complaint(text: str, place: int, problem: str, why: str = "", next_step: str = "") -> BadFilter:
    """The error that points at the character `place` of the filter."""
    begin = text.rfind("\n", 0, place) + 1
    end = text.find("\n", place)
    line = text[begin : len(text) if end < 0 else end]
    column = place - begin
    # A long line is shown around the place.
    cut = max(0, column - 60)
    shown = "".join(character if character.isprintable() else " " for character in line[cut : cut + 100])
    shown = shown.encode("utf-8", "replace").decode()
    return BadFilter(
        f"{problem}\n    {shown}\n    {' ' * (column - cut)}^",
        why=why,
        next_step=next_step,
        filter=text,
        position=place,
        problem=problem,
    )


def _next(text: str, place: int) -> Token:
    character = text[place]
    if character in "\"'":
        return _quoted(text, place)
    if character in _SINGLE:
        return Token(character, character, place, place + 1)
    for operator in _OPERATORS:
        if text.startswith(operator, place):
            name = {"==": "=", "<>": "!="}.get(operator, operator)
            return Token("operator", name, place, place + len(operator))
    end = place
    while end < len(text) and text[end] not in _SPECIAL and not text[end].isspace():
        end += 1
    if end == place:
        raise complaint(text, place, f"'{character}' means nothing here", next_step='quote text: "…"')
    return Token("word", storable(text[place:end]), place, end)


def _quoted(text: str, place: int) -> Token:
    quote, parts, end = text[place], list[str](), place + 1
    while end < len(text) and text[end] != quote:
        if text[end] == "\\" and end + 1 < len(text):
            end += 1
            parts.append(_ESCAPES.get(text[end], text[end]))
        else:
            parts.append(text[end])
        end += 1
    if end >= len(text):
        raise complaint(text, place, "this text has no end", f"it needs a second {quote}")
    return Token("text", storable("".join(parts)), place, end + 1)
