"""Scripts written for Azure ML's SDK v1 run unchanged, by its own module names."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from face_make import clean_environment, onrecord, project, shown

from onrecord import Environment, Experiment, Run, RunConfiguration, ScriptRunConfig, Workspace
from onrecord.azureml import shim_folder
from onrecord.azureml.compute import AmlCompute, BadComputeTarget, ComputeTarget
from onrecord.azureml.data import BadDataset, Dataset
from onrecord.azureml.estimators import SKLearn
from onrecord.azureml.interpreter import azure_is_there
from onrecord.azureml.requirements import without_azure
from onrecord.azureml.table import MODULES
from onrecord.config_errors import BadConfig
from onrecord.executors.environment_errors import BadEnvironment

TRAIN = """
import argparse, os
import azureml.core
from azureml.core.run import Run

parser = argparse.ArgumentParser()
parser.add_argument("--penalty", type=float, default=1.0)
args = parser.parse_args()
run = Run.get_context()
for step in range(3):
    run.log("penalty", args.penalty * step)
run.log("sdk", azureml.core.VERSION)
os.makedirs("outputs", exist_ok=True)
open("outputs/model.txt", "w").write("a model")
"""

SUBMIT = """
from azureml.core import Experiment, ScriptRunConfig
from azureml.core.compute import AmlCompute, ComputeTarget
from azureml.core.compute_target import ComputeTargetException
from azureml.core.environment import Environment
from azureml.core.workspace import Workspace
from azureml.exceptions import ActivityFailedException
from azureml.telemetry import set_diagnostics_collection
from azureml.widgets import RunDetails

set_diagnostics_collection(send_diagnostics=True)
ws = Workspace.from_config()
print(ws.name, ws.resource_group, ws.location, ws.subscription_id, sep="/")
try:
    target = ComputeTarget(workspace=ws, name="cpu-cluster")
except ComputeTargetException:
    target = ComputeTarget.create(ws, "cpu-cluster", AmlCompute.provisioning_configuration(vm_size="D2", max_nodes=4))
    target.wait_for_completion(show_output=True, min_node_count=None, timeout_in_minutes=20)
print(target.get_status().serialize()["scaleSettings"]["maxNodeCount"])
env = Environment("mine")
env.python.user_managed_dependencies = True
run = Experiment(ws, "submitted").submit(
    ScriptRunConfig(source_directory=".", script="train.py", arguments=["--penalty", 2.0],
                    compute_target=target, environment=env))
RunDetails(run).show()
run.wait_for_completion(show_output=False)
print(run.get_metrics()["penalty"], run.get_file_names()[-1])
try:
    Experiment(ws, "submitted").submit(ScriptRunConfig(source_directory=".", script="fails.py")).wait_for_completion()
except ActivityFailedException as problem:
    print("caught", type(problem).__name__)
"""


def by_hand(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """`python -m onrecord.azureml`, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "onrecord.azureml", *words],
        cwd=folder,
        env=clean_environment(**more),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def python(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A program of its own in which the modules are installed."""
    return subprocess.run(
        [sys.executable, "-c", f"import onrecord.azureml\nonrecord.azureml.install()\n{code}"],
        cwd=cwd,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("module", MODULES)
def test_every_name_of_the_table_is_where_the_table_says(module: str) -> None:
    for home in MODULES[module].values():
        place, _, name = home.partition(":")
        assert getattr(importlib.import_module(place), name) is not None


def test_a_script_with_compat_runs_unchanged_and_its_metrics_are_on_record(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": TRAIN})
    done = onrecord("run", "--compat", "azureml", "train.py", "--penalty", "0.5", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = Workspace(tmp_path).get_run("@last")
    assert run.get_metrics("penalty") == {"penalty": [0.0, 0.5, 1.0]}
    assert run.get_environment().compat == "azureml"
    assert "outputs/model.txt" in run.get_file_names()
    assert run.get_warnings() == []
    model = run.register_model("ridge", "./outputs/model.txt")
    assert (model.id, model.url) == ("ridge:1", "aml://asset/ridge:1")


def test_a_script_without_compat_is_told_of_it(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": TRAIN})
    done = onrecord("run", "train.py", cwd=tmp_path)
    assert done.returncode == 1
    assert any("--compat azureml" in warning for warning in Workspace(tmp_path).get_run("@last").get_warnings())


def test_a_submit_script_runs_unchanged_and_so_do_the_scripts_that_it_submits(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": TRAIN, "submit.py": SUBMIT, "fails.py": "import azureml.core\nraise SystemExit(3)"})
    Workspace.create(tmp_path)
    done = by_hand(tmp_path, "submit.py")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"{tmp_path.name}/local/local/local"
    assert lines[1:3] == ["cpu-cluster: Succeeded", "4"]
    assert lines[-2:] == ["[0.0, 2.0, 4.0] outputs/model.txt", "caught RunFailedError"]
    again = by_hand(tmp_path, "submit.py")
    assert again.returncode == 0, again.stderr
    assert Workspace(tmp_path).layout.config.read_text().count("[targets.") == 1


def test_a_script_that_is_run_by_hand_records_a_run_also_from_spawned_workers(tmp_path: Path) -> None:
    source = """
import multiprocessing, sys
from azureml.core import Run
def work(value):
    Run.get_context().log("worker", value)
    return value
if __name__ == "__main__":
    Run.get_context().log("words", sys.argv[1])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(work, [1, 2]))
    sys.exit(4)
"""
    project(tmp_path, {"train.py": source})
    Workspace.create(tmp_path)
    done = by_hand(tmp_path, "train.py", "--fast", ONRECORD_OFFLINE="record")
    assert (done.returncode, done.stdout) == (4, "[1, 2]\n"), done.stderr
    run = Workspace(tmp_path).get_run("@last")
    assert run.get_metrics() == {"words": "--fast", "worker": [1, 2]}
    assert run.wait_for_completion(raise_on_error=False)["status"] == "Failed"


def test_without_a_workspace_a_submit_script_is_told_to_make_one(tmp_path: Path) -> None:
    project(tmp_path, {"submit.py": "from azureml.core import Workspace\nWorkspace.from_config()"})
    done = by_hand(tmp_path, "submit.py")
    assert done.returncode == 1
    assert "onrecord init" in done.stderr


def test_a_script_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert by_hand(tmp_path, "missing.py").stderr == "onrecord: cannot read missing.py: No such file or directory\n"
    assert by_hand(tmp_path).returncode == 2


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("from azureml.train.hyperdrive import BanditPolicy", "onrecord has no sweeps yet"),
        ("import azureml.train.hyperdrive.runconfig", "onrecord has no sweeps yet"),
        ("from azureml.core import Webservice", "nothing is deployed from here"),
        ("from azureml.core.model import InferenceConfig", "nothing is deployed from here"),
        ("from azureml.core.compute import RemoteCompute", 'hosts = ["user@address:22"]'),
        ("from azureml.opendatasets import MNIST", "onrecord downloads no data"),
        ("from azureml.core import Nonsense", "docs/azureml.md lists what there is"),
        ("import azureml.nonsense.deeper", "onrecord has no azureml.nonsense"),
    ],
)
def test_what_is_not_there_says_so_and_what_to_do_instead(line: str, told: str, tmp_path: Path) -> None:
    code = f"try:\n    {line}\nexcept ImportError as problem:\n    print(problem)"
    done = python(code, tmp_path)
    assert told in done.stdout, done
    assert "  next: " in done.stdout


def test_importing_the_modules_imports_nothing_behind_them(tmp_path: Path) -> None:
    code = (
        "import azureml.core, azureml.train.estimator, sys\n"
        "print(sorted(name for name in ('attrs', 'attr', 'sqlite3', 'onrecord.workspace') if name in sys.modules))\n"
        "print(azureml.core.run.Run.__name__, hasattr(azureml.core, '__wrapped__'))"
    )
    assert python(code, tmp_path).stdout == "[]\nRun False\n"


def test_azures_own_modules_are_left_alone_where_they_are_in_use(tmp_path: Path) -> None:
    project(tmp_path, {"azureml/__init__.py": "", "azureml/core.py": "VERSION = '1.61.0'"})
    code = "import azureml\nimport onrecord.azureml\nonrecord.azureml.install()"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "AzureIsLoaded: azureml is imported already" in done.stderr


def test_a_python_with_the_shim_but_without_onrecord_says_what_to_install(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = [{shim_folder()!r}]; import azureml.core"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "this Python has no onrecord" in done.stderr


def test_a_run_in_an_interpreter_without_onrecord_is_refused_before_it_is_made(tmp_path: Path) -> None:
    bare = tmp_path / "bare-python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(0o755)
    project(tmp_path, {"train.py": TRAIN})
    environment = Environment("bare", compat="azureml")
    environment.python.user_managed_dependencies, environment.python.interpreter_path = True, str(bare)
    with pytest.raises(BadConfig, match="has no onrecord") as caught:
        Experiment(Workspace.create(tmp_path), "x").submit(
            ScriptRunConfig(tmp_path, "train.py", environment=environment)
        )
    assert caught.value.field == "environment"


def test_a_job_on_hosts_or_in_a_container_is_refused(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": TRAIN})
    environment = Environment("mine", compat="azureml")
    environment.docker.base_image = "python:3.11"
    with pytest.raises(BadConfig, match="in a container"):
        ScriptRunConfig(tmp_path, "train.py", environment=environment).checked()
    there = RunConfiguration(environment=Environment("mine", compat="azureml"), hosts=["a"])
    with pytest.raises(BadConfig, match="on several hosts"):
        ScriptRunConfig(tmp_path, "train.py", run_config=there).checked()


def test_compat_is_part_of_an_environments_definition(tmp_path: Path) -> None:
    environment = Environment("mine", compat="azureml")
    environment.save_to_directory(tmp_path / "saved")
    assert Environment.load_from_directory(tmp_path / "saved") == environment
    job = ScriptRunConfig(tmp_path, "train.py", environment=environment)
    assert ScriptRunConfig.load(job.save(tmp_path / "job.yaml")).environment == environment
    registered = environment.register(Workspace.create(tmp_path))
    assert Environment.get(Workspace(tmp_path), "mine").compat == registered.compat == "azureml"
    assert environment.clone("other").compat == "azureml"
    with pytest.raises(BadEnvironment, match="compat is 'mlflow'"):
        Environment("mine", compat="mlflow")


def test_azures_packages_in_an_environment_are_onrecord() -> None:
    environment = Environment("mine")
    wanted = environment.python.conda_dependencies
    for package in ("azureml-defaults", "azureml-core==1.15.0", "scikit-learn==1.6.1"):
        wanted.add_pip_package(package)
    assert list(without_azure(environment.python).conda_dependencies.pip_packages) == [
        "scikit-learn==1.6.1",
        "onrecord",
    ]
    assert "azureml-defaults" in wanted.pip_packages


def test_a_run_says_that_azures_own_library_was_not_used(tmp_path: Path) -> None:
    (tmp_path / "environment.json").write_text(json.dumps({"packages": {"azureml-core": "1.61.0"}}))
    assert "azureml-core 1.61.0 is installed" in azure_is_there(tmp_path / "environment.json")[0]
    (tmp_path / "environment.json").write_text(json.dumps({"packages": {"numpy": "2.0"}}))
    assert azure_is_there(tmp_path / "environment.json") == []


def test_an_inline_run_has_the_modules_too(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": TRAIN})
    done = onrecord("run", "--target", "inline", "--compat", "azureml", "train.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert shown(tmp_path)["status"] == "Completed"


# ---- compute targets, data, estimators -------------------------------------------------------------------


def test_a_cluster_is_a_target_that_has_so_many_runs_at_once(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path)
    made = ComputeTarget.create(workspace, "gpu.pool", AmlCompute.provisioning_configuration(max_nodes="2"))
    assert workspace.compute_targets["gpu.pool"].max_concurrent == 2
    again = ComputeTarget.create(workspace, "gpu.pool", AmlCompute.provisioning_configuration(max_nodes=8))
    assert again.get_status().most == 2
    assert "gpu.pool" in [target.name for target in ComputeTarget.list(workspace)]
    assert made.serialize()["provisioningState"] == "Succeeded"
    assert ScriptRunConfig(tmp_path, "train.py", compute_target=made).compute_target == "gpu.pool"


@pytest.mark.parametrize("max_nodes", [0, -1, "many", 1.5])
def test_a_cluster_of_no_nodes_is_refused(max_nodes: object) -> None:
    with pytest.raises(BadComputeTarget, match="max_nodes"):
        AmlCompute.provisioning_configuration(max_nodes=max_nodes)


def test_what_is_no_cluster_is_refused_with_what_to_write(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path)
    for name, wanted in (("a", object()), ('a"]\n[x', AmlCompute.provisioning_configuration(max_nodes=1))):
        with pytest.raises(BadComputeTarget):
            ComputeTarget.create(workspace, name, wanted)
    with pytest.raises(BadComputeTarget, match=r"config\.toml"):
        ComputeTarget.attach(workspace, "a", object())
    with pytest.raises(BadComputeTarget, match=r"\[targets\.local\]"):
        ComputeTarget(workspace, "local").delete()
    assert "[targets" not in workspace.layout.config.read_text()


def test_a_file_dataset_is_a_path_in_the_arguments_of_a_job(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": TRAIN, "data/a/x.csv": "1", "data/y.csv": "2"})
    data = Dataset.File.from_files(tmp_path / "data")
    job = ScriptRunConfig(tmp_path, "train.py", ["--data-folder", data.as_named_input("digits").as_mount()])
    assert job.checked().arguments == ("--data-folder", str(tmp_path / "data"))
    assert data.to_path() == ["/a/x.csv", "/y.csv"]
    copied = data.download(tmp_path / "copy")
    assert [Path(path).read_text() for path in copied] == ["1", "2"]
    with pytest.raises(BadDataset, match="is there already"):
        data.download(tmp_path / "copy")
    assert len(Dataset.File.from_files(str(tmp_path / "data" / "**" / "*.csv")).to_path()) == 2


def test_data_that_is_not_here_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BadDataset, match="onrecord downloads no data"):
        Dataset.File.from_files("https://example.org/a.csv")
    with pytest.raises(BadDataset, match="there is no"):
        Dataset.File.from_files(str(tmp_path / "nothing"))
    with pytest.raises(BadDataset, match=r"pandas\.read_csv"):
        Dataset.Tabular.from_delimited_files("a.csv")
    with pytest.raises(BadDataset, match="no registered data set"):
        Dataset.get_by_name(None, "digits")
    with pytest.raises(BadDataset, match="cannot be registered"):
        Dataset.File.from_files(tmp_path).register(None, "digits")


def test_an_estimator_is_a_job(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": TRAIN})
    job = SKLearn(tmp_path, entry_script="train.py", script_params={"--penalty": 0.5, "--fast": ""}, vm_size="D2")
    assert job.checked().arguments == ("--penalty", "0.5", "--fast")
    assert SKLearn(tmp_path, entry_script="train.py", pip_packages=["pandas"]).environment.needs_build()
    with pytest.raises(TypeError, match="distributed_training"):
        SKLearn(tmp_path, entry_script="train.py", node_count=2)
    with pytest.raises(TypeError, match="unexpected"):
        SKLearn(tmp_path, entry_script="train.py", nodes=2)


@pytest.mark.long
def test_the_wheel_has_the_folder_for_the_path(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-m", "build", "--wheel", "-o", tmp_path, root], check=True, capture_output=True)
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    assert "onrecord/azureml/path/azureml/__init__.py" in names


def test_the_run_that_a_script_sees_is_the_run_of_onrecord(tmp_path: Path) -> None:
    code = "from azureml.core import Run\nprint(Run.__module__, Run.__name__)"
    assert python(code, tmp_path).stdout == f"{Run.__module__} Run\n"
