"""Scripts and notebooks of Azure ML's public repository MachineLearningNotebooks, unmodified, from a checkout of yours.

    git clone https://github.com/Azure/MachineLearningNotebooks && git -C MachineLearningNotebooks checkout 9fe459be
    python benchmarks/azure_notebooks.py MachineLearningNotebooks

Each training script is run twice: under onrecord with `--compat azureml`, and by hand with an `azureml` that only
writes down what is logged. One JSON line a script says whether both logged the same. Of each notebook the code cells
are run as one script by `python -m onrecord.azureml`, without those that need Docker. scikit-learn and matplotlib are
needed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from onrecord import Workspace

HOWTO = "how-to-use-azureml"
SKLEARN = f"{HOWTO}/ml-frameworks/scikit-learn/train-hyperparameter-tune-deploy-with-sklearn"
SCRIPTS = {
    f"{HOWTO}/training/train-on-local/train.py": [],
    f"{HOWTO}/track-and-monitor-experiments/manage-runs/hello.py": [],
    f"{HOWTO}/track-and-monitor-experiments/manage-runs/hello_with_children.py": [],
    f"{HOWTO}/track-and-monitor-experiments/manage-runs/hello_with_delay.py": [],
    f"{HOWTO}/ml-frameworks/scikit-learn/train-hyperparameter-tune-deploy-with-sklearn/train_iris.py": [
        "--kernel",
        "rbf",
    ],
}
NOTEBOOKS = (
    f"{HOWTO}/training/train-on-local/train-on-local.ipynb",
    f"{HOWTO}/track-and-monitor-experiments/manage-runs/manage-runs.ipynb",
)
# Instead of the real one: what is logged, as a line of a file.
STUB = """
import json, os, sys, types
def note(name, value):
    value = value.item() if hasattr(value, "item") else value
    with open(os.environ["LOGGED"], "a") as out:
        out.write(json.dumps([name, value]) + "\\n")
class Run:
    @staticmethod
    def get_context(*args, **kwargs): return Run()
    def log(self, name, value, *args, **kwargs): note(name, value)
    def create_children(self, count=None, **kwargs): return [Child() for _ in range(count)]
    def __getattr__(self, name): return lambda *args, **kwargs: None
class Child(Run):
    def log(self, name, value, *args, **kwargs): note("child " + name, value)
for name in ("core", "core.run"):
    module = sys.modules["azureml." + name] = types.ModuleType("azureml." + name)
    module.Run = Run
__path__ = []
"""


def by_hand(folder: Path, script: str, arguments: list[str]) -> tuple[int, dict[str, list[Any]]]:
    """Exit code and what was logged, of the script as it is started by hand."""
    stub, logged = folder / "stub", folder / "logged"
    (stub / "azureml").mkdir(parents=True)
    (stub / "azureml" / "__init__.py").write_text(STUB)
    variables = {**os.environ, "PYTHONPATH": str(stub), "LOGGED": str(logged)}
    done = subprocess.run(
        [sys.executable, script, *arguments], cwd=folder / "hand", env=variables, capture_output=True, check=False
    )
    metrics: dict[str, list[Any]] = {}
    for line in logged.read_text().splitlines() if logged.exists() else []:
        name, value = json.loads(line)
        metrics.setdefault(name, []).append(value)
    return done.returncode, metrics


def under_onrecord(folder: Path, script: str, arguments: list[str]) -> tuple[int, dict[str, list[Any]], str]:
    """The same of the script as a run, and the last line that it said."""
    words = [sys.executable, "-m", "onrecord", "run", "--compat", "azureml", script, *arguments]
    done = subprocess.run(words, cwd=folder / "run", capture_output=True, text=True, check=False)
    run = Workspace(folder / "run").get_run("@last")
    run = run.parent or run
    metrics = {name: value if isinstance(value, list) else [value] for name, value in run.get_metrics().items()}
    for child in reversed(list(run.get_children())):
        for name, value in child.get_metrics().items():
            metrics.setdefault(f"child {name}", []).append(value)
    said = [line for line in done.stderr.splitlines() if "Error" in line]
    return done.returncode, metrics, said[-1] if said else ""


def compare(checkout: Path, script: str, arguments: list[str]) -> None:
    """One script, both ways."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for way in ("hand", "run"):
            shutil.copytree((checkout / script).parent, folder / way)
        code, logged = by_hand(folder, Path(script).name, arguments)
        run_code, metrics, said = under_onrecord(folder, Path(script).name, arguments)
        same = code == run_code and metrics == logged
        print(json.dumps({"script": script, "by_hand": code, "under_onrecord": run_code, "same": same,
                          "values": sum(map(len, logged.values())), "said": said}), flush=True)  # fmt: skip


def notebook(checkout: Path, path: str) -> None:
    """The code of one notebook."""
    code = []
    for cell in json.loads((checkout / path).read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] != "code" or source.startswith("%%"):
            continue
        if "docker" in source:
            continue
        code += [line for line in source.splitlines() if not line.lstrip().startswith(("!", "%"))]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "notebook"
        shutil.copytree((checkout / path).parent, folder)
        Workspace.create(folder)
        (folder / "cells.py").write_text("\n".join(code) + "\n")
        words = [sys.executable, "-m", "onrecord.azureml", "cells.py"]
        variables = {**os.environ, "MPLBACKEND": "Agg"}
        done = subprocess.run(words, cwd=folder, env=variables, capture_output=True, text=True, check=False)
        for run in Workspace(folder).runs():
            run.wait_for_completion(raise_on_error=False)
        runs = [run.get_status() for run in Workspace(folder).runs()]
        errors = [run.get_details()["error"]["message"] for run in Workspace(folder).runs("status = Failed")]
        print(json.dumps({"notebook": path, "exit_code": done.returncode, "runs": runs,
                          "errors": errors, "said": done.stderr.strip().splitlines()[-1:]}), flush=True)  # fmt: skip


def main() -> None:
    """Run all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    checkout = parser.parse_args().checkout
    for script, arguments in SCRIPTS.items():
        compare(checkout, script, arguments)
    for path in NOTEBOOKS:
        notebook(checkout, path)


if __name__ == "__main__":
    main()
