"""A restart of the machine, folders that are removed, a log that cannot be written, a full disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from crash_scene import ENDED_BY_ITSELF, HERE, Scene, kill, until

from onrecord import Workspace
from onrecord.ledger.audit import audit


def begun(scene: Scene, seconds: float = 60) -> None:
    scene.begin_worker(seconds)
    scene.submitted()
    scene.ready()
    scene.reach("Running")


def test_a_restart_of_the_machine_closes_the_run_and_says_so(scene: Scene) -> None:
    begun(scene)
    for pid in (*scene.conductors(), *scene.supervisors(), *scene.scripts()):
        kill(pid)
    scene.replace_boot_id("01234567-89ab-cdef-0123-456789abcdef")
    scene.recover()
    scene.ended()
    scene.is_sound()
    scene.outputs_are_kept()
    row = scene.workspace.query.run(scene.run_id)
    assert (row.status, row.exit_code, row.signal) == ("Failed", None, None)
    assert row.error is not None
    assert "the machine restarted" in row.error["message"]


@pytest.mark.parametrize("which", ["the run's folder", "all runs"])
def test_a_folder_removed_while_it_is_needed_ends_the_run_truthfully(
    make_scene: Callable[[], Scene], rounds: Callable[[int, int], range], which: str
) -> None:
    for _ in rounds(1, 20):
        scene = make_scene()
        begun(scene)
        remove(scene.control if which == "the run's folder" else scene.workspace.layout.runs)
        scene.recover()
        scene.ended()
        scene.is_sound()
        row = scene.workspace.query.run(scene.run_id)
        assert (row.status, row.exit_code) == ("Failed", None)
        assert row.error is not None
        assert row.error["code"] == "Lost"
        scene.close()


@pytest.mark.parametrize("whole", [True, False], ids=["all of it", "without the folders of the runs"])
def test_a_copy_that_is_made_meanwhile_ends_nothing_of_the_original(scene: Scene, tmp_path: Path, whole: bool) -> None:
    begun(scene, 3)
    other = tmp_path / "copy"
    shutil.copytree(scene.workspace.path, other, ignore=None if whole else shutil.ignore_patterns("runs"))
    copy = Workspace(other)
    copy.recover(30)
    until(lambda: copy.query.run(scene.run_id).ended, "the copy's run never ends")
    error = copy.query.run(scene.run_id).error
    assert error is not None
    assert error["code"] == "Lost"
    copy.close()
    assert len(scene.scripts()) == 1
    scene.ended()
    # Two histories go on from one now, which their user's last checkpoint tells; each is intact in itself.
    assert audit(scene.workspace.journal).findings == []
    scene.outputs_are_kept()
    assert scene.workspace.query.run(scene.run_id).exit_code == ENDED_BY_ITSELF


def remove(folder: Path) -> None:
    """As `rm -r` typed again where it met a file that was being written."""
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=True)


def test_a_folder_removed_after_the_conductor_died_leaves_no_script_behind(scene: Scene) -> None:
    begun(scene)
    for pid in scene.conductors():
        kill(pid)
    remove(scene.control)
    scene.recover()
    scene.ended()
    scene.is_sound()
    row = scene.workspace.query.run(scene.run_id)
    assert row.error is not None
    assert "was removed while it ran" in row.error["message"]


def test_a_run_whose_folder_is_gone_can_be_canceled(scene: Scene) -> None:
    begun(scene)
    for pid in (*scene.conductors(), *scene.supervisors()):
        kill(pid)
    remove(scene.control)
    scene.run.cancel()
    scene.ended()
    scene.is_sound()
    assert scene.status() == "Canceled"


def test_an_exit_code_outlives_the_run_s_folder_once_it_is_in_the_ledger(scene: Scene) -> None:
    scene.begin_worker(0, files=500)
    scene.submitted()
    scene.reach("Finalizing")
    for pid in scene.conductors():
        kill(pid)
    assert scene.status() == "Finalizing"
    remove(scene.control)
    scene.recover()
    scene.ended()
    scene.is_sound()
    row = scene.workspace.query.run(scene.run_id)
    assert (row.status, row.exit_code) == ("Failed", ENDED_BY_ITSELF)


def test_a_narration_that_cannot_be_written_costs_nothing(scene: Scene) -> None:
    begun(scene, seconds=1.5)
    for pid in scene.conductors():
        kill(pid)
    narration = scene.control / "conductor.log"
    narration.unlink()
    narration.mkdir()
    scene.recover()
    scene.ended()
    scene.is_sound()
    scene.outputs_are_kept()
    assert scene.workspace.query.run(scene.run_id).exit_code == ENDED_BY_ITSELF


def test_a_lock_that_cannot_be_taken_hinders_no_other_run(scene: Scene) -> None:
    begun(scene, seconds=1)
    for pid in scene.conductors():
        kill(pid)
    lock = scene.control / "conductor.lock"
    lock.unlink()
    lock.mkdir()
    scene.recover()
    lock.rmdir()
    scene.recover()
    scene.ended()
    scene.is_sound()


def _may_mount() -> bool:
    if shutil.which("unshare") is None or os.geteuid() != 0:
        return False
    attempt = ["unshare", "-m", "sh", "-c", "mount -t tmpfs none /mnt"]
    return subprocess.run(attempt, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not _may_mount(), reason="a small disk of its own takes the right to mount one")
@pytest.mark.parametrize("program", ["full_disk.py", "full_disk_reads.py"])
def test_a_full_disk_delays_what_is_recorded_costs_none_of_it_and_keeps_nobody_from_reading(
    tmp_path: Path, program: str
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    words = f"mount -t tmpfs -o size=24m none '{disk}' && exec '{sys.executable}' '{HERE / program}' '{disk}'"
    done = subprocess.run(["unshare", "-m", "sh", "-c", words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    until(lambda: not any(disk.iterdir()), "the mount shows outside")
