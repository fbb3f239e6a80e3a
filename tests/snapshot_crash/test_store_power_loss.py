"""The power fails at any moment of a put, a sweep, a removal or a transfer: nothing that was promised is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from store_scene import Scene

# The long form has its own measure.
pytestmark = pytest.mark.timeout(1800)

SCENES: dict[str, tuple[list[list[str]], int]] = {
    "creation": ([["create", "create"]], 60),
    "writers": ([["create"], ["put", "put", "put"], ["put"]], 80),
    "sweeps beside writers": ([["put"], ["collect", "put"], ["collect"]], 100),
    "removals": ([["put"], ["remove"], ["remove"]], 80),
    "transfers": ([["create"], ["send", "receive"], ["send"]], 60),
}


@pytest.mark.parametrize("name", SCENES)
def test_what_was_promised_outlives_a_power_failure(
    recorder: Path, quick_folder: Path, long_form: bool, name: str
) -> None:
    phases, images = SCENES[name]
    for seed in range(10 if long_form else 1):
        record = Scene(recorder, quick_folder / f"scene{seed}", seed=seed * 100).play(phases)
        assert record.violations(images * (3 if long_form else 1), seed, quick_folder) == []


@pytest.mark.parametrize(
    ("wrong", "scene", "said"),
    [
        ({"deaf": "file"}, "writers", ("hash", "cut short", "gone")),
        ({"deaf": "folder"}, "writers", ("gone", "not known")),
        ({"deaf": "all"}, "creation", ("not known",)),
        ({"sabotage": "late"}, "writers", ("gone",)),
        ({"sabotage": "off"}, "writers", ("not known",)),
        ({"sabotage": "unlink"}, "removals", ("gone",)),
        ({"deaf": "file"}, "transfers", ("damaged", "hash", "not there", "cut short", "gone")),
        ({"sabotage": "order"}, "transfers", ("without what it names",)),
    ],
    ids=[
        "a pack that is not flushed",
        "a folder that is not flushed",
        "no flush at all",
        "the index before the rename",
        "synchronous=OFF",
        "unlinked before the commit",
        "a sent pack that is not flushed",
        "listings before what they name",
    ],
)
def test_a_store_that_is_careless_with_the_disk_is_caught(
    recorder: Path, quick_folder: Path, wrong: dict[str, str], scene: str, said: tuple[str, ...]
) -> None:
    phases, images = SCENES[scene]
    record = Scene(recorder, quick_folder / "scene", **wrong).play(phases)  # type: ignore[arg-type]
    found = record.violations(2 * images, 1, quick_folder, most=12)
    assert found
    assert any(word in violation for violation in found for word in said), found[:5]
