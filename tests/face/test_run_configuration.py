"""`src.run_config`, what wins over what, and `.azureml/NAME.runconfig`."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml
from face_make import project, run_to_end

from onrecord import (
    CondaDependencies,
    Environment,
    Experiment,
    MpiConfiguration,
    PyTorchConfiguration,
    RunConfiguration,
    ScriptRunConfig,
    TensorflowConfiguration,
    Workspace,
)
from onrecord.distributed import BadDistribution
from onrecord.resources import Resources
from onrecord.script_run_config import BadConfig, IgnoredSetting

# As azureml-core 1.61 writes `RunConfiguration().save('.', 'gpu')`, shortened where lists repeat.
AZURE = """
# The script to run.
script: train.py
# The arguments to the script file.
arguments: [--rank, $AZ_BATCHAI_TASK_INDEX, --yes, yes, 0.10]
# The name of the compute target to use for this run.
target: local
# Framework to execute inside. Allowed values are "Python", "PySpark", "CNTK", "TensorFlow", and "PyTorch".
framework: PyTorch
# Communicator for the given framework. Allowed values are "None", "ParameterServer", "OpenMpi", and "IntelMpi".
communicator: Gloo
maxRunDurationSeconds: 600
nodeCount: 1
environment:
  name: project_environment
  version:
  environmentVariables:
    EXAMPLE_ENV_VAR: EXAMPLE_VALUE
  python:
    userManagedDependencies: true
    interpreterPath: python
    condaDependenciesFile:
    baseCondaEnvironment:
  docker:
    enabled: false
    baseImage: mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04
    arguments: []
  spark:
    repositories: []
    packages: []
    precachePackages: true
  inferencingStackVersion:
history:
  outputCollection: true
  directoriesToWatch:
  - logs
  - checkpoints
  snapshotProject: true
spark:
  configuration:
    spark.app.name: Azure ML Experiment
    spark.yarn.maxAppAttempts: 1
hdi:
  yarnDeployMode: cluster
docker:
  useDocker: false
  sharedVolumes: true
  shmSize: 2g
  arguments: []
mpi:
  processCountPerNode: 1
pytorch:
  communicationBackend: gloo
  processCount: 2
tensorflow:
  workerCount: 1
  parameterServerCount: 1
dataReferences: {}
data: {}
outputData: {}
sourceDirectoryDataStore:
amlcompute:
  vmSize:
  vmPriority:
  retainCluster: false
  clusterMaxNodeCount: 1
"""


def azure(folder: Path, text: str = AZURE, name: str = "gpu", sub: str = ".azureml") -> Path:
    (folder / sub).mkdir(parents=True, exist_ok=True)
    (folder / sub / f"{name}.runconfig").write_text(text)
    return folder


# ---- in Python -------------------------------------------------------------------------------------


def test_the_run_config_of_a_job_is_live(tmp_path: Path) -> None:
    source = "import os; print(os.environ['A'], os.environ['WORLD_SIZE'], os.environ['ONRECORD_RANK'])\n"
    job = ScriptRunConfig(project(tmp_path, {"train.py": source}), "train.py")
    settings = job.run_config
    settings.environment.python.user_managed_dependencies = True
    settings.environment_variables["A"] = "live"
    settings.framework, settings.communicator, settings.pytorch.process_count = "pytorch", "gloo", 2
    settings.priority = 3
    settings.history.directories_to_watch.append("checkpoints")  # type: ignore[attr-defined]
    assert (job.environment is settings.environment, job.priority) == (True, 3)
    run = Experiment(Workspace.create(tmp_path), "tests").submit(job)
    run.wait_for_completion()
    assert run.read_file("logs/rank-1.txt") == b"live 2 1\n"
    definition = run.get_details()["runDefinition"]
    assert (definition["priority"], definition["directories_to_watch"]) == (3, ["checkpoints"])
    assert definition["distribution"]["communication_backend"] == "gloo"


def test_what_a_job_is_given_is_in_its_run_config(tmp_path: Path) -> None:
    environment = Environment("mine")
    job = ScriptRunConfig(
        tmp_path, "train.py", compute_target="small", environment=environment, max_run_duration_seconds=9,
        distributed_job_config=MpiConfiguration(2, 3), priority=1, resources=Resources(2), directories_to_watch=["a"],
    )  # fmt: skip
    settings = job.run_config
    assert (settings.target, settings.max_run_duration_seconds, settings.node_count) == ("small", 9, 3)
    assert settings.environment is environment
    assert (settings.communicator, settings.mpi.process_count_per_node) == ("IntelMpi", 2)
    assert job.distributed_job_config == MpiConfiguration(2, 3)
    job.distributed_job_config = TensorflowConfiguration(2, 0)
    assert (settings.framework, settings.communicator) == ("TensorFlow", "ParameterServer")
    job.compute_target, job.max_run_duration_seconds, job.distributed_job_config = None, None, None
    assert (settings.target, settings.max_run_duration_seconds, settings.distribution()) == ("local", None, None)


def test_a_run_config_wins_over_settings_beside_it_and_the_script_over_its_own(tmp_path: Path) -> None:
    settings = RunConfiguration("other.py", ["--other"])
    settings.target = "from-run-config"
    with pytest.warns(IgnoredSetting, match=r"compute_target, max_run_duration_seconds beside run_config.*target"):
        job = ScriptRunConfig(
            project(tmp_path, {"train.py": "", "other.py": ""}), "train.py", run_config=settings,
            compute_target="beside", max_run_duration_seconds=9,
        )  # fmt: skip
    assert job.run_config is settings
    assert (job.compute_target, job.checked().script, job.checked().arguments) == (
        "from-run-config", "train.py", ("--other",),
    )  # fmt: skip
    plain = ScriptRunConfig(tmp_path, run_config=settings).checked()
    assert (plain.script, plain.arguments) == ("other.py", ("--other",))
    assert ScriptRunConfig(tmp_path, arguments=[1], run_config=settings).checked().arguments == ("1",)
    assert ScriptRunConfig(tmp_path, command=["true"], run_config=settings).checked().command == "true"


def test_a_command_may_be_in_the_run_config(tmp_path: Path) -> None:
    settings = RunConfiguration(command=["true", 1])
    assert ScriptRunConfig(tmp_path, run_config=settings).checked().arguments == ("1",)
    settings.script = "train.py"
    with pytest.raises(BadConfig, match="both a command and a script"):
        ScriptRunConfig(tmp_path, run_config=settings).checked()


def test_dependencies_given_to_a_run_config_are_those_of_its_environment() -> None:
    wanted = CondaDependencies.create(pip_packages=["numpy"])
    settings = RunConfiguration(conda_dependencies=wanted)
    assert settings.environment.python.conda_dependencies is wanted
    assert settings.environment.needs_build()


def test_jobs_are_copied_with_other_arguments(tmp_path: Path) -> None:
    job = ScriptRunConfig(tmp_path, "train.py", [1], priority=2, environment_variables={"A": "1"})
    other = attrs.evolve(job, arguments=[2])
    assert (other.arguments, other.priority, other.run_config is job.run_config) == ([2], 2, True)
    for twin in (copy.deepcopy(job), pickle.loads(pickle.dumps(job))):  # noqa: S301
        assert twin == job
        twin.run_config.target = "elsewhere"
    assert job.compute_target == "local"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"framework": "PyTroch", "communicator": "Gloo"}, "'PyTorch'"),
        ({"communicator": "openmpy"}, "'OpenMpi'"),
        ({"communicator": "Gloo"}, "is how processes of PyTorch meet"),
        ({"framework": "PyTorch", "communicator": "ParameterServer"}, "TensorFlow"),
        ({"node_count": 2}, "without a communicator"),
        ({"communicator": "OpenMpi", "node_count": 0}, "node_count is 0"),
        ({"framework": 7}, "framework is 7"),
    ],
)
def test_processes_that_cannot_meet_are_refused(options: dict[str, Any], words: str) -> None:
    settings = RunConfiguration()
    for name, value in options.items():
        setattr(settings, name, value)
    with pytest.raises((BadConfig, BadDistribution), match=words):
        settings.distribution()


def test_a_run_without_its_source_or_outputs_is_refused(tmp_path: Path) -> None:
    job = ScriptRunConfig(project(tmp_path, {"train.py": ""}), "train.py")
    job.run_config.history.snapshot_project = False
    with pytest.raises(BadConfig, match="always kept"):
        job.checked()


def test_what_is_no_run_config_is_refused() -> None:
    with pytest.raises(BadConfig, match="RunConfiguration"):
        ScriptRunConfig(run_config={"target": "local"})  # type: ignore[arg-type]


def test_the_framework_of_spark_is_on_record(tmp_path: Path) -> None:
    job = ScriptRunConfig(project(tmp_path, {"train.py": ""}), "train.py")
    job.run_config.framework, job.run_config.spark.configuration = "pyspark", {"spark.app.name": "x"}
    document = job.checked().as_document()
    assert (document["framework"], document["spark"]) == ("PySpark", {"spark.app.name": "x"})


# ---- files -----------------------------------------------------------------------------------------


def test_a_file_that_azure_ml_wrote_is_read_and_runs(tmp_path: Path) -> None:
    settings = RunConfiguration.load(azure(tmp_path), "gpu")
    assert settings.arguments == ["--rank", "$AZ_BATCHAI_TASK_INDEX", "--yes", "yes", "0.10"]
    assert settings.distribution() == PyTorchConfiguration("Gloo", 2)
    assert settings.environment.python.interpreter_path is None
    assert settings.spark.configuration["spark.yarn.maxAppAttempts"] == "1"
    project(tmp_path, {"train.py": "import os, sys; print(sys.argv[1:], os.environ['EXAMPLE_ENV_VAR'])\n"})
    run = Experiment(Workspace.create(tmp_path), "tests").submit(ScriptRunConfig(tmp_path, run_config=settings))
    run.wait_for_completion()
    assert run.read_file("logs/rank-1.txt") == b"['--rank', '1', '--yes', 'yes', '0.10'] EXAMPLE_VALUE\n"
    definition = run.get_details()["runDefinition"]
    assert (definition["max_run_duration_seconds"], definition["directories_to_watch"]) == (600, ["checkpoints"])


@pytest.mark.parametrize("separate", [False, True])
def test_what_is_saved_is_loaded_again(tmp_path: Path, separate: bool) -> None:
    settings = RunConfiguration("train.py", ["--a", 0.5, "yes", "1e-3"], "TensorFlow", "ParameterServer")
    settings.environment = Environment("mine", environment_variables={"A": "1"})
    settings.environment.python.conda_dependencies = CondaDependencies.create(pip_packages=["numpy==2"])
    settings.target, settings.max_run_duration_seconds, settings.priority = "small", None, 4
    settings.tensorflow.worker_count, settings.history.directories_to_watch = 3, ["logs", "x"]
    file = settings.save(tmp_path, "cpu", separate_environment_yaml=separate)
    assert file == tmp_path / ".azureml" / "cpu.runconfig"
    assert (tmp_path / ".azureml" / "environment.yml").exists() is separate
    settings.arguments = ["--a", "0.5", "yes", "1e-3"]
    assert RunConfiguration.load(tmp_path, "cpu") == settings
    assert RunConfiguration.load(file) == settings
    document = yaml.safe_load(file.read_text())
    assert (document["maxRunDurationSeconds"], document["tensorflow"]["workerCount"]) == (None, 3)
    RunConfiguration.delete(tmp_path, "cpu")
    assert not file.exists()


def test_a_file_in_the_old_folder_or_beside_is_found(tmp_path: Path) -> None:
    azure(tmp_path, "target: old\n", "one", "aml_config")
    azure(tmp_path, "target: here\n", "two", ".")
    assert RunConfiguration.load(tmp_path, "one").target == "old"
    assert RunConfiguration.load(tmp_path, "two").target == "here"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("target: a\nnodeCuont: 2\n", 2, "did you mean nodeCount?"),
        ("mpi:\n  processCount: 2\n", 2, "mpi.processCount is not known"),
        ("target: a\n\ntarget: b\n", 3, "target is there twice"),
        ("nodeCount: two\n", 1, "it is a whole number"),
        ("history:\n  outputCollection: maybe\n", 2, "it is true or false"),
        ("environment:\n  python:\n    interpreter: x\n", 3, "did you mean interpreterPath?"),
        ("arguments: --alpha 1\n", 1, "it is a list"),
        ("arguments:\n- [1, 2]\n", 2, "holds a list"),
        ("target: [a]\n", 1, "single values only"),
        ("mpi: 3\n", 1, "a section with keys"),
        ("dataReferences:\n  a: {}\n", 2, "Azure datastore"),
        ("target: 'a\n", 2, "this is no YAML"),
        ("? [a]\n: b\n", 1, "a key is no text"),
        ("- a\n", 1, "describes no job"),
        ("target: !!python/object:os.system a\n", 1, ""),
    ],
)
def test_a_mistake_in_a_file_is_told_with_its_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    azure(tmp_path, text)
    if not words:
        # A tag is no instruction: what stands there is a text.
        assert RunConfiguration.load(tmp_path, "gpu").target == "a"
        return
    with pytest.raises(BadConfig) as caught:
        RunConfiguration.load(tmp_path, "gpu")
    assert words in str(caught.value)
    assert "next: " in str(caught.value)
    assert caught.value.line == line  # type: ignore[attr-defined]


def test_a_file_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    azure(tmp_path)
    with pytest.raises(BadConfig, match=r"looked at .*\.azureml/cpu\.runconfig"):
        RunConfiguration.load(tmp_path, "cpu")
    with pytest.raises(BadConfig, match=r"gpu\.runconfig"):
        RunConfiguration.load(tmp_path)
    with pytest.raises(BadConfig, match="cannot be the name"):
        RunConfiguration().save(tmp_path, "../up")
    with pytest.raises(BadConfig, match="no name"):
        RunConfiguration().save()


def test_a_plain_run_is_recorded_as_it_always_was(tmp_path: Path) -> None:
    definition = run_to_end(tmp_path, "").get_details()["runDefinition"]
    assert list(definition) == sorted(
        ["source_directory", "script", "arguments", "target", "environment", "interpreter",
         "max_run_duration_seconds", "directories_to_watch"]
    )  # fmt: skip
