"""kill -9 of everything, in every state: no run is stuck, nothing is lost, exit codes and outputs are true."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable

import pytest
from crash_scene import ENDED_BY_ITSELF, ENDED_BY_SIGTERM, Scene, kill, until

from onrecord.executors import lock, records
from onrecord.executors.identity import boot_id
from onrecord.executors.protocol import Launch
from onrecord.ledger.events import RunPreparing

# Where the moment that is meant is no state of its own.
STATUS = {"Submitted": "Preparing"}
VICTIMS = {
    "submitter": ("submitter",),
    "conductor": ("conductor",),
    "script": ("script",),
    "supervisor": ("supervisor",),
    "conductor and submitter": ("conductor", "submitter"),
    "conductor and script": ("conductor", "script"),
    "conductor and supervisor": ("conductor", "supervisor"),
}
BEFORE_THE_SCRIPT = ("submitter", "conductor", "conductor and submitter")
CASES = [
    *(("Submitted", victims) for victims in BEFORE_THE_SCRIPT),
    *(("Preparing", victims) for victims in BEFORE_THE_SCRIPT),
    *(("Running", victims) for victims in VICTIMS if victims != "conductor and submitter"),
    *(("CancelRequested", victims) for victims in VICTIMS if victims != "conductor and submitter"),
    *(("Finalizing", victims) for victims in ("submitter", "conductor")),
]


def strike(scene: Scene, victims: str) -> set[str]:
    """Kill them in this order; the names of those that were there to be killed."""
    hit = set()
    for name in VICTIMS[victims]:
        if name == "submitter":
            assert scene.submitter is not None
            pids = [scene.submitter.pid]
        else:
            pids = {"conductor": scene.known_conductors, "script": scene.scripts, "supervisor": scene.supervisors}[
                name
            ]()
        for pid in pids:
            kill(pid)
            hit.add(name)
    for pid in scene.conductors():
        # One that was held where it was, and was spared.
        os.kill(pid, signal.SIGCONT)
    return hit


def bring_to_submitted(scene: Scene) -> None:
    scene.grow_source(300)
    scene.begin_worker(0.2)
    scene.appeared()
    scene.conductor_is_known()
    for pid in scene.known_conductors():
        # Stopped before it gets its word, so that the run stays where submit() has put it.
        os.kill(pid, signal.SIGSTOP)
    scene.submitted()


def bring_to_preparing(scene: Scene) -> None:
    scene.grow_source(400)
    scene.begin_worker(0.2)
    scene.appeared()
    scene.conductor_is_known()
    scene.submitted()
    until((scene.control / "work").exists, "no working copy is made", pause=0.001)


def bring_to_running(scene: Scene) -> None:
    scene.begin_worker(0.8)
    scene.submitted()
    scene.ready()
    scene.reach("Running")


def bring_to_cancel_requested(scene: Scene) -> None:
    scene.begin_worker(30)
    scene.submitted()
    scene.ready()
    scene.reach("Running")
    scene.run.cancel()


def bring_to_finalizing(scene: Scene) -> None:
    scene.begin_worker(0.3, files=200)
    scene.submitted()
    scene.conductor_is_known()
    scene.reach("Finalizing")


BRING = {
    "Submitted": bring_to_submitted,
    "Preparing": bring_to_preparing,
    "Running": bring_to_running,
    "CancelRequested": bring_to_cancel_requested,
    "Finalizing": bring_to_finalizing,
}


def check(scene: Scene, hit: set[str], *, canceled: bool = False) -> None:
    """What must hold once the next command has looked."""
    scene.recover()
    scene.ended()
    scene.is_sound()
    scene.outputs_are_kept()
    row = scene.workspace.query.run(scene.run_id)
    if "script" in hit and "supervisor" not in hit:
        assert (row.exit_code, row.signal) == (None, signal.SIGKILL)
    elif "supervisor" in hit:
        assert (row.exit_code, row.status) in ((None, "Failed"), (ENDED_BY_ITSELF, "Failed"))
    else:
        assert row.exit_code == (ENDED_BY_SIGTERM if canceled else ENDED_BY_ITSELF), scene.narration()
        assert row.status == ("Canceled" if canceled else "Failed")
        assert len(scene.said("starts")) == 1
        assert "onrecord/environment.json" in scene.run.get_file_names()


@pytest.mark.parametrize(("state", "victims"), CASES)
def test_a_run_survives_kill_9(
    make_scene: Callable[[], Scene], rounds: Callable[[int, int], range], state: str, victims: str
) -> None:
    for _ in rounds(1, 4):
        # A state may be over before the blow falls; that is a good round too, but not the one that was meant.
        assert any(is_met(make_scene(), state, victims) for _ in range(5)), f"{state} was over each time"


def is_met(scene: Scene, state: str, victims: str) -> bool:
    BRING[state](scene)
    hit = strike(scene, victims)
    met = scene.status() == STATUS.get(state, state) or "conductor" not in hit
    check(scene, hit, canceled=state == "CancelRequested")
    scene.close()
    return met


def test_a_conductor_that_died_before_the_start_is_followed_by_one_that_says_so(scene: Scene) -> None:
    bring_to_submitted(scene)
    assert strike(scene, "conductor") == {"conductor"}
    check(scene, {"conductor"})
    events = list(scene.workspace.journal.read(scene.run_id))
    assert [event.type for event in events][:5] == [
        *("run.submitted", "run.preparing", "run.queued", "run.preparing", "run.running")
    ]
    assert [event.event.attempt for event in events if isinstance(event.event, RunPreparing)] == [1, 2]


def test_a_run_survives_kill_9_at_any_moment(
    make_scene: Callable[[], Scene], rounds: Callable[[int, int], range], chance: random.Random
) -> None:
    for _ in rounds(4, 100):
        scene = make_scene()
        victims, delay = chance.choice(list(VICTIMS)), chance.uniform(0, 0.3)
        print(f"{victims} after {delay * 1000:.0f} ms")
        scene.begin_worker(0.4)
        scene.submitted()
        time.sleep(delay)
        hit = strike(scene, victims)
        if hit & {"script", "supervisor"} and not {"script", "supervisor"} <= hit and not scene.said("starts"):
            # Killed before the script was let go: then it never ran, and nobody can say more.
            scene.recover()
            scene.ended()
            scene.is_sound()
        else:
            check(scene, hit)
        scene.close()


def test_a_conductor_that_is_killed_again_and_again_still_brings_the_run_to_its_end(
    scene: Scene, chance: random.Random
) -> None:
    scene.begin_worker(2)
    scene.submitted()
    for _ in range(4):
        time.sleep(chance.uniform(0, 0.3))
        strike(scene, "conductor")
        scene.recover()
    check(scene, {"conductor"})


def test_a_conductor_killed_while_the_supervisor_comes_up_costs_nothing(
    make_scene: Callable[[], Scene], rounds: Callable[[int, int], range]
) -> None:
    for _ in rounds(2, 30):
        scene = make_scene()
        scene.begin_worker(0.5)
        scene.submitted()
        until(lambda scene=scene: scene.supervisors() or scene.run.has_ended(), "no supervisor comes up", pause=0.0005)
        strike(scene, "conductor")
        check(scene, {"conductor"})
        scene.close()


def test_a_conductor_killed_together_with_the_supervisor_that_comes_up_is_followed_by_one_that_starts_again(
    make_scene: Callable[[], Scene], rounds: Callable[[int, int], range]
) -> None:
    for _ in rounds(3, 60):
        scene = make_scene()
        scene.begin_worker(0.3)
        scene.appeared()
        scene.conductor_is_known()
        launch = scene.control / "launch"
        until(lambda scene=scene, launch=launch: launch.exists() or scene.said("starts"), "no launch", pause=0.0001)
        kill(scene.known_conductors()[0])
        # Until its exec, what becomes the supervisor has the conductor's command line.
        for pid in scene.conductors():
            kill(pid)
        # One that was being born when they were listed holds their lock until its exec.
        until(lambda scene=scene: not scene.conductors(), "a conductor lives on", pause=0.001)
        check(scene, {"conductor"})
        scene.close()


def test_a_launch_that_started_nothing_is_made_again_and_the_history_says_so(scene: Scene) -> None:
    bring_to_submitted(scene)
    held = lock.claim(scene.control / records.LOCK)
    assert held is not None
    strike(scene, "conductor")
    work = scene.control / "work"
    launch = Launch(("false",), work, {}, scene.control / "logs/stdout.txt", scene.control / "logs/stderr.txt",
                    scene.control)  # fmt: skip
    content = records.encode_launch(launch, token="t" * 32, boot_id=boot_id(), written_at=1)
    (scene.control / records.LAUNCH).write_bytes(content)
    os.close(held)
    check(scene, {"conductor"})
    events = list(scene.workspace.journal.read(scene.run_id))
    assert [event.event.attempt for event in events if isinstance(event.event, RunPreparing)] == [1, 2]
