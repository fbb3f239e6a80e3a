"""The code that users know, from an empty folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from face_make import clean_environment, onrecord, project

from onrecord import Experiment, ScriptRunConfig, Workspace

DOCUMENT = """
from onrecord import Workspace, Experiment, Environment, ScriptRunConfig
ws = Workspace.from_config()
experiment = Experiment(workspace=ws, name="my_experiment")
myenv = Environment("user-managed-env"); myenv.python.user_managed_dependencies = True
# myenv.python.interpreter_path = "/path/to/python"
src = ScriptRunConfig(source_directory="project_folder", script="train.py",
                      arguments=["--alpha", 0.03], compute_target="local", environment=myenv,
                      max_run_duration_seconds=600)
run = experiment.submit(config=src)
run.wait_for_completion(show_output=True)
run.download_file(name="outputs/my_output_file", output_file_path="my_destination_path")
"""
TRAIN = """
import sys
with open("outputs/my_output_file", "w") as file:
    file.write(repr(sys.argv[1:]))
print("trained with", sys.argv[1:])
"""


def test_the_code_of_the_document_runs_as_a_plain_script(tmp_path: Path) -> None:
    project(tmp_path, {"submit.py": DOCUMENT, "project_folder/train.py": TRAIN})
    assert onrecord("init", cwd=tmp_path).returncode == 0
    done = subprocess.run(
        [sys.executable, "submit.py"],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "trained with ['--alpha', '0.03']" in done.stdout
    assert (tmp_path / "my_destination_path").read_text() == "['--alpha', '0.03']"
    [run] = Workspace(tmp_path).experiments["my_experiment"].get_runs()
    assert run.status == "Completed"
    assert run.id in done.stdout


def test_without_target_and_environment_a_run_is_local_in_this_interpreter(tmp_path: Path) -> None:
    project(tmp_path, {"train.py": "import sys; open('outputs/python', 'w').write(sys.executable)\n"})
    workspace = Workspace.create(tmp_path)
    run = Experiment(workspace, "plain").submit(ScriptRunConfig(tmp_path, "train.py"), tags={"a": 1, "b": None})
    details = run.wait_for_completion()
    assert details["target"] == "local"
    assert details["status"] == "Completed"
    assert run.read_file("outputs/python").decode() == sys.executable
    assert run.get_tags() == {"a": "1", "b": ""}
    assert run.display_name == "plain_1"


def test_a_workspace_is_found_from_a_folder_below_it(tmp_path: Path) -> None:
    Workspace.create(tmp_path)
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert Workspace.from_config(below).path == tmp_path
    assert Workspace.from_config(tmp_path / ".onrecord").path == tmp_path
