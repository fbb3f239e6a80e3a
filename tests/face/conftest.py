"""Fixtures of the tests of the face."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

# face_make.py is also used by the tests of the command, under this one name.
sys.path.insert(0, str(Path(__file__).parent))

from face_make import clean_environment


@pytest.fixture(autouse=True)
def clean_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No variable of the machine or of another test changes what a test sees."""
    wanted = clean_environment(HOME=str(tmp_path_factory.mktemp("home")))
    for name in [name for name in os.environ if name not in wanted]:
        monkeypatch.delenv(name)
    for name, value in wanted.items():
        monkeypatch.setenv(name, value)
