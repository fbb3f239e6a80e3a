"""Scripts and notebooks of Azure's public MachineLearningNotebooks, unmodified, under `compat=azureml` and by hand.

    python benchmarks/azure_notebooks.py CHECKOUT [--python INTERPRETER]

CHECKOUT: a folder with the repository's files (state of September 2020); nothing of it is kept. Each script runs
twice: by hand, with a stub for `azureml` that writes down what is logged, and by `onrecord run --compat azureml`.
The table says how both ended and whether the metrics are the same. Data is synthetic, of the form that the script
reads. Names that numpy has dropped since 2020 (`np.float`, `np.str`) fail the same way on both sides, so that each
script is run a second time with these put back and with fixed seeds. INTERPRETER has onrecord, and what the scripts
import (default: the one that runs this).
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

STUB = """
import json, os
class Run:
    def __init__(self, name=""): self.name = name
    @staticmethod
    def get_context(allow_offline=True): return Run()
    def log(self, name, value, description="", step=None):
        with open(os.environ["STUB_FILE"], "a") as file:
            file.write(json.dumps([self.name, name, getattr(value, "item", lambda: value)()]) + "\\n")
    def log_image(self, name, path=None, plot=None, description=""): self.log(name, "a picture")
    def create_children(self, count): return [Run(f"{self.name}/{number}") for number in range(count)]
    def complete(self): pass
"""
SITE = """
import os, random
if os.environ.get("AS_IN_2020"):
    import numpy
    numpy.float, numpy.str = float, str
    numpy.random.seed(0)
    random.seed(0)
    if os.environ.get("KERAS_BACKEND"):
        import torch
        torch.manual_seed(0)
"""
ML = "how-to-use-azureml/ml-frameworks"
DEPLOY = "train-hyperparameter-tune-deploy-with"
MNIST = "tutorials/image-classification-mnist-data"


class Case(NamedTuple):
    """A script in a folder of the repository, what it is given; `cell`: it is written by a cell of this notebook."""

    folder: str
    script: str
    arguments: tuple[str, ...] = ()
    cell: str = ""


CASES = (
    Case("how-to-use-azureml/training/train-on-local", "train.py"),
    Case("how-to-use-azureml/track-and-monitor-experiments/manage-runs", "hello.py"),
    Case("how-to-use-azureml/track-and-monitor-experiments/manage-runs", "hello_with_children.py"),
    Case("how-to-use-azureml/track-and-monitor-experiments/manage-runs", "hello_with_delay.py"),
    Case(f"{ML}/scikit-learn/{DEPLOY}-sklearn", "train_iris.py", ("--kernel", "rbf", "--penalty", "0.5")),
    Case(f"{ML}/keras/{DEPLOY}-keras", "keras_mnist.py", ("--data-folder", "DATA")),
    Case(f"{ML}/pytorch/{DEPLOY}-pytorch", "pytorch_train.py", ("--num_epochs", "1", "--output_dir", "outputs")),
    Case(f"{ML}/tensorflow/{DEPLOY}-tensorflow", "tf_mnist.py", ("--data-folder", "DATA")),
    Case(MNIST, "train.py", ("--data-folder", "DATA"), "img-classification-part1-training.ipynb"),
)
# The cells of a notebook that are run: those before the first of these words, and those after the last of them.
NOTEBOOKS = (
    ("how-to-use-azureml/training/train-on-local", "train-on-local.ipynb", ("system-managed-env", "run.get_metrics()")),
    ("how-to-use-azureml/track-and-monitor-experiments/manage-runs", "manage-runs.ipynb", ()),
)


class Ended(NamedTuple):
    """The last line on stderr, and {run: {metric: values}}, the run of the script itself under ""."""

    code: int
    last: str
    metrics: dict[str, dict[str, list[Any]]]


def main() -> None:
    """Print a line a script and a line a notebook; exit code 1 where the two sides differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--python", default=sys.executable)
    given = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory(prefix="azure-notebooks-") as name:
        top = Path(name)
        write_stub(top)
        write_mnist(top / "data")
        for case in CASES:
            for as_in_2020 in (False, True):
                good = compare(given.python, given.checkout, case, top, as_in_2020) and good
        for folder, notebook, words in NOTEBOOKS:
            good = run_notebook(given.python, given.checkout / folder, notebook, words, top) and good
    sys.exit(not good)


def compare(python: str, checkout: Path, case: Case, top: Path, as_in_2020: bool) -> bool:
    """Run a script on both sides and say what came of it."""
    arguments = [str(top / "data") if word == "DATA" else word for word in case.arguments]
    variables = {**os.environ, **({"AS_IN_2020": "1"} if as_in_2020 else {})}
    if "torch" in case.script or "keras" in case.script:
        variables["KERAS_BACKEND"] = "torch"
    hand = by_hand(python, scripts(checkout, case, top), case.script, arguments, top, variables)
    kept = recorded(python, scripts(checkout, case, top), case.script, arguments, top, variables)
    same = hand == kept
    count = sum(len(values) for metrics in hand.metrics.values() for values in metrics.values())
    told = f"{count} values" if not hand.code else hand.last[:70]
    print(f"{case.script:24} {'as in 2020' if as_in_2020 else 'as it is':15} {hand.code:>3} {kept.code:>3}"
          f"  {'same' if same else 'DIFFERENT'}  {told}", flush=True)  # fmt: skip
    if not same:
        print("   by hand:", hand, "\n   recorded:", kept)
    return same


def scripts(checkout: Path, case: Case, top: Path) -> Path:
    """A new folder with the Python files of a case."""
    folder = Path(tempfile.mkdtemp(dir=top))
    for path in (checkout / case.folder).glob("*.py"):
        shutil.copy(path, folder)
    if case.cell:
        cells = code_cells(checkout / case.folder / case.cell)
        text = next(cell for cell in cells if cell.startswith("%%writefile") and case.script in cell.split("\n")[0])
        (folder / case.script).write_text(text.partition("\n")[2])
    return folder


def by_hand(
    python: str, folder: Path, script: str, arguments: list[str], top: Path, variables: dict[str, str]
) -> Ended:
    """`python SCRIPT` with the stub."""
    file = folder.with_suffix(".stub")
    file.touch()
    path = os.pathsep.join([str(top / "stub"), str(top / "site"), variables.get("PYTHONPATH", "")])
    done = run([python, script, *arguments], folder, {**variables, "PYTHONPATH": path, "STUB_FILE": str(file)})
    found: dict[str, dict[str, list[Any]]] = {}
    for line in file.read_text().splitlines():
        name, metric, value = json.loads(line)
        found.setdefault(name, {}).setdefault(metric, []).append(value)
    return Ended(done.returncode, last_line(done.stderr), found)


def recorded(
    python: str, folder: Path, script: str, arguments: list[str], top: Path, variables: dict[str, str]
) -> Ended:
    """`onrecord run --compat azureml SCRIPT`, and what is on record of it."""
    from onrecord import Workspace

    path = os.pathsep.join([str(top / "site"), variables.get("PYTHONPATH", "")])
    words = [python, "-m", "onrecord", "run", "--compat", "azureml", script, *arguments]
    done = run(words, folder, {**variables, "PYTHONPATH": path})
    run_ = next(one for one in Workspace(folder).runs() if one.parent is None)
    children = [child.id for child in run_.get_children()][::-1]
    names = {run_.id: "", **{child: f"/{number}" for number, child in enumerate(children)}}
    found = {
        names[run_id]: {metric: plain(value) for metric, value in metrics.items()}
        for run_id, metrics in run_.get_metrics(recursive=True).items()
    }
    error = [line for line in done.stderr.splitlines() if not line.startswith("onrecord:")]
    return Ended(done.returncode, last_line("\n".join(error)), found)


def plain(value: Any) -> list[Any]:
    """The values of a metric as a list; pictures as the stub writes them."""
    values = value if isinstance(value, list) else [value]
    return ["a picture" if isinstance(one, str) and one.startswith("aml://") else one for one in values]


def run_notebook(python: str, folder: Path, notebook: str, words: tuple[str, ...], top: Path) -> bool:
    """Run the code cells of a notebook in a new workspace; magic lines are left out, written files are written."""
    place = Path(tempfile.mkdtemp(dir=top))
    for path in folder.glob("*.py"):
        shutil.copy(path, place)
    kept, is_out = [], False
    for cell in code_cells(folder / notebook):
        if words and words[0] in cell:
            is_out = True
        if words and words[1] in cell:
            is_out = False
        if cell.startswith("%%writefile"):
            first, _, rest = cell.partition("\n")
            (place / first.split()[1]).write_text(rest)
        elif not is_out and "matplotlib" not in cell:
            kept.append("\n".join(line for line in cell.splitlines() if line[:1] not in "%!" or not line))
    (place / "cells.py").write_text("\n".join(kept))
    run([python, "-m", "onrecord", "init"], place, dict(os.environ))
    done = run([python, "-m", "onrecord.azureml", "cells.py"], place, dict(os.environ))
    print(f"{notebook:40} {done.returncode:>3}  {len(kept)} cells; last: {last_line(done.stdout)[:90]}", flush=True)
    if done.returncode:
        print(done.stderr[-2000:])
    return done.returncode == 0


def code_cells(notebook: Path) -> list[str]:
    """The texts of the cells with code."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def write_stub(top: Path) -> None:
    """The stand-in for azureml, and the module that every interpreter imports at its start."""
    for name in ("azureml", "azureml/core", "azureml/core/run"):
        folder = top / "stub" / name
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("" if name == "azureml" else STUB)
    (top / "site").mkdir()
    (top / "site" / "sitecustomize.py").write_text(SITE)


def write_mnist(folder: Path) -> None:
    """Four files of MNIST's form: 200 and 50 pictures, a bright square whose place is the digit."""
    folder.mkdir()
    generator = random.Random(0)
    for name, count in (("train", 200), ("t10k", 50)):
        labels = [generator.randrange(10) for _ in range(count)]
        pictures = bytearray()
        for label in labels:
            picture = bytearray(generator.randrange(60) for _ in range(784))
            for row in range(2 * label, 2 * label + 8):
                picture[row * 28 + 4 : row * 28 + 12] = b"\xff" * 8
            pictures += picture
        with gzip.open(folder / f"{name}-images-idx3-ubyte.gz", "wb") as file:
            file.write(struct.pack(">IIII", 2051, count, 28, 28) + pictures)
        with gzip.open(folder / f"{name}-labels-idx1-ubyte.gz", "wb") as file:
            file.write(struct.pack(">II", 2049, count) + bytes(labels))


def run(words: list[str], folder: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A process to its end."""
    return subprocess.run(
        words,
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        stdin=subprocess.DEVNULL,
    )


def last_line(text: str) -> str:
    """The last line that says something."""
    return next((line for line in reversed(text.splitlines()) if line.strip()), "")


if __name__ == "__main__":
    main()
