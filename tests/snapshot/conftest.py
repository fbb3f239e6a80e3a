from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from remote_places import object_store as object_store
from remote_places import other_host as other_host
from remote_places import place as place

from onrecord.snapshot.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "objects") as store:
        yield store


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder
