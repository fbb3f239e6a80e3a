"""Events as JSON, each field checked against its declared type in the step that writes it.

What a class looks like is worked out once. The bytes are those of `json` with sorted keys, no blanks and
only ASCII; a file event costs a sixth of what a check of its fields and `json.dumps` cost.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from json.encoder import encode_basestring_ascii as _quoted
from types import UnionType
from typing import Any, get_args, get_type_hints

import attrs

from onrecord.ledger.events import Event
from onrecord.ledger.shapes import Check, check_of, is_int64, misfit

_LEAST, _GREATEST = -(2**63), 2**63 - 1
Speller = Callable[[Any], str]
_dumps = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode
_spellings: dict[type[Event], Callable[[Event], str]] = {}


def spelled(event: Event) -> str:
    """The JSON of an event's fields and its version. Raises TypeError and ValueError for what does not fit."""
    kind = type(event)
    spell = _spellings.get(kind) or _learned(kind)
    try:
        return spell(event)
    except TypeError:
        fields = {field.name: getattr(event, field.name) for field in attrs.fields(kind)}
        wrong = misfit(kind, fields)
        if wrong is None:
            raise
        raise TypeError(f"its {wrong} cannot be {fields[wrong]!r}") from None


def _learned(kind: type[Event]) -> Callable[[Event], str]:
    """A function of its own for the class, made from its source as attrs makes methods: half the cost of a loop.

    Of RunTagged: lambda _: f'{{"removed":{removed(_.removed)},"tags":{tags(_.tags)},"v":1}}'
    """
    hints = get_type_hints(kind)
    spellers = {field.name: _speller_of(hints[field.name]) for field in attrs.fields(kind)}
    parts = {name: f"{{{name}(_.{name})}}" for name in spellers} | {"v": str(kind.version)}
    body = ",".join(f'"{name}":{parts[name]}' for name in sorted(parts))
    # Nothing but the names of the class's own fields gets into the source.
    learned: Callable[[Event], str] = eval(f"lambda _: f'{{{{{body}}}}}'", spellers)  # noqa: S307
    _spellings[kind] = learned
    return learned


def _speller_of(hint: Any) -> Speller:
    if hint is str:
        return _quoted  # raises TypeError for anything else
    if hint is int:
        return _spelled_int
    if isinstance(hint, UnionType) and len(get_args(hint)) == 2 and type(None) in get_args(hint):
        (held,) = (_speller_of(choice) for choice in get_args(hint) if choice is not type(None))
        return lambda value: "null" if value is None else held(value)
    if hint == dict[str, str]:
        return _spelled_texts
    if hint == list[str]:
        return _spelled_list
    return _checked(check_of(hint))


def _spelled_texts(value: Any) -> str:
    if not isinstance(value, dict):
        raise TypeError
    return "{" + ",".join([f"{_quoted(name)}:{_quoted(text)}" for name, text in sorted(value.items())]) + "}"


def _spelled_list(value: Any) -> str:
    if not isinstance(value, list | tuple):
        raise TypeError
    return "[" + ",".join(map(_quoted, value)) + "]"


def _spelled_int(value: Any) -> str:
    if type(value) is int and _LEAST <= value <= _GREATEST:
        return repr(value)
    if not is_int64(value):
        raise TypeError
    return int.__repr__(value)  # an enumeration's number


def _checked(check: Check) -> Speller:
    def spell(value: Any) -> str:
        if not check(value):
            raise TypeError
        return _dumps(value)

    return spell
