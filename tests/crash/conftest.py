"""A scene for each test, whose processes do not outlive it."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from crash_scene import Scene

if not sys.platform.startswith("linux"):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def make_scene(tmp_path: Path) -> Iterator[Callable[[], Scene]]:
    scenes: list[Scene] = []

    def make() -> Scene:
        scenes.append(Scene(tmp_path / f"scene_{len(scenes)}"))
        return scenes[-1]

    yield make
    for scene in scenes:
        scene.close()


@pytest.fixture
def scene(make_scene: Callable[[], Scene]) -> Scene:
    return make_scene()


@pytest.fixture
def chance() -> random.Random:
    """Randomness whose seed a failing test prints."""
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed {seed}")
    return random.Random(seed)


@pytest.fixture
def rounds(long_form: bool) -> Callable[[int, int], range]:
    """rounds(short, long): the rounds of a loop in the form that was asked for."""
    return lambda short, long: range(long if long_form else short)
