"""Hugging Face transformers: a callback for its Trainer."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from onrecord.integrations.recording import keep_parameters, loggable, run_or_current
from onrecord.run import Run


class OnRecordCallback(TrainerCallback):
    """Logs what the Trainer logs, with its global step; its arguments become tags.

    For `Trainer(…, callbacks=[OnRecordCallback()])`. Of several processes only the first reports.
    """

    def __init__(self, run: Run | None = None) -> None:
        self._run = run_or_current(run)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Record what the Trainer was given."""
        if state.is_world_process_zero:
            keep_parameters(self._run, "trainer", _chosen(args))

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Log the values of a step."""
        if state.is_world_process_zero:
            self._run.log_many(loggable(logs), step=state.global_step)


def _chosen(args: Any) -> dict[str, Any]:
    """Those arguments that are not as they are by default: there are more than a hundred."""
    given = args.to_dict()
    usual = {name: field.default for name, field in getattr(type(args), "__dataclass_fields__", {}).items()}
    return {name: value for name, value in given.items() if name not in usual or value != usual[name]}
