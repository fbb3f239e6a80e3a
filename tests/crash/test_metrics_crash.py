"""Points whose log() had returned are there, once each, whatever was killed meanwhile and whoever reads."""

from __future__ import annotations

import mmap
import random
import struct
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from crash_scene import Scene, kill, until

# After each log() the script stores how many have returned, in a page that it shares with the test: no
# kill -9 of the script can take that back, and the count is never ahead of what has returned.
LOGGER = """
import mmap, struct, sys
from onrecord import Run
run = Run.get_context()
with open(sys.argv[1], "r+b") as file:
    page = mmap.mmap(file.fileno(), 8)
for number in range(10**9):
    run.log("point", number)
    page[:] = struct.pack("<Q", number + 1)
"""
READER = """
import sys
from onrecord import Workspace
run = Workspace(sys.argv[1]).get_run(sys.argv[2])
longest = 0
while not run.has_ended():
    points = run.get_metrics().get("point", [])
    points = points if isinstance(points, list) else [points]
    assert points == list(range(len(points))), "points are lost, twice, or out of order"
    assert len(points) >= longest
    longest = len(points)
"""


@pytest.mark.parametrize("conductor_too", [False, True])
def test_no_point_is_lost_or_there_twice(
    make_scene: Callable[[], Scene], rounds: Callable[[int, int], range], chance: random.Random, conductor_too: bool
) -> None:
    for _ in rounds(2, 20):
        scene = make_scene()
        (scene.source / "logger.py").write_text(LOGGER)
        count = scene.outside / "count"
        count.write_bytes(bytes(8))
        scene.begin(count, script="logger.py")
        scene.submitted()
        until(lambda count=count: count.read_bytes() != bytes(8), "nothing is logged")
        words = [sys.executable, "-c", READER, str(scene.workspace.path), scene.run_id]
        readers = [subprocess.Popen(words, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        time.sleep(chance.uniform(0.1, 0.6))
        if conductor_too:
            for pid in scene.conductors():
                kill(pid)
            time.sleep(chance.uniform(0, 0.2))
        for pid in scene.processes():
            kill(pid)
        with count.open("r+b") as file, mmap.mmap(file.fileno(), 8) as page:
            returned = struct.unpack("<Q", page[:])[0]
        scene.recover()
        scene.ended()
        for reader in readers:
            complaints = reader.communicate(timeout=60)[1]
            assert (reader.returncode, complaints) == (0, "")
        points = scene.run.get_metrics()["point"]
        assert points == list(range(len(points)))
        assert returned <= len(points) <= returned + 1
        scene.is_sound()
        scene.close()
