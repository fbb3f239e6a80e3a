"""Put the ridge example on record from Python: submit it, wait for it, fetch what it made.

Run it from anywhere with ``python submit.py``. The record goes to the workspace of the current directory
or of a folder above it, or to a new one here if there is none.
"""

from pathlib import Path

from onrecord import Environment, Experiment, OnRecordError, ScriptRunConfig, Workspace

try:
    ws = Workspace.from_config()
except OnRecordError:  # none here nor above: begin one
    ws = Workspace.create(".")

experiment = Experiment(workspace=ws, name="ridge")

myenv = Environment("user-managed-env")
myenv.python.user_managed_dependencies = True  # use this interpreter and its packages as they are

src = ScriptRunConfig(
    source_directory=str(Path(__file__).parent / "ridge"),
    script="train.py",
    arguments=["--alpha", 0.03],
    compute_target="local",
    environment=myenv,
    max_run_duration_seconds=600,
)

run = experiment.submit(config=src)
run.wait_for_completion(show_output=True)
run.download_file(name="outputs/best_model.pkl", output_file_path="best_model.pkl")
print(run.get_metrics())
