"""What the fields of an event may hold, checked against the types that its class declares.

An event that is stored stays for ever, so a wrong type has to be refused before it is written: one tag
with a number for a value would stop the read models at that event, in every later session. The same
check keeps a payload of a stranger from being taken for an event that it only resembles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import attrs

_LEAST, _MOST = -(2**63), 2**63 - 1
_TEXT: frozenset[type[Any]] = frozenset({str})
Check = Callable[[Any], bool]
Reader = Callable[..., Any]
_checks: dict[type[Any], dict[str, tuple[frozenset[type[Any]], Check]]] = {}


def misfit(kind: type[Any], fields: Mapping[str, Any]) -> str | None:
    """The name of the first field of class `kind` whose value is not of its declared type, or None."""
    checks = _checks.get(kind)
    if checks is None:
        hints = get_type_hints(kind)
        checks = _checks[kind] = {
            field.name: (_fitting(hints[field.name]), check_of(hints[field.name])) for field in attrs.fields(kind)
        }
    for name, value in fields.items():
        # Every event that is read comes by here, and for most fields a look at the type is enough.
        fitting, check = checks[name]
        kind_of_value = type(value)
        if kind_of_value in fitting and (kind_of_value is not int or _LEAST <= value <= _MOST):
            continue
        if not check(value):
            return name
    return None


def reader_from_json(kind: type[Any]) -> Reader:
    """Makes an event of class `kind` from the fields that JSON gave, passed by name, with its version as `v`.

    None, or TypeError, for what is not in the usual shape and takes a closer look. A function of its own for the
    class, made from its source as attrs makes methods. Of RunPreparing: lambda *, v, attempt=attempt:
    _(attempt=attempt) if type(v) is int and v == 1 and type(attempt) is int and -2**63 <= attempt < 2**63 else None
    """
    hints, defaults, parameters = get_type_hints(kind), dict[str, Any](), ["v"]
    for field in attrs.fields(kind):
        if field.default is attrs.NOTHING:
            parameters.append(field.name)
        else:
            # What a factory makes is not shared between events: without it, the field takes a closer look.
            defaults[field.name] = object() if hasattr(field.default, "factory") else field.default
            parameters.append(f"{field.name}={field.name}")
    names = [field.name for field in attrs.fields(kind)]
    test = " and ".join([f"type(v) is int and v == {kind.version}", *(_source_of_check(n, hints[n]) for n in names)])
    made = ", ".join(f"{name}={name}" for name in names)
    # Nothing but the names of the class's own fields gets into the source.
    source = f"lambda *, {', '.join(parameters)}: _({made}) if {test} else None"
    reader: Reader = eval(source, {**defaults, "_": kind, "_TEXT": _TEXT, "is_int64": is_int64})  # noqa: S307
    return reader


def _source_of_check(name: str, hint: Any) -> str:
    # JSON has text keys only, so only the values of a dictionary are looked at.
    if isinstance(hint, UnionType) and type(None) in get_args(hint) and len(get_args(hint)) == 2:
        (held,) = (choice for choice in get_args(hint) if choice is not type(None))
        return f"({name} is None or {_source_of_check(name, held)})"
    if hint is str:
        return f"type({name}) is str"
    if hint is int:
        return f"type({name}) is int and {_LEAST} <= {name} <= {_MOST}"
    container = get_origin(hint)
    if container not in (dict, list):
        return "False"
    held, values = get_args(hint)[-1], f"{name}.values()" if container is dict else name
    is_container = f"type({name}) is {container.__name__}"
    if held is Any:
        return is_container
    if held is str:
        return f"{is_container} and (not {name} or {{*map(type, {values})}} <= _TEXT)"
    return f"{is_container} and all(map(is_int64, {values}))" if held is int else "False"


def is_int64(value: Any) -> bool:
    """Whether `value` is a whole number (True is not one) that SQLite can hold."""
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def _fitting(hint: Any) -> frozenset[type[Any]]:
    # Types of which every value is a fit, of whole numbers those with 64 bits.
    choices = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    return frozenset(choice for choice in choices if choice in (str, int, bool, float, type(None)))


def check_of(hint: Any) -> Check:
    """Whether a value is of the declared type `hint`, as a function of the value."""
    if isinstance(hint, UnionType):
        choices = [check_of(choice) for choice in get_args(hint)]
        return lambda value: any(choice(value) for choice in choices)
    if get_origin(hint) is dict:
        held = check_of(get_args(hint)[1])
        plain = _TEXT if get_args(hint)[1] is str else frozenset[type[Any]]()
        return lambda value: (
            isinstance(value, dict)
            and (
                {*map(type, value), *map(type, value.values())} <= plain
                or all(isinstance(key, str) and held(item) for key, item in value.items())
            )
        )
    if get_origin(hint) is list:
        element = check_of(get_args(hint)[0])
        return lambda value: isinstance(value, list | tuple) and all(map(element, value))
    if hint is Any:
        return _has_text_keys
    return is_int64 if hint is int else lambda value: isinstance(value, hint)


def _has_text_keys(value: Any) -> bool:
    # json writes the key 1 as "1": what is read back would not be what was recorded.
    if isinstance(value, dict):
        return all(isinstance(key, str) and _has_text_keys(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(_has_text_keys, value))
    return True
