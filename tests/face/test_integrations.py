"""What training libraries report: real libraries, real scripts; those that are not installed are skipped."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from face_make import run_to_end

from onrecord import Run
from onrecord.integrations.autolog import UnknownIntegration, autolog


def ended(tmp_path: Path, source: str, *needed: str) -> Run:
    for name in needed:
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    environment = {"KERAS_BACKEND": "torch", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    from onrecord import Environment

    used = Environment("libraries")
    used.python.user_managed_dependencies = True
    used.python.interpreter_path = sys.executable
    used.environment_variables = environment
    run = run_to_end(tmp_path, source, environment=used)
    assert run.get_status() == "Completed", run.read_file("logs/stderr.txt").decode()
    return run


def steps_of(run: Run, name: str) -> list[int | None]:
    return [step for piece in run.workspace.query.points(run.id, name) for step in piece.steps]


SKLEARN = """
import onrecord
onrecord.autolog("sklearn")
import numpy as np
from sklearn.ensemble import BaggingRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
random = np.random.default_rng(1)
X, y = random.normal(size=(60, 3)), random.normal(size=60)
class Mine(Ridge):
    def fit(self, X, y):
        return super().fit(X, y)
"""


FITS = """
class Odd(Ridge):
    def score(self, X, y):
        raise RuntimeError("no score")
for model in (Ridge(alpha=0.5), Mine(alpha=2), make_pipeline(StandardScaler(), Ridge()),
              BaggingRegressor(Ridge(), n_estimators=4, n_jobs=2, random_state=1)):
    print(model.fit(X, y).score(X, y))
GridSearchCV(Ridge(), {"alpha": [0.1, 1.0, 10.0]}, cv=2).fit(X, y)
Odd().fit(X, y)
"""


def test_what_is_fitted_is_recorded_once_without_what_it_fits_itself(tmp_path: Path) -> None:
    run = ended(tmp_path, SKLEARN + FITS, "sklearn")
    metrics, tags = run.get_metrics(), run.get_tags()
    scores = [float(line) for line in run.read_file("logs/stdout.txt").split()]
    assert metrics["training_score"][:4] == pytest.approx(scores)
    # The search's own is the fifth; what has no score has none.
    assert len(metrics["training_score"]) == 5
    known = ("Ridge.alpha", "Mine.alpha", "Pipeline.verbose", "BaggingRegressor.n_estimators", "GridSearchCV.cv")
    assert [tags[name] for name in known] == ["0.5", "2", "False", "4", "2"]
    assert {tag.split(".")[0] for tag in tags} == {name.split(".")[0] for name in known} | {"best", "Odd"}
    table = metrics["search"]
    assert len(table["mean_test_score"]) == 3 and [float(value) for value in table["param_alpha"]] == [0.1, 1.0, 10.0]
    assert metrics["best_score"] == max(table["mean_test_score"])
    assert float(tags["best.alpha"]) in (0.1, 1.0, 10.0)
    assert b"could not record Odd: no score" in run.read_file("logs/stderr.txt")


def test_log_records_go_to_a_file_of_the_run(tmp_path: Path) -> None:
    source = (
        "import logging, onrecord\nonrecord.autolog('logging'); onrecord.autolog()\n"
        "logging.getLogger('mine').warning('careful \\udcff')\nlogging.getLogger().debug('nothing')\n"
    )
    run = ended(tmp_path, source)
    lines = run.read_file("logs/log.txt").decode().splitlines()
    assert len(lines) == 1 and lines[0].endswith("WARNING mine: careful \\udcff")


def test_a_script_that_logs_nothing_has_no_file_and_no_library_is_imported(tmp_path: Path) -> None:
    source = (
        "import sys, onrecord\nonrecord.autolog()\nprint({'sklearn', 'keras', 'torch', 'numpy'} & sys.modules.keys())\n"
    )
    run = ended(tmp_path, source)
    assert run.read_file("logs/stdout.txt") == b"set()\n"
    assert "logs/log.txt" not in run.get_file_names()


def test_an_integration_that_does_not_exist_is_named() -> None:
    with pytest.raises(UnknownIntegration, match="'keros'") as caught:
        autolog("keros")
    assert "keras" in caught.value.why


KERAS = """
import onrecord
{prepare}
import numpy as np
import keras
model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(1)])
model.compile(optimizer=keras.optimizers.SGD(0.01), loss="mse", metrics=["mae"])
X, y = np.ones((8, 3)), np.ones((8, 1))
history = model.fit(X, y, epochs=3, batch_size=4, verbose=0, validation_data=(X, y){callbacks})
print(history.history["loss"])
{after}
"""


@pytest.mark.parametrize("automatic", [True, False])
def test_keras_epochs_are_recorded(tmp_path: Path, automatic: bool) -> None:
    source = (
        KERAS.format(prepare="onrecord.autolog()", callbacks="", after="")
        if automatic
        else KERAS.format(
            prepare="from onrecord.integrations.keras import *; callback = OnRecordCallback(batches=True)",
            callbacks=", callbacks=[callback]",
            after="model.evaluate(X, y, verbose=0, callbacks=[callback])",
        )
    )
    run = ended(tmp_path, source, "keras", "torch")
    metrics: Any = run.get_metrics()
    assert metrics["loss"] == pytest.approx(eval(run.read_file("logs/stdout.txt")))  # noqa: S307 - our own script's list
    assert all(len(metrics[name]) == 3 for name in ("mae", "val_loss", "val_mae"))
    assert steps_of(run, "loss") == [0, 1, 2]
    assert run.get_tags()["fit.epochs"] == "3" and run.get_tags()["optimizer.name"].lower() == "sgd"
    assert len(metrics.get("batch/loss", ())) == (0 if automatic else 6)
    assert ("test/loss" in metrics) != automatic


LIGHTNING = """
import onrecord
{prepare}
import torch
import lightning.pytorch as pl
class Module(pl.LightningModule):
    def __init__(self, width=2):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(width, 1)
    def training_step(self, batch, index):
        loss = self.layer(batch[0]).pow(2).mean()
        self.log("loss", loss)
        return loss
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)
data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(8, 2)), batch_size=2)
trainer = pl.Trainer(max_epochs=2, log_every_n_steps=1, enable_progress_bar=False, enable_model_summary=False,
                     enable_checkpointing=False, accelerator="cpu"{logger})
trainer.fit(Module(), data)
"""


@pytest.mark.parametrize("automatic", [True, False])
def test_lightning_steps_are_recorded(tmp_path: Path, automatic: bool) -> None:
    prepare = "onrecord.autolog()" if automatic else "from onrecord.integrations.lightning import OnRecordLogger"
    source = LIGHTNING.format(prepare=prepare, logger="" if automatic else ", logger=OnRecordLogger(prefix='train/')")
    run = ended(tmp_path, source, "lightning")
    name = "loss" if automatic else "train/loss"
    assert len(run.get_metrics()[name]) == 8
    assert steps_of(run, name) == list(range(8))
    assert run.get_tags()["hparams.width"] == "2"


TRANSFORMERS = """
import onrecord
{prepare}
import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments
config = BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
data = [dict(input_ids=torch.tensor([1, 2, 3]), labels=torch.tensor(index % 2)) for index in range(8)]
arguments = TrainingArguments("outputs/t", max_steps=4, logging_steps=1, per_device_train_batch_size=2, report_to=[],
                              use_cpu=True, save_strategy="no", disable_tqdm=True)
trainer = Trainer(BertForSequenceClassification(config), arguments, train_dataset=data{callbacks})
trainer.train()
"""


@pytest.mark.parametrize("automatic", [True, False])
def test_transformers_steps_are_recorded(tmp_path: Path, automatic: bool) -> None:
    prepare = "onrecord.autolog()" if automatic else "from onrecord.integrations.transformers import OnRecordCallback"
    callbacks = "" if automatic else ", callbacks=[OnRecordCallback()]"
    run = ended(tmp_path, TRANSFORMERS.format(prepare=prepare, callbacks=callbacks), "transformers", "accelerate")
    assert len(run.get_metrics()["loss"]) == 4
    assert steps_of(run, "loss") == [1, 2, 3, 4]
    assert run.get_tags()["trainer.max_steps"] == "4" and len(run.get_tags()) < 30


def test_importing_the_integrations_needs_none_of_the_libraries() -> None:
    program = (
        "import sys\nfrom onrecord.integrations import autolog, logs, scikit_learn\n"
        "print({'sklearn', 'keras', 'torch', 'numpy'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
