"""Ledgers of every released version: they open, prove themselves, read as they did, and are written the same."""

from __future__ import annotations

import gzip
import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
from make_ledger import finished_run, tables

from onrecord.ledger.audit import audit
from onrecord.ledger.events import REGISTRY
from onrecord.ledger.journal import Journal
from onrecord.ledger.schema import VERSION

GOLDEN = Path(__file__).parent / "golden"
sys.path.insert(0, str(GOLDEN))

from make_golden import build, reading  # noqa: E402

NAMES = sorted(path.stem for path in GOLDEN.glob("*.json"))


def expected(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text())
    return document


@pytest.fixture(params=NAMES)
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """The name of a golden ledger, and its file."""
    path = tmp_path / "ledger.db"
    path.write_bytes(gzip.decompress((GOLDEN / f"{request.param}.db.gz").read_bytes()))
    return request.param, path


def holds(today: Any, then: Any, where: str = "") -> None:
    """Everything that was read then is read today; an object may say more."""
    if isinstance(then, dict):
        assert isinstance(today, dict), where
        for key, value in then.items():
            assert key in today, f"{where}.{key}"
            holds(today[key], value, f"{where}.{key}")
    elif isinstance(then, list):
        assert isinstance(today, list), where
        assert len(today) == len(then), where
        for place, value in enumerate(then):
            holds(today[place], value, f"{where}[{place}]")
    else:
        assert today == then, where


def test_it_proves_itself_and_reads_as_it_did(golden: tuple[str, Path]) -> None:
    name, path = golden
    then = expected(name)
    del then["versions"]
    assert then["findings"] == []
    with Journal(path) as book:
        holds(reading(book), then)
        live = tables(book)
        book.rebuild()
        assert tables(book) == live


def test_it_is_brought_to_the_schema_of_today_and_written_on(golden: tuple[str, Path]) -> None:
    name, path = golden
    with Journal(path) as book:
        before = book.fetch("SELECT * FROM events ORDER BY seq")
        finished_run(book)
        assert book.fetch("PRAGMA user_version") == [(VERSION,)]
        assert book.fetch("SELECT * FROM events ORDER BY seq")[: len(before)] == before
        assert audit(book).findings == []
        assert [leaf.hex() for *_, leaf in before] == expected(name)["leaves"]


def test_it_can_be_read_where_it_cannot_be_written(golden: tuple[str, Path]) -> None:
    name, path = golden
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with Journal(path) as book:
        assert [one.type for one in book.read()] == [event["type"] for event in expected(name)["events"]]
        assert book.database.newer == 99


def test_the_code_of_today_writes_the_same_bytes(tmp_path: Path) -> None:
    then = expected(NAMES[-1])
    changed = {name for name, version in then["versions"].items() if REGISTRY[name].version != version}
    with build(tmp_path) as book:
        now = reading(book)
    # A seal is over all events of its run, so a run with an event of another version is left out whole.
    left_out = {event["run_id"] for event in then["events"] if event["type"] in changed}
    pairs = list(zip(now["events"], now["leaves"], then["events"], then["leaves"], strict=True))
    compared = [(now_leaf, then_leaf) for _, now_leaf, event, then_leaf in pairs if event["run_id"] not in left_out]
    assert [now_leaf for now_leaf, _ in compared] == [then_leaf for _, then_leaf in compared]
    assert len(compared) > len(pairs) / 2


def test_no_event_type_that_was_ever_written_has_gone() -> None:
    for name in NAMES:
        then = expected(name)
        assert set(then["versions"]) <= set(REGISTRY)
        assert {event["type"] for event in then["events"]} >= set(then["versions"])
        assert all(REGISTRY[kind].version >= version for kind, version in then["versions"].items())
