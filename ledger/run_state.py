"""What a run's events add up to: the one fold behind the table of runs, its replay and its audit."""

from __future__ import annotations

import json
from collections.abc import Callable
from operator import attrgetter
from typing import ClassVar

import attrs

from onrecord.ledger import events
from onrecord.ledger.recorded import Recorded
from onrecord.ledger.states import ERASED, TABLE, TERMINAL
from onrecord.ledger.text import storable, storable_or_none

Values = tuple[int | str | None, ...]


@attrs.define(eq=False)
class RunState:
    """One run after some of its events, in the columns of the table `runs`.

    `seq` of the event that submitted it; `head` counts its events; times in microseconds since the epoch,
    UTC; `error` is a JSON object with code and message; `sealed` counts the events under its last seal;
    `archived_at` is None of a run that is not archived.
    """

    # In the order of the fields; and what later events can change, and so all that an update has to write.
    COLUMNS: ClassVar[tuple[str, ...]]
    MUTABLE = (
        "head",
        "name",
        "status",
        "started_at",
        "ended_at",
        "exit_code",
        "signal",
        "error",
        "snapshot_id",
        "sealed",
        "archived_at",
    )

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
    started_at: int | None = None
    ended_at: int | None = None
    exit_code: int | None = None
    signal: int | None = None
    error: str | None = None
    snapshot_id: str | None = None
    sealed: int = 0
    archived_at: int | None = None

    @classmethod
    def submitted(cls, recorded: Recorded, number_in: Callable[[str], int]) -> RunState:
        """A new run. `number_in` gives the next number in the experiment of that name."""
        event = recorded.event
        if not isinstance(event, events.RunSubmitted):
            # Erased, or of a later version: the run is there, what it was is not known.
            event = events.RunSubmitted(experiment="", config={}, run_type="")
        experiment = storable(event.experiment)
        return cls(
            seq=recorded.seq,
            run_id=recorded.run_id,
            head=recorded.version,
            experiment=experiment,
            number=number_in(experiment),
            name=storable(event.name),
            run_type=storable(event.run_type),
            parent=storable_or_none(event.parent),
            status=TABLE[None, "run.submitted"],
            created_at=recorded.at,
            snapshot_id=storable_or_none(event.snapshot_id),
        )

    @property
    def values(self) -> Values:
        """The row of the table, in the order of COLUMNS."""
        return _values(self)

    @property
    def mutable_values(self) -> Values:
        """What later events can have changed, in the order of MUTABLE."""
        return _mutable_values(self)

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
        self.head, kind = recorded.version, recorded.type
        note = _NOTES.get(kind)
        if note is None:
            return
        self.status = TABLE.get((self.status, kind), self.status)
        note(self, recorded)
        if self.ended_at is None and self.status in TERMINAL:
            self.ended_at = recorded.at


RunState.COLUMNS = tuple(field.name for field in attrs.fields(RunState))
_values: Callable[[RunState], Values] = attrgetter(*RunState.COLUMNS)
_mutable_values: Callable[[RunState], Values] = attrgetter(*RunState.MUTABLE)


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


def _snapshot_taken(state: RunState, recorded: Recorded) -> None:
    if isinstance(event := recorded.event, events.SnapshotTaken) and state.snapshot_id is None:
        state.snapshot_id = storable(event.snapshot_id)


def _sealed(state: RunState, recorded: Recorded) -> None:
    if isinstance(event := recorded.event, events.RunSealed):
        state.sealed = event.count


def _renamed(state: RunState, recorded: Recorded) -> None:
    if isinstance(event := recorded.event, events.RunRenamed):
        state.name = storable(event.name)


def _archived(state: RunState, recorded: Recorded) -> None:
    # Nothing of what the event says is needed, so an erased run stays archived.
    state.archived_at = recorded.at if recorded.type == "run.archived" else None


_NOTES: dict[str, Callable[[RunState, Recorded], None]] = {
    "run.queued": _nothing_more,
    "run.preparing": _nothing_more,
    "run.running": _running,
    "run.cancel_requested": _nothing_more,
    "run.finalizing": _ended,
    "run.completed": _ended,
    "run.failed": _ended,
    "run.canceled": _ended,
    "run.snapshot_taken": _snapshot_taken,
    "run.sealed": _sealed,
    "run.renamed": _renamed,
    "run.archived": _archived,
    "run.reactivated": _archived,
}
# The events whose content is read here or by the replay of all runs; every other one only counts.
TYPES = frozenset({"run.submitted", "payload.erased", "run.imported", *_NOTES})
# Those of them that say more than that the state moves.
SAYING = frozenset(kind for kind in TYPES if _NOTES.get(kind) is not _nothing_more)
