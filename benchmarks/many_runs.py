"""Many runs: at once, with none of their states lost, and one after the other, the last as quick as the first.

One JSON line a figure. A run's time is from submit() to its end on record. Usage:
    python benchmarks/many_runs.py [--at-once 50] [--in-turn 1000]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from figures import print_figure

from onrecord import Experiment, Run, ScriptRunConfig, Workspace
from onrecord.verification import verify

GOAL_MS = 150.0
GOAL_RATIO = 1.2
WINDOW = 20

# All are there at once: each waits for the file that is made when the last one has started.
TOGETHER = """\
import sys, time
from pathlib import Path
from onrecord import Run
number, folder = int(sys.argv[1]), Path(sys.argv[2])
Run.get_context().log("number", number)
Path("outputs/number.txt").write_text(str(number))
(folder / str(number)).touch()
while not (folder / "go").exists():
    time.sleep(0.05)
sys.exit(number % 3)
"""
TRIVIAL = "print('here')\n"


def is_whole(run: Run, number: int) -> bool:
    """Whether a run's end, its exit code, its point and its file are those of its script."""
    details = run.get_details()
    return (
        details["status"] == ("Failed" if number % 3 else "Completed")
        and details["exitCode"] == number % 3
        and run.get_metrics() == {"number": number}
        and run.read_file("outputs/number.txt") == str(number).encode()
    )


def at_once(folder: Path, count: int) -> None:
    """`count` runs that all run at the same time."""
    source, meeting = folder / "source", folder / "meeting"
    for path in (source, meeting):
        path.mkdir(parents=True)
    (source / "train.py").write_text(TOGETHER)
    workspace = Workspace.create(folder)
    experiment = Experiment(workspace, "at-once")
    begun = time.monotonic()
    runs = [experiment.submit(ScriptRunConfig(source, "train.py", [number, meeting])) for number in range(count)]
    while len(list(meeting.iterdir())) < count:
        time.sleep(0.05)
    (meeting / "go").touch()
    for run in runs:
        run.wait_for_completion(raise_on_error=False)
    seconds = time.monotonic() - begun
    lost = sum(not is_whole(run, number) for number, run in enumerate(runs)) + len(verify(workspace).findings)
    print_figure(f"{count} runs at once", "lost states", lost, 0, "none", "none lost", lost == 0)
    print_figure(f"{count} runs at once", "s", seconds, seconds, "itself", "none", True)


def in_turn(folder: Path, count: int) -> None:
    """`count` trivial runs, each submitted when the one before has ended."""
    source = folder / "source"
    source.mkdir(parents=True)
    (source / "train.py").write_text(TRIVIAL)
    workspace = Workspace.create(folder)
    experiment = Experiment(workspace, "in-turn")
    times, used, bare = list[float](), list[float](), list[float]()
    for number in range(count):
        begun, before = time.monotonic(), processor_seconds()
        experiment.submit(ScriptRunConfig(source, "train.py")).wait_for_completion()
        times.append((time.monotonic() - begun) * 1000)
        used.append((processor_seconds() - before) * 1000)
        if number % WINDOW == 0:
            begun = time.monotonic()
            subprocess.run([sys.executable, "train.py"], cwd=source, check=True, stdout=subprocess.DEVNULL)
            bare.append((time.monotonic() - begun) * 1000)
    completed = len(workspace.query.runs(status="Completed"))
    middle = statistics.median(times)
    goal = f"at most {GOAL_MS:g} ms"
    held = middle <= GOAL_MS and completed == count
    print_figure(f"{count} runs in turn, each", "ms", middle, statistics.median(bare), "the bare script", goal, held)
    for what, values in (("time", times), ("processor time", used)):
        first, last = statistics.median(values[5 : 5 + WINDOW]), statistics.median(values[-WINDOW:])
        name, goal = f"{what} of the last {WINDOW} runs of {count}", f"at most {GOAL_RATIO:g} times as long"
        print_figure(name, "ms", last, first, f"runs 6 to {5 + WINDOW}", goal, last <= GOAL_RATIO * first)


def processor_seconds() -> float:
    """What this process and the children that it has collected have used: submits, conductors, inventories."""
    both = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(used.ru_utime + used.ru_stime for used in both)


def main() -> None:
    """Both figures, in a new workspace each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--at-once", type=int, default=50)
    parser.add_argument("--in-turn", type=int, default=1000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if asked.at_once:
            at_once(Path(folder) / "at-once", asked.at_once)
        if asked.in_turn:
            in_turn(Path(folder) / "in-turn", asked.in_turn)


if __name__ == "__main__":
    main()
