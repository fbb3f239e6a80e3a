"""A run that ends while its disk is full, on a small file system of this process alone: FOLDER."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from crash_scene import ENDED_BY_ITSELF, Scene, until

from onrecord.script_output import Follower

disk = Path(sys.argv[1])
said: list[str] = []
scene = Scene(disk / "project")
scene.outside = disk.parent / "outside"
scene.outside.mkdir()
(scene.source / "big.py").write_text(
    """
import os, pathlib, sys, time
from onrecord import Run
outside = pathlib.Path(sys.argv[1])
run = Run.get_context()
for step in range(100):
    run.log("loss", step / 10)
pathlib.Path("outputs/big.bin").write_bytes(os.urandom(2_000_000))
(outside / "ready").touch()
while not (outside / "full").exists():
    time.sleep(0.01)
sys.exit(7)
"""
)
filler = disk / "filler"
try:
    scene.begin(scene.outside, script="big.py")
    scene.submitted()
    scene.ready()
    scene.reach("Running")
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\1" * 4096)
        except OSError:
            pass
    written = (scene.control / "work/outputs/big.bin").read_bytes()
    (scene.outside / "full").touch()
    until(lambda: not scene.scripts() and (scene.control / "exit").exists(), "the script does not end")
    follower = Follower(scene.run, lambda _: None, lambda _: None, said.append)
    threading.Thread(target=follower.follow, daemon=True).start()
    time.sleep(2)
    assert not scene.run.has_ended(), "it ended although its outputs had no room"
    until(lambda: said, "whoever follows the run is not told what it waits for")
    filler.unlink()
    scene.ended()
    scene.is_sound()
    row = scene.workspace.query.run(scene.run_id)
    assert (row.status, row.exit_code) == ("Failed", ENDED_BY_ITSELF), row
    assert scene.run.read_file("outputs/big.bin") == written
    assert scene.run.get_metrics()["loss"] == [step / 10 for step in range(100)]
    warnings = [event.event for event in scene.workspace.journal.read(scene.run_id) if event.type == "run.failed"]
    assert warnings[0].warnings == [], warnings
    assert len(said) == 1, said
    assert "no space left in" in said[0], said
    assert "goes on by itself" in said[0], said
finally:
    scene.close()
