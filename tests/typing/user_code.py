"""How the public names are used: type checkers check it, nothing runs it. Types that a user sees are asserted."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, assert_type

import onrecord
from onrecord import (
    CondaDependencies,
    Environment,
    Experiment,
    Model,
    MpiConfiguration,
    OnRecordError,
    PyTorchConfiguration,
    Run,
    RunFailedError,
    ScriptRunConfig,
    TensorflowConfiguration,
    Workspace,
)
from onrecord.resources import Resources
from onrecord.run_table import RunTable
from onrecord.tensorboard import Tensorboard, export_to_tensorboard


def workspaces() -> Workspace:
    made = Workspace.create("project", exist_ok=True)
    found = Workspace.from_config()
    assert_type(found.name, str)
    assert_type(made.experiments, dict[str, Experiment])
    assert_type(made.environments, dict[str, Environment])
    assert_type(made.get_run("@last"), Run)
    assert_type(made.runs("metrics.loss < 0.5 limit 10"), Iterator[Run])
    return made


def environments(workspace: Workspace) -> Environment:
    environment = Environment("mine")
    environment.python.user_managed_dependencies = True
    environment.python.interpreter_path = "/usr/bin/python3"
    environment.environment_variables = {"MESSAGE": "hello"}
    assert_type(environment.register(workspace), Environment)
    dependencies = CondaDependencies.create(pip_packages=["scikit-learn"])
    other = Environment.from_pip_requirements("other", "requirements.txt")
    other.python.conda_dependencies = dependencies
    assert_type(Environment.get(workspace, "mine"), Environment)
    return environment


def submitting(workspace: Workspace, environment: Environment) -> Run:
    experiment = Experiment(workspace=workspace, name="my_experiment")
    config = ScriptRunConfig(
        source_directory=Path("project"),
        script="train.py",
        arguments=["--alpha", 0.03, "--layers", 3],
        compute_target="local",
        environment=environment,
        max_run_duration_seconds=600,
        resources=Resources(cores=1),
    )
    for job in (MpiConfiguration(2), PyTorchConfiguration("Gloo", 2), TensorflowConfiguration(2)):
        ScriptRunConfig(".", script="train.py", distributed_job_config=job)
    ScriptRunConfig(".", command=["make", "train"])
    ScriptRunConfig(".", command="make train | tail")
    run = experiment.submit(config, tags={"team": "vision"})
    assert_type(run, Run)
    assert_type(run.wait_for_completion(show_output=True, raise_on_error=False), dict[str, Any])
    try:
        run.wait_for_completion()
    except RunFailedError as problem:
        print(problem.why)
    except OnRecordError as problem:
        print(problem.what, problem.next_step)
    return run


def reading(run: Run) -> None:
    assert_type(run.id, str)
    assert_type(run.status, str)
    assert_type(run.get_details(), dict[str, Any])
    assert_type(run.get_metrics(), dict[str, Any])
    for name, columns in run.metrics().items():
        assert_type(name, str)
        print(len(columns))
    assert_type(run.tags, dict[str, str])
    assert_type(run.properties, dict[str, str])
    assert_type(run.get_file_names(), list[str])
    assert_type(run.download_file("outputs/model.pkl", "model.pkl"), Path)
    assert_type(run.download_files("outputs/", "here"), list[Path])
    assert_type(run.read_file("logs/stdout.txt"), bytes)
    with run.open("logs/stdout.txt", "r") as lines:
        assert_type(lines, io.TextIOWrapper)
    with run.open("outputs/model.pkl") as binary:
        assert_type(binary, io.BufferedReader)
    assert_type(run.get_snapshot_id(), str | None)
    assert_type(run.parent, Run | None)
    assert_type(list(run.get_children(recursive=True, tags={"a": "b"})), list[Run])
    for file in run.diff("@last").files:
        print(file.path)


def changing(run: Run) -> None:
    run.tag("quality", "good")
    run.set_tags({"epoch": 3})
    run.add_properties({"author": "me"})
    run.display_name = "a better name"
    run.description = "what it is about"
    run.add_note("looks well")
    run.archive()
    run.cancel(children=True)


def scripts() -> None:
    run = Run.get_context()
    assert_type(run, Run)
    run.log("loss", 0.25, step=1)
    run.log_list("accuracies", [0.5, 0.75])
    run.log_row("epochs", epoch=1, loss=0.25)
    run.log_table("table", {"x": [1, 2], "y": [3.0, 4.0]})
    run.log_many({"loss": 0.5, "accuracy": 0.75}, step=2)
    run.log_image("picture", path="outputs/picture.png")
    run.upload_file("outputs/model.pkl", "model.pkl")
    run.upload_file("outputs/text", io.BytesIO(b"text"))
    run.upload_folder("outputs/folder", "folder")
    with run.child_run("a part") as child:
        assert_type(child, Run)
        child.log("loss", 1)
    assert_type(run.create_children(count=3), list[Run])
    onrecord.autolog("sklearn", log_level=logging.WARNING)


def interactive(experiment: Experiment) -> None:
    with experiment.start_logging(snapshot_directory=None) as run:
        run.log("loss", 0.5)
    run.complete()


def models(workspace: Workspace, run: Run) -> None:
    model = run.register_model("ridge", "outputs/model.pkl", tags={"area": "diabetes"})
    assert_type(model, Model)
    assert_type(model.version, int)
    assert_type(workspace.models, dict[str, Model])
    Model(workspace, "ridge").download(target_dir=".", exist_ok=True)


def showing(workspace: Workspace, run: Run) -> None:
    print(RunTable(workspace.runs()))
    board = Tensorboard([run], port=0)
    assert_type(board.start(), str | None)
    board.stop()
    assert_type(export_to_tensorboard(run, "logs"), list[Path])
