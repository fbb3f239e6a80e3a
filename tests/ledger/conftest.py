"""Fixtures of the ledger's tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# make_ledger.py is also used by the processes that the tests start, under this one name.
sys.path.insert(0, str(Path(__file__).parent))

from onrecord.ledger.journal import Journal


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Journal]:
    """An empty ledger."""
    with Journal(tmp_path / "ledger.db") as journal:
        yield journal
