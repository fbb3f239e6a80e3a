"""kill -9 of the conductor while it takes a run's files in, and while it gives their copies up: nothing is lost."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable

from crash_scene import HERE, Scene, kill, until


def begin(scene: Scene, small: int, large: int) -> None:
    shutil.copy(HERE / "producer.py", scene.source)
    scene.begin(scene.outside, small, large, script="producer.py")
    scene.submitted()
    scene.conductor_is_known()


def large_files(scene: Scene) -> int:
    return sum(path.name.startswith("large_") for path in (scene.control / "work/outputs").iterdir())


def everything_is_kept(scene: Scene) -> None:
    """Every output, and nothing else, with its content; the large ones are on the disk once."""
    scene.recover()
    scene.ended()
    scene.is_sound()
    written = dict(reversed(line.split(" ", 1)) for line in scene.said("written"))
    rows = {row.name: row for row in scene.workspace.query.files(scene.run_id) if row.name.startswith("outputs/")}
    assert {name: row.digest for name, row in rows.items()} == written, scene.narration()
    assert all(row.version == 1 for row in rows.values())
    work = scene.control / "work"
    for path in (work / "outputs").glob("large_*"):
        # Where blocks can be shared it stays; never is it the object itself.
        assert path.stat().st_nlink == 1
        assert (work / ".." / ".." / ".." / "objects" / "loose" / rows[f"outputs/{path.name}"].digest).exists()
    assert list((scene.workspace.layout.objects / "tmp").iterdir()) == []


def test_a_conductor_killed_while_it_takes_files_in_loses_none(
    make_scene: Callable[[], Scene], chance: random.Random, rounds: Callable[[int, int], range]
) -> None:
    for _ in rounds(2, 25):
        scene = make_scene()
        begin(scene, 2_000, 4)
        scene.reach("Finalizing")
        delay = chance.uniform(0, 0.2)
        time.sleep(delay)
        print(f"killed after {delay * 1000:.0f} ms in {scene.status()}")
        for pid in scene.known_conductors():
            kill(pid)
        everything_is_kept(scene)
        scene.close()


def test_a_conductor_killed_while_it_gives_copies_up_is_followed_by_one_that_finishes_it(
    make_scene: Callable[[], Scene], chance: random.Random, rounds: Callable[[int, int], range]
) -> None:
    for _ in rounds(2, 25):
        scene = make_scene()
        begin(scene, 5, 12)
        scene.reach("Finalizing")
        most = chance.randrange(24)
        until(lambda scene=scene, most=most: large_files(scene) <= most, "nothing is given up", pause=0.0002)
        for pid in scene.known_conductors():
            kill(pid)
        print(f"killed in {scene.status()} with {large_files(scene)} files left")
        everything_is_kept(scene)
        events = [event.type for event in scene.workspace.journal.read(scene.run_id)]
        assert "run.file_removed" not in events
        scene.close()
