"""What starting costs: `import onrecord` beside a bare interpreter, `onrecord ls` on 1,000 runs beside
the same interpreter doing nothing. Usage: python benchmarks/start.py [--rounds 20] [--runs 1000]
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

from onrecord import Workspace
from onrecord.ledger.events import RunCompleted, RunFinalizing, RunPreparing, RunRunning, RunSubmitted
from onrecord.ledger.ids import encode, new_id


def fill(workspace: Workspace, runs: int) -> None:
    """Runs as a project has them, each with its whole life."""
    for index in range(runs):
        run_id = encode(new_id(time.time_ns() // 1_000_000 - (runs - index) * 60_000, os.urandom(10)))
        submitted = RunSubmitted(
            experiment=f"experiment-{index % 7}",
            config={"script": "train.py", "arguments": ["--alpha", str(index / 100)]},
            snapshot_id="0" * 64,
            tags={"team": "a", "index": str(index)},
            properties={"onrecord.git.commit": "0" * 40},
        )
        life = [submitted, RunPreparing(), RunRunning(pid=index), RunFinalizing(outcome="exited", exit_code=0)]
        workspace.journal.append(run_id, [*life, RunCompleted()], seal=True)
    workspace.journal.catch_up()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--runs", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.create(folder)
        fill(workspace, options.runs)
        workspace.close()
        command = str(Path(sys.executable).parent / "onrecord")

        def timed(*words: str) -> float:
            begun = time.perf_counter()
            subprocess.run(words, cwd=folder, stdout=subprocess.DEVNULL, check=True)
            return time.perf_counter() - begun

        measures = [
            lambda: timed(sys.executable, "-c", "pass"),
            lambda: timed(sys.executable, "-c", "import onrecord"),
            lambda: timed(command, "ls"),
            lambda: timed(command, "ls", "--json"),
            lambda: timed(sys.executable, "-c", "import click, attrs, sqlite3, json"),
        ]
        for measure in measures:
            measure()
        bare, imported, listed, listed_json, libraries = (
            value * 1000 for value in interleaved(options.rounds, measures)
        )
    name = f"on {options.runs} runs"
    print_figure("import onrecord", "ms", imported, bare, "python -c pass", "difference <= 45", imported - bare <= 45)
    print_figure(f"onrecord ls {name}", "ms", listed, bare, "python -c pass", "whole process <= 120", listed <= 120)
    print_figure(f"onrecord ls {name}", "ms", listed, libraries, "importing click, attrs, sqlite3, json", "none", True)
    print_figure(f"onrecord ls --json {name}", "ms", listed_json, bare, "python -c pass", "none", True)


if __name__ == "__main__":
    main()
