"""What environments cost: a cached one beside an interpreter as it is, from submit to the script's first line; and a
new one beside `uv venv` and `uv pip install` by hand, from the same folder of wheels and with the same cache of uv's.
Usage: python benchmarks/environment.py [--rounds 20]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests" / "executors"))

from environment_make import BASE, offline, ready, recipe, wheel
from figures import interleaved, print_figure

from onrecord import Environment, Experiment, ScriptRunConfig, Workspace
from onrecord.executors.environment_installers import find_uv

SCRIPT = """\
import time; now = time.monotonic()
import sys
with open(sys.argv[1], "w") as file:
    file.write(repr(now))
"""
PACKAGES, MODULES = 20, 25


def wheels_in(folder: Path) -> tuple[str, ...]:
    """Packages as a small project has them; the lines that ask for all of them."""
    for number in range(PACKAGES):
        name = f"package{number}"
        files = {f"{name}/module{part}.py": f"VALUE = {part}\n" * 40 for part in range(MODULES)}
        wheel(folder, name, files={f"{name}/__init__.py": "", **files})
    return offline(folder, *(f"package{number}" for number in range(PACKAGES)))


def cached(folder: Path, lines: tuple[str, ...], rounds: int) -> None:
    """A run in a cached environment, beside one in the same interpreter as it is."""
    source = folder / "project"
    source.mkdir()
    (source / "train.py").write_text(SCRIPT)
    workspace = Workspace.create(folder)
    built = Environment("built")
    built.python.conda_dependencies.set_pip_requirements(lines)
    as_it_is = Environment("as-it-is")
    as_it_is.python.user_managed_dependencies = True
    as_it_is.python.interpreter_path = str(built.build(workspace, None).python)
    experiment, said = Experiment(workspace, "latency"), folder / "said"

    def first_line(environment: Environment) -> float:
        begun = time.monotonic()
        config = ScriptRunConfig(source, "train.py", [str(said)], environment=environment)
        experiment.submit(config).wait_for_completion()
        return float(said.read_text()) - begun

    measures = [lambda: first_line(built), lambda: first_line(as_it_is)]
    for measure in measures:
        measure(), measure()
    ours, plain = (value * 1000 for value in interleaved(rounds, measures))
    name = "the same interpreter, user-managed"
    print_figure(
        "cached environment, submit to first line", "ms", ours, plain, name, "difference <= 5", ours - plain <= 5
    )


def cold(folder: Path, lines: tuple[str, ...], rounds: int) -> None:
    """A new environment, beside the two commands."""
    uv = str(find_uv())
    requirements = folder / "requirements.txt"
    requirements.write_text("\n".join(lines))
    place = folder / "cold"

    def by_hand() -> float:
        # Another name each time, as ours: uv remembers the interpreters that it has asked by their path.
        place = folder / f"by-hand-{time.monotonic_ns()}"
        begun = time.perf_counter()
        install = ["pip", "install", "--python", place / "bin" / "python", "-r", requirements]
        for words in (["venv", "--python", BASE, place], install):
            subprocess.run([uv, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        elapsed = time.perf_counter() - begun
        shutil.rmtree(place)
        return elapsed

    def ours() -> float:
        begun = time.perf_counter()
        ready(place, recipe(*lines))
        elapsed = time.perf_counter() - begun
        shutil.rmtree(place)
        return elapsed

    by_hand(), ours()
    built, hand = (value * 1000 for value in interleaved(rounds, [ours, by_hand]))
    print_figure(
        f"new environment of {PACKAGES} packages with uv", "ms", built, hand, "uv venv && uv pip install",
        "ratio <= 1.3", built / hand <= 1.3,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        os.environ["UV_CACHE_DIR"] = str(folder / "uv")
        os.environ["ONRECORD_INSTALLER"] = "uv"
        lines = wheels_in(folder / "wheels")
        cold(folder, lines, rounds)
        cached(folder, lines, rounds)


if __name__ == "__main__":
    main()
