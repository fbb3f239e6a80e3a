"""The power fails at any moment: what a disk may hold then, in thousands of forms, is a sound ledger."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from power_scene import Scene

# The long form has its own measure.
pytestmark = pytest.mark.timeout(1800)

CREATION = [["create", "create", "create"]]
LIFE = [["create"], ["mixed", "mixed", "mixed"], ["rebuild", "mixed"], ["read"], ["mixed"]]
LOOSE = [["create"], ["loose", "loose"], ["loose_and_left"], ["read"], ["loose"]]
BULK = [["create"], ["bulk", "bulk"], ["read"]]


@pytest.mark.parametrize(
    ("phases", "images", "every", "checkpoints"),
    [(LIFE, 240, 30, 10), (CREATION, 80, 30, 0), (LOOSE, 160, 30, 5), (BULK, 20, 2000, 2)],
    ids=["several processes", "creation", "events that are not durable", "checkpoints as they are"],
)
def test_what_was_acknowledged_outlives_a_power_failure(
    recorder: Path,
    quick_folder: Path,
    long_form: bool,
    phases: list[list[str]],
    images: int,
    every: int,
    checkpoints: int,
) -> None:
    for seed in range(20 if long_form else 1):
        record = Scene(recorder, quick_folder / f"scene{seed}", every=every, seed=seed * 100).play(phases)
        assert record.checkpoints() >= checkpoints
        assert record.violations(images, seed, quick_folder) == []


def test_what_was_acknowledged_after_a_power_failure_outlives_the_next(
    recorder: Path, quick_folder: Path, long_form: bool
) -> None:
    for seed in range(20 if long_form else 1):
        first = Scene(recorder, quick_folder / f"first{seed}", seed=seed * 100).play(LIFE[:2])
        dice = random.Random(seed)
        for number, cut in enumerate(first.cuts(4, dice)):
            left = first.image_at(cut, dice)
            scene = Scene(recorder, quick_folder / f"scene{seed}-{number}", seed=50)
            second = scene.play([["mixed", "mixed"], ["rebuild"]], left, first.acknowledged_before(cut))
            assert second.violations(30, seed, quick_folder) == []


def test_after_a_flush_that_failed_nothing_is_called_durable_that_is_not(
    recorder: Path, quick_folder: Path, long_form: bool
) -> None:
    # The kernel takes the pages of a failed flush for clean: the next one writes nothing of them and succeeds.
    for seed in range(20 if long_form else 2):
        record = Scene(recorder, quick_folder / f"scene{seed}", every=20, seed=seed).play([["failing_flushes"]])
        assert record.checkpoints() >= 2
        assert record.violations(50, seed, quick_folder) == []


@pytest.mark.parametrize(
    ("wrong", "phases", "images"),
    [
        ({"sabotage": "early"}, LIFE, 200),
        ({"sabotage": "off"}, LIFE, 60),
        ({"sabotage": "forget"}, [["failing_flushes"]], 60),
        ({"deaf": "database"}, LIFE, 60),
        ({"deaf": "all"}, CREATION, 60),
    ],
    ids=[
        "acknowledged before the flush",
        "synchronous=OFF",
        "a failed flush forgotten",
        "a database that is not flushed",
        "no flush at all",
    ],
)
def test_a_ledger_that_is_careless_with_the_disk_is_caught(
    recorder: Path, quick_folder: Path, wrong: dict[str, str], phases: list[list[str]], images: int
) -> None:
    record = Scene(recorder, quick_folder / "scene", **wrong).play(phases)  # type: ignore[arg-type]
    found = record.violations(images, 1, quick_folder)
    assert found
    if wrong != {"deaf": "database"}:
        assert any("were acknowledged as durable" in violation for violation in found)
