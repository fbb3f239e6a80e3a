"""What commands can do on a disk that is full to its last byte, on a file system of this process alone: FOLDER."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from crash_scene import Scene, until

from onrecord.ledger.errors import LedgerFull
from onrecord.verification import verify

disk = Path(sys.argv[1])
scene = Scene(disk / "project")
scene.outside = disk.parent / "outside"
scene.outside.mkdir()
(scene.source / "logs_one.py").write_text(
    """
import sys, time
from pathlib import Path
from onrecord import Run
Run.get_context().log("loss", 1.5)
Path("outputs/small.txt").write_text("small")
print("printed", flush=True)
Path(sys.argv[1], "ready").touch()
time.sleep(float(sys.argv[2]))
"""
)
filler = disk / "filler"


def fill() -> None:
    """Take every byte, and what is left of the room in the log."""
    with filler.open("ab", buffering=0) as file:
        for size in (4096, 1):
            try:
                while True:
                    file.write(b"\1" * size)
            except OSError:
                continue


def use_up_the_log() -> None:
    try:
        while True:
            scene.run.tag("filler", "x" * 500)
    except LedgerFull:
        return


def command(*words: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "onrecord", *words]
    return subprocess.run(program, cwd=scene.workspace.path, capture_output=True, text=True, check=False, timeout=60)


def says(words: str, *expected: str) -> None:
    done = command(*words.split())
    assert done.returncode == 0, (words, done.stderr)
    for text in expected:
        assert text in done.stdout + done.stderr, (words, text, done.stdout, done.stderr)


def reads_work(run_id: str, status: str) -> None:
    says("ls", run_id[:10], status)
    says("ls metrics.loss>1", run_id[:10])
    says(f"show {run_id}", status, "loss 1.5")
    says(f"logs {run_id}", "printed")
    says(f"files {run_id}", "outputs/small.txt")
    says(f"metrics {run_id}", "1.5")
    says(f"events {run_id}", "run.submitted")


try:
    scene.begin(scene.outside, 0, script="logs_one.py")
    ended = scene.submitted()
    until(scene.run.has_ended, "it does not end")
    until(lambda: not scene.conductors(), "its conductor does not end")
    scene.workspace.close()
    fill()
    # Nobody has the ledger open, so that what SQLite needs beside it would have to be made.
    reads_work(ended, "Completed")
    refused = command("run", "--source", str(scene.source), "logs_one.py", str(scene.outside), "0")
    assert refused.returncode == 125, refused
    assert "no room" in refused.stderr, refused.stderr
    assert "next: free some space" in refused.stderr, refused.stderr
    filler.unlink()
    assert scene.submitter is not None
    scene.submitter.kill()
    scene.submitter.communicate()
    (scene.outside / "ready").unlink()

    scene.begin(scene.outside, 60, script="logs_one.py")
    scene.submitted()
    scene.ready()
    scene.reach("Running")
    until(lambda: "outputs/small.txt" in scene.run.get_file_names(), "its output is not taken in while it runs")
    assert scene.run.get_metrics() == {"loss": 1.5}
    fill()
    use_up_the_log()
    fill()
    reads_work(scene.run_id, "Running")
    says(f"cancel {scene.run_id}", "was asked for")
    until(lambda: not scene.processes(), "a run that was canceled on a full disk goes on", seconds=20)
    assert not scene.run.has_ended()
    filler.unlink()
    scene.ended()
    scene.is_sound()
    assert scene.status() == "Canceled", scene.status()
    assert verify(scene.workspace).findings == []
finally:
    scene.close()
