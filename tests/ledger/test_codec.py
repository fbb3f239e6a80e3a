"""Events to bytes and back."""

from __future__ import annotations

import enum
import json
import operator
import pickle
import typing
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_ledger import file, submitted

from onrecord.ledger.codec import _decoded, as_document, decode, encode
from onrecord.ledger.errors import BadEvent
from onrecord.ledger.event import field_names
from onrecord.ledger.events import REGISTRY, Erased, Event, RunMetrics, RunTagged, Unknown

# Also the low surrogates in which Python spells the bytes of a file name that is not UTF-8.
text = st.text(st.one_of(st.characters(), st.characters(categories=["Cs"], min_codepoint=0xDC80)), max_size=20)
int64 = st.integers(-(2**63), 2**63 - 1)
anything: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
STRATEGIES: dict[Any, st.SearchStrategy[Any]] = {
    str: text,
    int: int64,
    str | None: st.none() | text,
    bool: st.booleans(),
    int | None: st.none() | int64,
    list[int]: st.lists(int64, max_size=3),
    list[str]: st.lists(text, max_size=3),
    dict[str, str]: st.dictionaries(text, text, max_size=3),
    dict[str, int]: st.dictionaries(text, int64, max_size=3),
    dict[str, Any]: st.dictionaries(text, anything, max_size=3),
}


def _events(kind: type[Event]) -> st.SearchStrategy[Event]:
    hints = typing.get_type_hints(kind)
    return st.builds(kind, **{field.name: STRATEGIES[hints[field.name]] for field in attrs.fields(kind)})


json_events = st.one_of([_events(kind) for kind in REGISTRY.values() if kind is not RunMetrics])


@given(json_events, json_events)
def test_events_are_values_as_attrs_makes_them(one: Event, other: Event) -> None:
    def made_by_attrs(event: Event) -> Any:
        return attrs.make_class(type(event).__name__, list(field_names(type(event))), frozen=True)(**values(event))

    def values(event: Event) -> dict[str, Any]:
        return {name: getattr(event, name) for name in field_names(type(event))}

    assert repr(one) == repr(made_by_attrs(one))
    again = pickle.loads(pickle.dumps(one))  # noqa: S301
    assert again == one
    assert not operator.ne(again, one)
    assert (one == other) == (type(one) is type(other) and values(one) == values(other))
    assert one != made_by_attrs(one)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        one.anything = 1  # type: ignore[attr-defined]


def test_equal_events_have_one_hash_and_those_that_hold_lists_have_none() -> None:
    assert len({file(), attrs.evolve(file()), attrs.evolve(file(), size=7)}) == 2
    with pytest.raises(TypeError, match="unhashable"):
        hash(submitted())


def test_an_event_that_holds_itself_can_be_shown() -> None:
    config: dict[str, Any] = {}
    event = attrs.evolve(submitted(), config=config)
    config["itself"] = event
    assert "config={'itself': ...}" in repr(event)


@given(json_events)
def test_every_event_comes_back_as_it_was(event: Event) -> None:
    kind, payload = encode(event)
    assert decode(kind, payload) == event
    assert as_document(decode(kind, payload)) == as_document(event)


@given(json_events)
def test_equal_events_have_equal_ascii_bytes(event: Event) -> None:
    _, payload = encode(event)
    fields = {name: getattr(event, name) for name in attrs.fields_dict(type(event))}
    turned = {
        name: dict(reversed(value.items())) if isinstance(value, dict) else value for name, value in fields.items()
    }
    assert encode(type(event)(**turned))[1] == payload
    assert payload.isascii()
    assert json.dumps(json.loads(payload), sort_keys=True, separators=(",", ":")).encode() == payload


@given(json_events)
def test_the_bytes_are_those_of_json_with_sorted_keys(event: Event) -> None:
    fields = {name: getattr(event, name) for name in attrs.fields_dict(type(event))}
    document = json.dumps({**fields, "v": event.version}, sort_keys=True, separators=(",", ":"), allow_nan=False)
    assert encode(event) == (event.type, document.encode())


def test_a_refusal_names_the_field() -> None:
    with pytest.raises(BadEvent, match=r"its size cannot be 1\.5"):
        encode(attrs.evolve(file(), size=1.5))
    with pytest.raises(BadEvent, match=r"its tags cannot be \{'k': 1\}"):
        encode(submitted(tags={"k": 1}))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_cannot_spell_is_refused(number: float) -> None:
    with pytest.raises(BadEvent) as refusal:
        encode(submitted(config={"deep": [{"alpha": number}]}))
    assert refusal.value.event == "run.submitted"


_loop: list[Any] = []
_loop.append(_loop)
_deep: list[Any] = []
for _ in range(100_000):
    _deep = [_deep]


class Level(enum.IntEnum):
    HIGH = 2**40


@pytest.mark.parametrize(
    "event",
    [
        submitted(config={"x": b"bytes"}),
        submitted(config={"x": {1, 2}}),
        submitted(config={"x": {1: "a key that would come back as text"}}),
        submitted(config=_loop),
        submitted(config={"x": _loop}),
        submitted(config={"x": _deep}),
        submitted(experiment=None),
        submitted(tags={"k": 1}),
        submitted(tags={"k": None}),
        RunTagged(tags=["k"]),  # type: ignore[arg-type]
        RunTagged(removed="k"),  # type: ignore[arg-type]
        attrs.evolve(file(), size=2**63),
        attrs.evolve(file(), size=True),
        attrs.evolve(file(), size=1.5),
        Unknown("", b""),
        Unknown("x" * 65536, b""),
        Unknown("\udc80", b""),
    ],
    ids=lambda event: type(event).__name__,
)
def test_what_could_not_be_read_back_or_would_stop_the_read_models_is_refused(event: Event) -> None:
    with pytest.raises(BadEvent):
        encode(event)


def test_a_subclass_of_a_number_is_a_number() -> None:
    assert decode(*encode(attrs.evolve(file(), size=Level.HIGH))) == file().__class__(
        name="outputs/model", digest=file().digest, size=2**40
    )


@given(st.sampled_from([*REGISTRY, "run.from_the_future"]), st.binary(max_size=60))
def test_bytes_that_are_no_event_stay_what_they_are(kind: str, payload: bytes) -> None:
    event = decode(kind, payload)
    assert event == Unknown(kind, payload)
    assert encode(Unknown(kind, payload)) == (kind, payload)


@given(json_events, st.data())
def test_a_payload_of_a_later_version_or_with_other_fields_is_kept_and_not_guessed_at(
    event: Event, data: st.DataObject
) -> None:
    kind, payload = encode(event)
    fields = json.loads(payload)
    changed = data.draw(
        st.sampled_from(
            [{**fields, "v": 2}, {**fields, "v": "1"}, {**fields, "more": 1}, {"v": 1, "other": 2}, [fields]]
        )
    )
    other = json.dumps(changed).encode()
    assert decode(kind, other) == Unknown(kind, other)


def test_a_payload_whose_fields_have_other_types_is_not_taken_for_the_event() -> None:
    payload = b'{"v":1,"tags":5,"removed":[]}'
    assert decode("run.tagged", payload) == Unknown("run.tagged", payload)


def test_endless_nesting_in_a_payload_is_not_an_error() -> None:
    payload = b'{"v":1,"tags":' + b"[" * 200_000
    assert isinstance(decode("run.tagged", payload), Unknown)


def test_an_erased_payload_reads_as_erased() -> None:
    assert decode("run.tagged", None) == Erased("run.tagged")
    assert as_document(Erased("run.tagged")) == {"erased": True}
    assert as_document(Unknown("x", b"a\xff"))["payload"] == "a\\xff"


_odd = st.sampled_from([True, 1.0, 2**63, -(2**63) - 1, None, "", [], {}, ["a", 1], {"a": 1}, {"a": None}])


@given(st.data())
def test_the_quick_look_at_a_payload_gives_what_the_close_one_gives(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from([kind for kind in REGISTRY.values() if kind is not RunMetrics]))
    fields = json.loads(encode(data.draw(_events(kind)))[1])
    # Fields of other types, fields that are missing, and fields that nobody knows.
    for name in data.draw(st.lists(st.sampled_from([*fields, "_", "self", "more"]), max_size=2)):
        value = data.draw(_odd | anything)
        if value == "" and name in fields:
            del fields[name]
        else:
            fields[name] = value
    payload = json.dumps(fields).encode() + data.draw(st.sampled_from([b"", b" ", b"x"]))
    assert decode(kind.type, payload) == _decoded(kind.type, payload)


def test_events_share_nothing_that_was_missing_in_their_payloads() -> None:
    one, other = (decode("run.tagged", b'{"v":1}') for _ in range(2))
    assert isinstance(one, RunTagged)
    assert isinstance(other, RunTagged)
    assert one.tags is not other.tags
