"""Events as JSON, each field checked against its declared type in the step that writes it.

What a class looks like is worked out once. The bytes are those of `json` with sorted keys, no blanks and
only ASCII; a file event costs a third of what a check and `json.dumps` of its fields cost.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from json.encoder import encode_basestring_ascii
from types import UnionType
from typing import Any, get_args, get_type_hints

import attrs

from onrecord.ledger.events import Event
from onrecord.ledger.shapes import Check, check_of, is_int64, misfit

Speller = Callable[[Any], str]
_dumps = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode
_spellings: dict[type[Event], tuple[str, list[tuple[str, Speller]]]] = {}


def spelled(event: Event) -> str:
    """The JSON of an event's fields and its version. Raises TypeError and ValueError for what does not fit."""
    kind = type(event)
    template, fields = _spellings.get(kind) or _learned(kind)
    try:
        return template % tuple([spell(getattr(event, name)) for name, spell in fields])
    except TypeError:
        wrong = misfit(kind, {name: getattr(event, name) for name, _ in fields})
        if wrong is None:
            raise
        raise TypeError(f"its {wrong} cannot be {getattr(event, wrong)!r}") from None


def _learned(kind: type[Event]) -> tuple[str, list[tuple[str, Speller]]]:
    hints = get_type_hints(kind)
    spellers = {field.name: _speller_of(hints[field.name]) for field in attrs.fields(kind)}
    values = {**dict.fromkeys(spellers, "%s"), "v": str(kind.version)}
    template = "{" + ",".join(f'"{name}":{values[name]}' for name in sorted(values)) + "}"
    learned = _spellings[kind] = template, sorted(spellers.items())
    return learned


def _speller_of(hint: Any) -> Speller:
    if hint is str:
        return encode_basestring_ascii  # raises TypeError for anything else
    if hint is int:
        return _spelled_int
    if isinstance(hint, UnionType) and len(get_args(hint)) == 2 and type(None) in get_args(hint):
        (held,) = (_speller_of(choice) for choice in get_args(hint) if choice is not type(None))
        return lambda value: "null" if value is None else held(value)
    return _checked(check_of(hint))


def _spelled_int(value: Any) -> str:
    if not is_int64(value):
        raise TypeError
    return int.__repr__(value)


def _checked(check: Check) -> Speller:
    def spell(value: Any) -> str:
        if not check(value):
            raise TypeError
        return _dumps(value)

    return spell
