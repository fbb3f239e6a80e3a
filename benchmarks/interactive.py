"""What a run costs the process that it is: beginning and ending one, children, and asking for the context by hand.

Usage:
    python benchmarks/interactive.py [--rounds 20]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from figures import interleaved, print_figure

from onrecord import Experiment, Workspace

CHILDREN = 1_000
GOAL_MS = 25.0
SCRIPT = """
{code}
import resource
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime)
"""
CONTEXT = "from onrecord import Run\nRun.get_context()"


def used_by(code: str) -> float:
    """Processor seconds of a script with this code, in the current folder."""
    Path("script.py").write_text(SCRIPT.format(code=code))
    said = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, check=True)
    return float(said.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        experiment = Experiment(Workspace.create(folder), "latency")
        Path("train.py").write_text("pass\n")

        def begun() -> float:
            start = time.monotonic()
            run = experiment.start_logging(outputs=False)
            elapsed = time.monotonic() - start
            run.complete()
            return elapsed

        def block() -> float:
            start = time.monotonic()
            with experiment.start_logging(outputs=False, snapshot_directory=None):
                pass
            return time.monotonic() - start

        for _ in range(3):
            begun(), block()
        measures = [begun, block, lambda: used_by("pass"), lambda: used_by(CONTEXT)]
        begins, blocks, bare, asks = (value * 1000 for value in interleaved(rounds, measures))
        print_figure("start_logging returns", "ms", begins, bare, "a bare script's processor time", "none", True)
        print_figure("a whole block, no snapshot", "ms", blocks, bare, "a bare script's processor time", "none", True)
        held = asks - bare <= GOAL_MS
        print_figure("get_context by hand, processor", "ms", asks, bare, "a bare script's", "difference <= 25", held)
        for name, value in _children(experiment).items():
            print_figure(name, "ms", value * 1000, bare, "a bare script's processor time", "none", True)


def _children(experiment: Experiment) -> dict[str, float]:
    with experiment.start_logging(outputs=False, snapshot_directory=None) as run:
        start = time.monotonic()
        children = run.create_children(CHILDREN)
        begun = time.monotonic()
        for child in children:
            child.log("a", 1)
            child.complete()
        ended = time.monotonic()
    return {
        f"{CHILDREN} children begun at once": begun - start,
        f"{CHILDREN} children logged into and ended": ended - begun,
    }


if __name__ == "__main__":
    main()
