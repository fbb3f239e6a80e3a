"""What a run's processes used is on record, whoever conducts it."""

from __future__ import annotations

import itertools
import os
import signal
from pathlib import Path

import pytest
from face_make import onrecord, project, run_to_end, shown, submit, wait_until

from onrecord import Environment, Run
from onrecord.conductor_process import is_conducted
from onrecord.executors.protocol import Ended, Started
from onrecord.executors.usage import Usage
from onrecord.ledger.events import Event, RunResources
from onrecord.resource_sampling import LONGEST_PAUSE_SECONDS, SHORTEST_PAUSE_SECONDS, ResourceSampling

HUNGRY = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "held = bytearray(60_000_000); import time; time.sleep(0.9)"])
end = time.monotonic() + 0.8
while time.monotonic() < end: pass
child.wait()
"""


def test_a_run_says_what_all_its_processes_used(tmp_path: Path) -> None:
    run = run_to_end(tmp_path, HUNGRY)
    columns = run.get_resources()
    assert len({len(column) for column in columns.values()}) == 1
    assert len(columns["time"]) >= 2
    assert columns["time"] == sorted(columns["time"])
    assert columns["cpu_seconds"] == sorted(columns["cpu_seconds"])
    assert max(columns["processes"]) == 2
    assert max(columns["rss_bytes"]) > 60_000_000
    assert all(seconds >= 0 for seconds in columns["elapsed_seconds"])
    assert any(share and share > 10 for share in columns["cpu_percent"])
    found = run.workspace.query.resources(run.id)
    assert found is not None
    assert (found.cpu_seconds or 0) >= max(columns["cpu_seconds"]) > 0
    document = shown(tmp_path)["resources"]
    assert document["peak_rss_bytes"] == found.peak_rss_bytes
    assert document["mean_cpu_percent"] > 0
    said = onrecord("show", "@last", cwd=tmp_path).stdout.decode()
    assert "of a core on average" in said
    assert "MB at most, read" in said


def test_a_run_that_is_over_at_once_has_its_sums_all_the_same(tmp_path: Path) -> None:
    run = run_to_end(tmp_path, "sum(range(1_000_000))")
    found = run.workspace.query.resources(run.id)
    assert found is not None
    assert found.cpu_seconds is not None and found.cpu_seconds > 0
    assert found.peak_rss_bytes is not None and found.peak_rss_bytes > 5_000_000


def test_a_run_that_never_started_used_nothing_and_can_be_shown(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": "", "python": "#!/no/such/interpreter\n"}).joinpath("python").chmod(0o755)
    environment = Environment("broken")
    environment.python.user_managed_dependencies = True
    environment.python.interpreter_path = str(tmp_path / "python")
    run = submit(tmp_path, environment=environment)
    run.wait_for_completion(raise_on_error=False)
    assert run.status == "Failed"
    assert set(map(len, run.get_resources().values())) == {0}
    assert shown(tmp_path)["resources"] is None
    assert "cpu time" not in onrecord("show", "@last", cwd=tmp_path).stdout.decode()


def test_the_next_conductor_goes_on_with_the_looks(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": "import time; open('up', 'w').close(); time.sleep(600)"})
    run = submit(tmp_path)
    folder = run.workspace.layout.run(run.id)
    wait_until((folder.work / "up").exists)
    wait_until(lambda: run.status == "Running" and run.get_resources()["time"])
    [conductor] = _conductors(run)
    os.kill(conductor, signal.SIGKILL)
    wait_until(lambda: not is_conducted(folder.lock))
    before = len(run.get_resources()["time"])
    run.workspace.recover()
    wait_until(lambda: len(run.get_resources()["time"]) > before)
    run.cancel()
    run.wait_for_completion()
    used = run.get_resources()["cpu_seconds"]
    assert used == sorted(used)


def _conductors(run: Run) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0") if folder.name.isdigit() else []
        except OSError:
            continue
        if run.id.encode() in words and any(b"onrecord.conductor" in word for word in words):
            found.append(int(folder.name))
    return found


class Clock:
    """Time that goes by as it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.spent = 1000.0, 0.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)
        monkeypatch.setattr("time.time", lambda: self.now)
        monkeypatch.setattr("time.time_ns", lambda: int(self.now * 1e9))
        monkeypatch.setattr("time.thread_time", lambda: self.spent)


def followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, cost: float = 0.0
) -> tuple[list[Event], ResourceSampling]:
    """A run of so many seconds, looked at four times a second, each look at the cost of so much processor time."""
    clock, told = Clock(monkeypatch), list[Event]()
    sampling = ResourceSampling(told.extend, tmp_path, lambda: ())
    used = itertools.count()

    def read(meter: object) -> Usage:
        clock.spent += cost
        return Usage(float(next(used)), 1, 1, 1)

    monkeypatch.setattr("onrecord.executors.usage.Meter.read", read)
    started = Started(os.getpid(), 0, "", int(clock.now * 1e6))
    while clock.now < 1000.0 + seconds:
        sampling.look(started)
        clock.now += 0.25
    return told, sampling


def _times(told: list[Event]) -> list[float]:
    return [at / 1e6 - 1000 for event in told if isinstance(event, RunResources) for at in event.times]


def test_looks_are_dense_at_first_and_sparse_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told, _ = followed(tmp_path, monkeypatch, 36_000)
    times = _times(told)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert gaps[0] <= SHORTEST_PAUSE_SECONDS + 0.25
    assert gaps[-1] >= LONGEST_PAUSE_SECONDS
    assert sum(at < 10 for at in times) >= 35
    assert len(times) < 1600
    assert len(told) < 300
    # At once a second or two is all that a conductor that is killed takes with it.
    first = told[0]
    assert isinstance(first, RunResources)
    assert first.times[-1] / 1e6 - 1000 <= 2.5


def test_looks_that_are_expensive_are_rare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told, _ = followed(tmp_path, monkeypatch, 100, cost=0.05)
    assert len(_times(told)) <= 100 * 0.005 / 0.05 + 1


def test_what_could_not_be_put_on_record_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, sampling = followed(tmp_path, monkeypatch, 1.0)
    refused = [OSError(28, "No space left on device")]
    told: list[Event] = []

    def append(events: object) -> None:
        if refused:
            raise refused.pop()
        told.extend(events)  # type: ignore[arg-type]

    monkeypatch.setattr(sampling, "_append", append)
    ended = Ended("exited", 0, None, "", None, 0, cpu_seconds=1.5, max_rss_bytes=7)
    with pytest.raises(OSError, match="No space"):
        sampling.finish(ended)
    sampling.finish(ended)
    [event] = told
    assert isinstance(event, RunResources)
    assert len(event.times) == 4
    assert (event.total_cpu_microseconds, event.largest_process_bytes) == (1_500_000, 7)
