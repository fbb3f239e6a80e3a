"""What all facts that the ledger can hold have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from reprlib import recursive_repr
from typing import Any, ClassVar

import attrs

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Event:
    """Base of all facts; fields hold only what JSON spells exactly (text, whole and finite numbers, lists)."""

    type: ClassVar[str]
    version: ClassVar[int] = 1
    # By the version that it reads; one for each version below this class's own.
    upcasters: ClassVar[Mapping[int, Upcaster]] = {}
    durable: ClassVar[bool] = True

    # Once for all classes, as attrs would make them for each: compiling those was half the time of importing this.
    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in field_names(type(self)))

    def __hash__(self) -> int:
        return hash((self.__class__, *[getattr(self, name) for name in field_names(type(self))]))

    @recursive_repr("...")
    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in field_names(type(self)))
        return f"{self.__class__.__qualname__}({fields})"


_names: dict[type[Event], tuple[str, ...]] = {}


def field_names(kind: type[Event]) -> tuple[str, ...]:
    """The names of the fields of a class of events, in the order in which it declares them."""
    names = _names.get(kind)
    if names is None:
        names = _names[kind] = tuple(field.name for field in attrs.fields(kind))
    return names
