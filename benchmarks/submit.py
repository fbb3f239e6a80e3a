"""From submit to the first line of the script, beside starting the same script bare.

Both times end when the script reads the system's monotonic clock in its first line. Usage:
    python benchmarks/submit.py [--rounds 20]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from figures import interleaved, print_figure

from onrecord import Experiment, ScriptRunConfig, Workspace

SCRIPT = """\
import time; now = time.monotonic()
import sys
with open(sys.argv[1], "w") as file:
    file.write(repr(now))
"""
GOAL_MS = 150.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "project"
        source.mkdir()
        (source / "train.py").write_text(SCRIPT)
        (source / "model.py").write_text("LAYERS = 3\n")
        experiment = Experiment(Workspace.create(Path(folder)), "latency")
        said = Path(folder) / "said"

        def bare() -> float:
            begun = time.monotonic()
            subprocess.run([sys.executable, "train.py", str(said)], cwd=source, check=True)
            return float(said.read_text()) - begun

        def recorded() -> float:
            begun = time.monotonic()
            run = experiment.submit(ScriptRunConfig(source, "train.py", [str(said)]))
            run.wait_for_completion()
            return float(said.read_text()) - begun

        def returned() -> float:
            begun = time.monotonic()
            run = experiment.submit(ScriptRunConfig(source, "train.py", [str(said)]))
            elapsed = time.monotonic() - begun
            run.wait_for_completion()
            return elapsed

        for _ in range(3):
            bare(), recorded()
        alone, ours, answer = (value * 1000 for value in interleaved(rounds, [bare, recorded, returned]))
        held = ours - alone <= GOAL_MS
        print_figure("submit to first line", "ms", ours, alone, "the script started bare", "difference <= 150", held)
        print_figure("submit returns", "ms", answer, alone, "the script started bare", "none", True)


if __name__ == "__main__":
    main()
