"""What a run in a container costs beside `podman run` by hand: from submit, or from the command, to the script's first
line, in the same image with the same files shown.
Usage: python benchmarks/container.py [--rounds 10]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests" / "hosts"))

from container_host import IMAGE, environment, shown, started
from figures import interleaved, print_figure

from onrecord import Experiment, ScriptRunConfig, Workspace

SCRIPT = """\
import time; now = time.monotonic()
import sys
with open(sys.argv[1], "w") as file:
    file.write(repr(now))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        podman = started(folder / "podman")
        source = folder / "project"
        source.mkdir()
        (source / "train.py").write_text(SCRIPT)
        experiment, tiny = Experiment(Workspace.create(folder), "latency"), environment()

        def ours() -> float:
            begun = time.monotonic()
            run = experiment.submit(ScriptRunConfig(source, "train.py", ["outputs/said"], environment=tiny))
            run.wait_for_completion()
            return float(run.read_file("outputs/said")) - begun

        def by_hand() -> float:
            begun = time.monotonic()
            words = [*shown(), "--mount", f"type=bind,source={source},destination={source}", "--workdir", str(source)]
            python = str(tiny.python.interpreter_path)
            words = ["run", "--rm", "--pull", "never", *words, IMAGE, python, "train.py", "said"]
            subprocess.run([podman.program, *words], stdin=subprocess.DEVNULL, check=True)
            return float((source / "said").read_text()) - begun

        for measure in (ours, by_hand):
            measure(), measure()
        run, hand = (value * 1000 for value in interleaved(rounds, [ours, by_hand]))
    print_figure(
        "run in a container, submit to first line", "ms", run, hand, "podman run by hand", "difference <= 250",
        run - hand <= 250,
    )  # fmt: skip


if __name__ == "__main__":
    main()
