"""What a conductor costs while its script only sleeps."""

from __future__ import annotations

import os
import time
from pathlib import Path

from crash_scene import Scene


def used_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_an_idle_conductor_costs_next_to_nothing(scene: Scene, long_form: bool) -> None:
    scene.begin_worker(60)
    scene.submitted()
    scene.ready()
    scene.reach("Running")
    time.sleep(1.5)
    [conductor] = scene.conductors()
    before, seconds = used_seconds(conductor), 30 if long_form else 4
    time.sleep(seconds)
    share = (used_seconds(conductor) - before) / seconds
    print(f"an idle conductor uses {share:.2%} of a core")
    assert share < 0.05
    scene.run.cancel()
    scene.ended()
