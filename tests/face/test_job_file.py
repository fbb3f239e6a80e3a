"""A job as a YAML file, and `onrecord run --config`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from face_make import onrecord, project, shown

from onrecord import (
    CondaDependencies,
    Environment,
    MpiConfiguration,
    PyTorchConfiguration,
    ScriptRunConfig,
    TensorflowConfiguration,
    Workspace,
)
from onrecord.resources import Resources
from onrecord.script_run_config import BadConfig

TELLS = "import os, sys; print(sys.argv[1:], os.environ.get('A'))\n"


def whole(folder: Path) -> ScriptRunConfig:
    environment = Environment("mine", environment_variables={"B": "yes"})
    environment.python.conda_dependencies = CondaDependencies.create(pip_packages=["numpy==2.0"])
    return ScriptRunConfig(
        folder, "train.py", ["--a", 0.5, "yes", "007", "", "ü", "a: b"], compute_target="small",
        environment=environment, environment_variables={"A": "no"}, max_run_duration_seconds=None,
        distributed_job_config=PyTorchConfiguration("Gloo", 4, 2), resources=Resources(2, "8 GB", 1), priority=-1,
        directories_to_watch=["checkpoints"], default_excludes=False, resume_from="@last",
    )  # fmt: skip


def test_what_is_saved_is_loaded_again(tmp_path: Path) -> None:
    job = whole(tmp_path / "src")
    file = job.save(tmp_path / "jobs" / "job.yaml")
    assert "source_directory: ../src\n" in file.read_text()
    loaded = ScriptRunConfig.load(file)
    assert loaded.arguments == ["--a", "0.5", "yes", "007", "", "ü", "a: b"]
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "train.py").touch()
    assert loaded.checked() == job.checked()
    assert loaded.run_config.max_run_duration_seconds is None


@pytest.mark.parametrize(
    "options",
    [
        {"command": ["make", "a b"]},
        {"command": "a | b"},
        {"script": "train.py", "distributed_job_config": MpiConfiguration(2)},
        {"script": "train.py", "distributed_job_config": TensorflowConfiguration(2, 1)},
        {"script": "train.py"},
    ],
)
def test_jobs_of_every_kind_are_loaded_again(tmp_path: Path, options: dict[str, Any]) -> None:
    project(tmp_path, {"train.py": ""})
    job = ScriptRunConfig(tmp_path, **options)
    loaded = ScriptRunConfig.load(job.save(tmp_path / "job.yaml"))
    assert loaded.run_config == job.run_config
    assert loaded.command == job.command


def test_a_file_goes_with_its_project(tmp_path: Path) -> None:
    project(tmp_path / "one", {"train.py": ""})
    ScriptRunConfig(tmp_path / "one", "train.py").save(tmp_path / "one" / "job.yaml")
    (tmp_path / "one").rename(tmp_path / "two")
    assert ScriptRunConfig.load(tmp_path / "two" / "job.yaml").checked().source == (tmp_path / "two").resolve()


def test_the_environment_of_a_file_may_be_a_file_beside_it(tmp_path: Path) -> None:
    project(tmp_path, {"requirements.txt": "numpy\n", "job.yaml": "script: a.py\nenvironment: requirements.txt\n"})
    assert ScriptRunConfig.load(tmp_path / "job.yaml").environment.needs_build()


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("script: a.py\n\nargumnets: [1]\n", 3, "did you mean arguments?"),
        ("target: local\n", 1, "did you mean compute_target?"),
        ("script: a.py\nscript: b.py\n", 2, "twice"),
        ("script: a.py\nresources:\n  core: 1\n", 3, "did you mean cores?"),
        ("resources: {cores: many}\n", 1, "resources.cores is 'many'"),
        ("distributed_job_config: {process_count: 2}\n", 1, "it needs a type"),
        ("distributed_job_config:\n  type: mpl\n", 2, "one of mpi, pytorch, tensorflow"),
        ("distributed_job_config:\n  type: mpi\n  node_counts: 2\n", 3, "did you mean node_count?"),
        ("environment: {pyhton: {}}\n", 1, "did you mean python?"),
        ("environment: {python: {}}\n", 1, "it has no name"),
        ("environment:\n  name: a\n  python: {user_managed_dependencies: 1}\n", 3, "true or false"),
        ("arguments: {a: 1}\n", 1, "it is a list"),
        ("priority: high\n", 1, "a whole number"),
        ("a: &x [*x]\n", 1, ""),
        ("", 1, "describes no job"),
        ("\tscript: a\n", 1, "no YAML"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    (tmp_path / "job.yaml").write_text(text)
    with pytest.raises(BadConfig) as caught:
        ScriptRunConfig.load(tmp_path / "job.yaml")
    assert words in str(caught.value)
    assert f"job.yaml, line {line}" in str(caught.value) or not text
    assert caught.value.line == line  # type: ignore[attr-defined]


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="cannot be read"):
        ScriptRunConfig.load(tmp_path / "nowhere.yaml")
    with pytest.raises(BadConfig, match="cannot be read"):
        ScriptRunConfig.load(tmp_path)
    (tmp_path / "job.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadConfig, match="no YAML"):
        ScriptRunConfig.load(tmp_path / "job.yaml")


# ---- the command -----------------------------------------------------------------------------------


def test_the_command_runs_a_file_and_what_it_is_given_wins(tmp_path: Path) -> None:
    source = project(tmp_path / "src", {"train.py": TELLS, "other.py": TELLS})
    job = ScriptRunConfig(source, "train.py", ["--file"], environment_variables={"A": "1"}, priority=2)
    job.save(tmp_path / "job.yaml")
    Workspace.create(tmp_path)
    done = onrecord("run", "--config", "job.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"['--file'] 1\n"), done.stderr
    assert shown(tmp_path)["experiment"] == "src"
    words = ("--priority", "3", "--timeout", "1m", "--nproc", "2", "other.py", "--line", "$RANK")
    done = onrecord("run", "--config", os.fspath(tmp_path / "job.yaml"), *words, cwd=source)
    assert (done.returncode, done.stdout) == (0, b"['--line', '0'] 1\n"), done.stderr
    definition = Workspace(tmp_path).get_run("@last").get_details()["runDefinition"]
    assert (definition["priority"], definition["max_run_duration_seconds"]) == (3, 60)
    done = onrecord("run", "--config", "job.yaml", "--", "echo", "program", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"program\n"), done.stderr


def test_a_mistake_in_a_file_leaves_nothing_behind(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": "", "job.yaml": "script: train.py\nprioritee: 1\n"})
    done = onrecord("run", "--config", "job.yaml", cwd=tmp_path)
    assert (done.returncode, b"line 2" in done.stderr, b"did you mean priority?" in done.stderr) == (125, True, True)
    assert not (tmp_path / ".onrecord").exists()
