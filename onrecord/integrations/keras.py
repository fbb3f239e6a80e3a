"""Keras: the metrics of every epoch."""

from __future__ import annotations

from typing import Any

import keras

from onrecord.integrations.recording import keep_parameters, loggable, run_or_current
from onrecord.run import Run


class OnRecordCallback(keras.callbacks.Callback):
    """Logs what Keras reports after every epoch, with the epoch as step; `batches`: every batch too, as `batch/…`.

    For `model.fit(…, callbacks=[OnRecordCallback()])`. The optimizer's settings and those of `fit` become tags.
    """

    def __init__(self, run: Run | None = None, *, batches: bool = False) -> None:
        super().__init__()
        self._run = run_or_current(run)
        self._batches = batches
        self._batch = 0
        self._is_fitting = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Record how it is trained."""
        self._is_fitting = True
        keep_parameters(self._run, "fit", self.params or {})
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is not None:
            keep_parameters(self._run, "optimizer", optimizer.get_config())

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """What is evaluated from here on is no part of a fit."""
        self._is_fitting = False

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Log the metrics of an epoch."""
        self._run.log_many(loggable(logs), step=epoch)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Log the metrics of a batch, where that is wanted; its step counts on from epoch to epoch."""
        if self._batches:
            self._run.log_many({f"batch/{name}": value for name, value in loggable(logs).items()}, step=self._batch)
            self._batch += 1

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Log what an evaluation gave that is not part of a fit, which reports it itself."""
        # Within `fit` the validation's values are part of the epoch's.
        if not self._is_fitting:
            self._run.log_many({f"test/{name}": value for name, value in loggable(logs).items()})
