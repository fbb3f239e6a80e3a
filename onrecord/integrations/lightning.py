"""Lightning: a logger for its Trainer."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

try:
    from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
    from lightning.pytorch.utilities import rank_zero_only
except ImportError:
    from pytorch_lightning.loggers.logger import Logger, rank_zero_experiment
    from pytorch_lightning.utilities import rank_zero_only

from onrecord.integrations.recording import keep_parameters, loggable, run_or_current
from onrecord.run import Run


class OnRecordLogger(Logger):
    """Logs what a LightningModule logs, with the trainer's step. For `Trainer(logger=OnRecordLogger())`."""

    def __init__(self, run: Run | None = None, *, prefix: str = "") -> None:
        super().__init__()
        self._run = run_or_current(run)
        self._prefix = prefix

    @property
    def name(self) -> str:
        """The experiment's name, of which Lightning makes a folder."""
        experiment = getattr(self._run, "experiment", None)
        return experiment.name if experiment is not None else "onrecord"

    @property
    def version(self) -> str:
        """The run's id."""
        return self._run.id

    @property
    @rank_zero_experiment
    def experiment(self) -> Run:
        """The run."""
        return self._run

    @rank_zero_only
    def log_hyperparams(self, params: Mapping[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Record hyperparameters as tags."""
        keep_parameters(self._run, "hparams", vars(params) if isinstance(params, Namespace) else params)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log metrics of a step."""
        self._run.log_many({f"{self._prefix}{name}": value for name, value in loggable(metrics).items()}, step=step)
