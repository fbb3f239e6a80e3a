"""An event class that changes reads what was stored under its earlier versions; nothing stored is rewritten."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import pytest
from make_ledger import finished_run, run_id, submitted, tables

from onrecord.ledger.audit import audit
from onrecord.ledger.codec import decode, encode
from onrecord.ledger.event import Upcaster
from onrecord.ledger.events import REGISTRY, RunMetrics, RunTagged, Unknown
from onrecord.ledger.journal import Journal
from onrecord.ledger.query import Query


def _named_removals(fields: dict[str, Any]) -> dict[str, Any]:
    return {"tags": fields["tags"], "gone": fields["removed"]}


def _with_author(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "removed": fields["gone"], "by": "unknown"}


def _without_a_name(fields: dict[str, Any]) -> dict[str, Any]:
    del fields["gone"]
    return fields


@attrs.frozen(kw_only=True)
class RunTaggedLater(RunTagged):
    """What `run.tagged` could be two versions from now."""

    version: ClassVar[int] = 3
    upcasters: ClassVar[dict[int, Upcaster]] = {
        1: _named_removals,
        2: lambda fields: _without_a_name(_with_author(fields)),
    }
    by: str


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> type[RunTagged]:
    """The registry of a later onrecord."""
    monkeypatch.setitem(REGISTRY, RunTagged.type, RunTaggedLater)
    return RunTaggedLater


def test_what_was_stored_under_version_1_reads_as_the_class_of_today(
    book: Journal, request: pytest.FixtureRequest
) -> None:
    run = finished_run(book)
    stored = book.fetch("SELECT payload, leaf FROM events WHERE type = 'run.tagged'")
    request.getfixturevalue("later")
    (tagged,) = [one.event for one in book.read(run) if one.type == RunTagged.type]
    assert tagged == RunTaggedLater(tags={"b": "2"}, removed=["a"], by="unknown")
    book.append(run, [RunTaggedLater(tags={"c": "3"}, by="ada")])
    assert Query(book).tags(run)[run] == {"b": "2", "c": "3"}
    live = tables(book)
    book.rebuild()
    assert tables(book) == live
    assert audit(book).findings == []
    assert book.fetch("SELECT payload, leaf FROM events WHERE type = 'run.tagged'")[:1] == stored


def test_an_onrecord_of_today_keeps_a_later_version_as_it_is(book: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    run = finished_run(book)
    with monkeypatch.context() as then:
        then.setitem(REGISTRY, RunTagged.type, RunTaggedLater)
        book.append(run, [RunTaggedLater(tags={"c": "3"}, by="ada")])
        payload = encode(RunTaggedLater(tags={"c": "3"}, by="ada"))[1]
    *_, last = book.read(run)
    assert last.event == Unknown("run.tagged", payload)
    assert Query(book).tags(run)[run] == {"b": "2"}
    assert audit(book).findings == []


def test_a_version_between_is_brought_forward_from_there(later: type[RunTagged]) -> None:
    payload = b'{"gone":["x"],"tags":{},"v":2}'
    assert decode("run.tagged", payload) == RunTaggedLater(removed=["x"], by="unknown")


@pytest.mark.parametrize(
    "payload",
    [
        b'{"tags":{},"v":1}',
        b'{"tags":{},"removed":7,"v":1}',
        b'{"tags":{},"removed":[],"v":true}',
        b'{"tags":{},"removed":[],"v":0}',
        b'{"tags":{},"removed":[],"v":-1}',
        b'{"tags":{},"removed":[],"v":1.0}',
        b'{"tags":{},"removed":[],"v":"1"}',
        b'{"tags":{},"removed":[],"v":4}',
        b'{"tags":{},"removed":[]}',
        b"[]",
    ],
)
def test_what_an_upcaster_was_not_made_for_stays_as_it_is(later: type[RunTagged], payload: bytes) -> None:
    assert decode("run.tagged", payload) == Unknown("run.tagged", payload)


def test_an_upcaster_gets_its_own_copy_of_what_was_stored(book: Journal, later: type[RunTagged]) -> None:
    run = run_id()
    book.append(run, [submitted()])
    book.append(run, [Unknown("run.tagged", b'{"removed":[],"tags":{"a":"1"},"v":1}')])
    first, second = ([one.event for one in book.read(run)][-1] for _ in range(2))
    assert first == second == RunTaggedLater(tags={"a": "1"}, by="unknown")


def test_every_class_reads_every_version_before_its_own() -> None:
    for name, kind in REGISTRY.items():
        # Chunks of points are packed: `chunk` itself reads every form of them.
        if kind is not RunMetrics:
            assert sorted(kind.upcasters) == list(range(1, kind.version)), name
