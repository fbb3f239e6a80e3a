"""The one table of a run's states and of the events that move it.

The names that users see are Azure ML's. `NotResponding` is not here: it is derived, never stored.
"""

from __future__ import annotations

NOT_STARTED = "NotStarted"
QUEUED = "Queued"
PREPARING = "Preparing"
RUNNING = "Running"
CANCEL_REQUESTED = "CancelRequested"
FINALIZING = "Finalizing"
COMPLETED = "Completed"
FAILED = "Failed"
CANCELED = "Canceled"
NOT_RESPONDING = "NotResponding"

TERMINAL = frozenset({COMPLETED, FAILED, CANCELED})

# (state before, event type) -> state after. None is a run that does not exist yet.
TABLE: dict[tuple[str | None, str], str] = {
    (None, "run.submitted"): NOT_STARTED,
    (NOT_STARTED, "run.queued"): QUEUED,
    (NOT_STARTED, "run.preparing"): PREPARING,
    (NOT_STARTED, "run.running"): RUNNING,
    (NOT_STARTED, "run.cancel_requested"): CANCEL_REQUESTED,
    (NOT_STARTED, "run.failed"): FAILED,
    (NOT_STARTED, "run.canceled"): CANCELED,
    (QUEUED, "run.preparing"): PREPARING,
    (QUEUED, "run.running"): RUNNING,
    (QUEUED, "run.cancel_requested"): CANCEL_REQUESTED,
    (QUEUED, "run.failed"): FAILED,
    (QUEUED, "run.canceled"): CANCELED,
    (PREPARING, "run.queued"): QUEUED,
    (PREPARING, "run.running"): RUNNING,
    (PREPARING, "run.cancel_requested"): CANCEL_REQUESTED,
    (PREPARING, "run.failed"): FAILED,
    (PREPARING, "run.canceled"): CANCELED,
    (RUNNING, "run.cancel_requested"): CANCEL_REQUESTED,
    (RUNNING, "run.finalizing"): FINALIZING,
    (RUNNING, "run.completed"): COMPLETED,
    (RUNNING, "run.failed"): FAILED,
    (RUNNING, "run.canceled"): CANCELED,
    # A start that was under way when the request came is still a fact.
    (CANCEL_REQUESTED, "run.running"): CANCEL_REQUESTED,
    # A script may end by itself between the request and its obedience: then how it ended is the truth.
    (CANCEL_REQUESTED, "run.finalizing"): FINALIZING,
    (CANCEL_REQUESTED, "run.completed"): COMPLETED,
    (CANCEL_REQUESTED, "run.failed"): FAILED,
    (CANCEL_REQUESTED, "run.canceled"): CANCELED,
    (FINALIZING, "run.completed"): COMPLETED,
    (FINALIZING, "run.failed"): FAILED,
    (FINALIZING, "run.canceled"): CANCELED,
}
# The type of a run that was erased, which no event gives.
ERASED = "erased"

MOVING_EVENTS = frozenset(event for _, event in TABLE)
# Facts that only a finished run can have.
AFTER_THE_END = frozenset({"run.sealed", "payload.erased", "run.imported", "run.evidence"})
# Facts about no run: they are in a stream of their own, which has no state and takes nothing else.
OF_NO_RUN = frozenset(
    {
        "environment.registered", "experiment.archived", "experiment.reactivated", "experiment.tagged",
        "model.registered", "model.changed", "model.deleted",
    }
)  # fmt: skip
STATELESS = ""
ALL_STATES = tuple(dict.fromkeys(TABLE.values()))


def state_after(before: str | None, event_type: str) -> str | None:
    """The state that `event_type` leads to, or None when the table does not allow it.

    Facts that do not move the state (tags, metrics, files, unknown types) are allowed in every
    state of a run that exists, also after its end: a late fact is still a fact. A fact about no run leads
    to STATELESS.

    >>> state_after(None, "run.submitted"), state_after("Completed", "run.running")
    ('NotStarted', None)
    """
    if event_type in MOVING_EVENTS:
        return TABLE.get((before, event_type))
    if event_type in AFTER_THE_END:
        return before if before in TERMINAL else None
    if event_type in OF_NO_RUN:
        return STATELESS if before is None else None
    return before


def may_cancel(state: str) -> bool:
    """Whether a request to cancel still means something in this state."""
    return (state, "run.cancel_requested") in TABLE
