"""Scripts written for Azure ML, with its imports as they are: training scripts, and scripts that submit them."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from face_make import clean_environment, onrecord, project

from onrecord import Environment, Experiment, ScriptRunConfig, Workspace
from onrecord.azureml import PATH
from onrecord.azureml.names import INSTEAD, MODULES
from onrecord.executors.environment_errors import BadEnvironment

TRAIN = """
import argparse, multiprocessing, os, subprocess, sys
from azureml.core import Run
from azureml.core.run import Run as SameRun

def other_process(queue):
    from azureml.core import Run as There
    queue.put(There.get_context().id)

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--alpha", type=float)
    alpha = parser.parse_args().alpha
    run = Run.get_context()
    assert Run is SameRun
    run.log("alpha", alpha)
    run.log_list("list", [1, 2])
    run.log_row("row", x=1, y=2.5)
    os.makedirs("outputs", exist_ok=True)
    open("outputs/model.txt", "w").write("model")
    run.parent and run.parent.log("child", 1)
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=other_process, args=(queue,))
    process.start()
    assert queue.get() == run.id
    process.join()
    subprocess.run([sys.executable, "-c", "import azureml.core; print(azureml.core.VERSION)"], check=True)
"""
SUBMIT = """
import azureml.core
from azureml.core import Workspace, Experiment, ScriptRunConfig, Environment
from azureml.core.authentication import InteractiveLoginAuthentication
from azureml.core.compute import ComputeTarget, AmlCompute
from azureml.core.compute_target import ComputeTargetException
from azureml.core.conda_dependencies import CondaDependencies
from azureml.core.runconfig import RunConfiguration, MpiConfiguration
from azureml.telemetry import set_diagnostics_collection
from azureml.widgets import RunDetails
from azureml.exceptions import UserErrorException, ActivityFailedException

set_diagnostics_collection(send_diagnostics=True)
ws = Workspace.from_config(auth=InteractiveLoginAuthentication())
print(ws.name, ws.resource_group, ws.location, ws.subscription_id, sep="\\t")
try:
    target = ComputeTarget(workspace=ws, name="cpu-cluster")
    print("found")
except ComputeTargetException:
    config = AmlCompute.provisioning_configuration(vm_size="STANDARD_D2_V2", max_nodes=4)
    target = ComputeTarget.create(ws, "cpu-cluster", config)
    target.wait_for_completion(show_output=True, min_node_count=None, timeout_in_minutes=20)
print(target.get_status().serialize()["currentNodeCount"])
env = Environment("user-managed-env")
env.python.user_managed_dependencies = True
exp = Experiment(workspace=ws, name="train-on-local")
src = ScriptRunConfig(source_directory="train", script="train.py", arguments=["--alpha", 0.5], environment=env,
                      compute_target=target)
run = exp.submit(src)
RunDetails(run).show()
run.wait_for_completion(show_output=True)
print(run.get_metrics())
model = run.register_model(model_name="best", model_path="./outputs/model.txt")
print(model.name, model.version, sep="\\t")
try:
    run.download_file("outputs/none")
except UserErrorException as problem:
    print("no such file")
bad = ScriptRunConfig(source_directory="train", script="fails.py", environment=env)
try:
    exp.submit(bad).wait_for_completion()
except ActivityFailedException as problem:
    print("failed")
with exp.start_logging(snapshot_directory=None) as interactive:
    interactive.log(name="message", value="Hello from run!")
    with interactive.child_run() as child:
        child.log("n", 1)
"""


def by_hand() -> dict[str, str]:
    """The variables of a user's own shell: within a test, nothing that is started by hand is put on record."""
    return {name: value for name, value in clean_environment().items() if not name.startswith("PYTEST")}


def under_azure(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "onrecord.azureml", *words],
        cwd=cwd, env=by_hand(), capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip


def test_a_script_that_submits_runs_with_its_imports_as_they_are(tmp_path: Path) -> None:
    project(tmp_path, {"train/train.py": TRAIN, "train/fails.py": "import azureml.core\n1 / 0\n", "submit.py": SUBMIT})
    Workspace.create(tmp_path)
    done = under_azure("submit.py", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "{'alpha': 0.5, 'list': [1, 2], 'row': {'x': 1, 'y': 2.5}}" in done.stdout
    assert "best\t1\n" in done.stdout and "\nno such file\nfailed\n" in done.stdout
    workspace = Workspace(tmp_path)
    assert workspace.compute_targets["cpu-cluster"].max_concurrent == 4
    runs = list(Experiment(workspace, "train-on-local").get_runs(include_children=True))
    assert [run.get_status() for run in runs] == ["Completed", "Completed", "Failed", "Completed"]
    again = under_azure("submit.py", cwd=tmp_path)
    assert again.returncode == 0 and "\nfound\n4\n" in again.stdout


def test_a_training_script_is_run_by_the_command(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": TRAIN})
    done = onrecord("run", "--compat", "azureml", "train.py", "--alpha", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = Workspace(tmp_path).get_run("@last")
    assert run.get_metrics("alpha") == {"alpha": 2.0} and "outputs/model.txt" in run.get_file_names()
    without = onrecord("run", "train.py", "--alpha", "2", cwd=tmp_path)
    assert without.returncode == 1 and b"No module named 'azureml'" in without.stderr


def test_an_environment_asks_for_it_and_says_so_when_it_is_registered(tmp_path: Path) -> None:
    workspace = Workspace.create(project(tmp_path, {"train.py": "import azureml.core.run\n"}))
    environment = Environment("from-azure")
    environment.python.user_managed_dependencies = True
    environment.compat = "azureml"
    registered = environment.register(workspace)
    assert Environment.get(workspace, "from-azure").compat == registered.compat == "azureml"
    run = Experiment(workspace, "e").submit(ScriptRunConfig(tmp_path, "train.py", environment=registered))
    run.wait_for_completion()
    assert run.get_environment().compat == "azureml"
    environment.compat = None
    assert environment.compat is None and environment.environment_variables == {}
    with pytest.raises(BadEnvironment, match="mlflow"):
        environment.compat = "mlflow"


def test_a_script_that_is_started_by_hand_is_a_run_of_its_own(tmp_path: Path) -> None:
    Workspace.create(project(tmp_path, {"lib.py": "x = 3", "hand.py": (
        "import sys\nfrom lib import x\nfrom azureml.core import Run\n"
        "Run.get_context().log('x', x)\nprint(sys.argv, __name__)\nsys.exit(4)\n"
    )}))  # fmt: skip
    done = under_azure("hand.py", "--flag", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (4, "['hand.py', '--flag'] __main__\n")
    assert Workspace(tmp_path).get_run("@last").get_metrics() == {"x": 3}
    assert under_azure(cwd=tmp_path).returncode == 2
    missing = under_azure("none.py", cwd=tmp_path)
    assert missing.returncode == 2 and "there is no script none.py" in missing.stderr


@pytest.mark.parametrize("module", MODULES)
def test_every_name_of_the_table_stands_for_something(module: str) -> None:
    for name, home in MODULES[module].items():
        where, _, attribute = home.partition(":")
        assert hasattr(import_module(where), attribute), name


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("import azureml.train.hyperdrive", "there are no sweeps yet"),
        ("from azureml.train.hyperdrive.runconfig import HyperDriveConfig", "there are no sweeps yet"),
        ("from azureml.core import Dataset", "pass the path of the data as an argument"),
        ("from azureml.core import Runn", "did you mean Run?"),
        ("import azureml.core.worksapce", "onrecord has nothing for azureml.core.worksapce"),
        ("from azureml.nothing import Thing", "docs/azureml.md"),
    ],
)
def test_what_is_not_there_is_told_with_what_to_do(tmp_path: Path, line: str, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", line],
        env=clean_environment(PYTHONPATH=PATH),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and "NotInOnrecord" in done.stderr and said in done.stderr


def test_a_python_without_onrecord_says_what_to_install(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {PATH!r}); import azureml.core"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and "pip install onrecord" in done.stderr


def test_modules_know_what_they_have(tmp_path: Path) -> None:
    program = "import azureml.core, copy; print(sorted(n for n in dir(azureml.core) if not n.startswith('__')))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=clean_environment(PYTHONPATH=PATH),
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(name in done.stdout for name in MODULES["azureml.core"] if not name.startswith("__"))
    assert all(not any(name == part or name.startswith(part + ".") for part in INSTEAD) for name in MODULES)
