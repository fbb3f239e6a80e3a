"""What a run's events add up to: the one fold behind the table of runs, its replay and its audit."""

from __future__ import annotations

import json
from collections.abc import Callable

from onrecord.ledger import events
from onrecord.ledger.recorded import Recorded
from onrecord.ledger.states import ERASED, TERMINAL, state_after
from onrecord.ledger.text import storable, storable_or_none

Values = tuple[int | str | None, ...]


class RunState:
    """One run after some of its events, in the columns of the table `runs`.

    `seq` of the event that submitted it; `head` counts its events; times in microseconds since the epoch,
    UTC; `error` is a JSON object with code and message; `sealed` counts the events under its last seal.
    """

    __slots__ = (
        "created_at",
        "ended_at",
        "error",
        "exit_code",
        "experiment",
        "head",
        "name",
        "number",
        "parent",
        "run_id",
        "run_type",
        "sealed",
        "seq",
        "signal",
        "snapshot_id",
        "started_at",
        "status",
    )
    COLUMNS = (
        *("seq", "run_id", "head", "experiment", "number", "name", "run_type", "parent", "status"),
        *("created_at", "started_at", "ended_at", "exit_code", "signal", "error", "snapshot_id", "sealed"),
    )
    # What later events can change, and so all that an update has to write.
    MUTABLE = ("head", "status", "started_at", "ended_at", "exit_code", "signal", "error", "sealed")

    seq: int
    run_id: str
    head: int
    experiment: str
    number: int
    name: str
    run_type: str
    parent: str | None
    status: str
    created_at: int
    started_at: int | None
    ended_at: int | None
    exit_code: int | None
    signal: int | None
    error: str | None
    snapshot_id: str | None
    sealed: int

    @classmethod
    def submitted(cls, recorded: Recorded, number_in: Callable[[str], int]) -> RunState:
        """A new run. `number_in` gives the next number in the experiment of that name."""
        event = recorded.event
        if not isinstance(event, events.RunSubmitted):
            # Erased, or of a later version: the run is there, what it was is not known.
            event = events.RunSubmitted(experiment="", config={}, run_type="")
        experiment = storable(event.experiment)
        return cls.of(
            (
                *(recorded.seq, recorded.run_id, recorded.version, experiment, number_in(experiment)),
                *(storable(event.name), storable(event.run_type), storable_or_none(event.parent)),
                *(state_after(None, "run.submitted"), recorded.at),
                *(None, None, None, None, None, storable_or_none(event.snapshot_id), 0),
            )
        )

    @classmethod
    def of(cls, values: Values) -> RunState:
        """The run of one row of the table, its values in the order of COLUMNS."""
        state = cls()
        for name, value in zip(cls.COLUMNS, values, strict=True):
            setattr(state, name, value)
        return state

    @property
    def values(self) -> Values:
        """The row of the table, in the order of COLUMNS."""
        return tuple(getattr(self, name) for name in self.COLUMNS)

    @property
    def mutable_values(self) -> Values:
        """What later events can have changed, in the order of MUTABLE."""
        return tuple(getattr(self, name) for name in self.MUTABLE)

    def keep_place(self, experiment: str, number: int | None) -> None:
        """Be a run whose payloads are gone: what is left is its experiment, or not even that.

        A run without one has a number that no living run can have.
        """
        self.run_type, self.experiment = ERASED, experiment
        if not experiment:
            self.number = -self.seq
        elif number is not None:
            self.number = number

    def take(self, recorded: Recorded) -> None:
        """Go one event on. An event that the states do not allow leaves the status as it was."""
        self.head = recorded.version
        note = _NOTES.get(recorded.type)
        if note is None:
            return
        self.status = state_after(self.status, recorded.type) or self.status
        note(self, recorded)
        if self.ended_at is None and self.status in TERMINAL:
            self.ended_at = recorded.at


def _nothing_more(state: RunState, recorded: Recorded) -> None:
    """The event moves the state and says nothing else that the table holds."""


def _running(state: RunState, recorded: Recorded) -> None:
    if isinstance(event := recorded.event, events.RunRunning):
        state.started_at = event.started_at or recorded.at


def _ended(state: RunState, recorded: Recorded) -> None:
    event = recorded.event
    if isinstance(event, events.RunFinalizing):
        # A start of 0 is a time too, a time of None is not known.
        state.ended_at = state.ended_at if event.ended_at is None else event.ended_at
    elif isinstance(event, events.RunFailed):
        state.error = json.dumps(event.error, sort_keys=True)
    elif isinstance(event, events.RunCanceled):
        state.error = json.dumps({"code": event.reason, "message": event.message}, sort_keys=True)
    elif not isinstance(event, events.RunCompleted):
        return
    # What a later event does not say (the exit code, when only `run.finalizing` knew it) stays as it was.
    if event.exit_code is not None:
        state.exit_code = event.exit_code
    signal = getattr(event, "signal", None)
    if signal is not None:
        state.signal = signal


def _sealed(state: RunState, recorded: Recorded) -> None:
    if isinstance(event := recorded.event, events.RunSealed):
        state.sealed = event.count


_NOTES: dict[str, Callable[[RunState, Recorded], None]] = {
    "run.queued": _nothing_more,
    "run.preparing": _nothing_more,
    "run.running": _running,
    "run.cancel_requested": _nothing_more,
    "run.finalizing": _ended,
    "run.completed": _ended,
    "run.failed": _ended,
    "run.canceled": _ended,
    "run.sealed": _sealed,
}
# The events whose content is read here or by the replay of all runs; every other one only counts.
TYPES = frozenset({"run.submitted", "payload.erased", "run.imported", *_NOTES})
