"""Runs that are submitted again when they fail: every attempt is a run of its own, a child of the first one.

How often is in the configuration of each of them: `retries`, and from the second on `attempt`. The end of a failed
attempt and the submission of the next one are one transaction of the ledger, so that there is exactly one next
attempt for each failure, whoever dies meanwhile. It is Queued for the length of a moment, and then started as every
run that waits: by the conductor that recorded it, or by the next command.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onrecord.ledger.events import Event, RunSubmitted
    from onrecord.workspace import Workspace

PROPERTY = "onrecord.attempt"
_RETRIES, _ATTEMPT = "retries", "attempt"
# A run's submission comes first, and the patch of what was not committed right after it.
_FIRST_EVENTS = 2


def checked_retries(given: int) -> int:
    """How often a run is submitted again at most. Raises BadConfig."""
    if isinstance(given, bool) or not isinstance(given, int) or given < 0:
        from onrecord.script_run_config import BadConfig

        raise BadConfig(
            f"retries is {given!r}",
            why="it is how many times a run that fails is submitted again: a whole number from 0",
            next_step="submit(config, retries=2)   (onrecord run --retries 2)",
            field="retries",
        )
    return given


def settings_of(retries: int) -> dict[str, Any]:
    """What the configuration of a first attempt says besides; nothing where it is the only one."""
    return {_RETRIES: retries} if retries else {}


def properties_of(config: Mapping[str, Any]) -> dict[str, str]:
    """`onrecord.attempt`, for example `2 of 4`; nothing where there is one attempt only."""
    retries = config.get(_RETRIES, 0)
    return {PROPERTY: f"{config.get(_ATTEMPT, 1)} of {retries + 1}"} if retries else {}


def record_end(workspace: Workspace, run_id: str, event: Event) -> None:
    """Append the last event of a run and seal it; with it the run's next attempt, where it is to have one.

    Raises IllegalTransition where it has ended, and then there is no other attempt, and the errors of an append.
    """
    following = _following(workspace, run_id, event)
    if following is None:
        workspace.journal.append(run_id, [event], seal=True)
        return
    from onrecord.ledger.ids import encode, new_id

    next_id = encode(new_id(time.time_ns() // 1_000_000, os.urandom(10)))
    with workspace.journal.writing() as writing:
        writing.append(run_id, [event], seal=True)
        writing.append(next_id, following)


def attempts_of(workspace: Workspace, run_id: str) -> list[str]:
    """The ids of a run's attempts, the first one first; itself alone where it is not one of several."""
    config, row = workspace.query.config(run_id), workspace.query.run(run_id)
    if not config.get(_RETRIES):
        return [run_id]
    first = row.parent if config.get(_ATTEMPT) and row.parent else run_id
    later = {}
    for child in workspace.query.search(f'parent = "{first}"', limit=config[_RETRIES] + 1).rows:
        known = workspace.query.config(child.run_id)
        if known.get(_ATTEMPT):
            later[known[_ATTEMPT]] = child.run_id
    return [first, *(later[number] for number in sorted(later))]


def next_attempt(workspace: Workspace, run_id: str) -> str | None:
    """The id of the run that was submitted because this one failed; None where none was."""
    attempts = attempts_of(workspace, run_id)
    place = attempts.index(run_id) + 1 if run_id in attempts else len(attempts)
    return attempts[place] if place < len(attempts) else None


def _following(workspace: Workspace, run_id: str, event: Event) -> list[Event] | None:
    """The events that submit the next attempt; None where this end is to be the last one."""
    config = workspace.query.config(run_id)
    if config.get(_ATTEMPT, 1) > config.get(_RETRIES, 0):
        return None
    from onrecord.ledger.events import CancelRequested, FileRecorded, RunFailed, RunQueued, RunSubmitted

    # What kept a script from starting would do so again.
    if not isinstance(event, RunFailed) or workspace.query.run(run_id).started_at is None:
        return None
    if any(recorded.type == CancelRequested.type for recorded in workspace.journal.read(run_id)):
        return None
    first, *rest = [recorded.event for recorded in workspace.journal.read(run_id, limit=_FIRST_EVENTS)]
    if not isinstance(first, RunSubmitted):
        return None
    patch = [one for one in rest if isinstance(one, FileRecorded)]
    return [_again(first, run_id), *patch, RunQueued(reason=f"attempt {config.get(_ATTEMPT, 1)} failed")]


def _again(submitted: RunSubmitted, run_id: str) -> RunSubmitted:
    import attrs

    attempt = submitted.config.get(_ATTEMPT, 1) + 1
    config = {**submitted.config, _ATTEMPT: attempt}
    return attrs.evolve(
        submitted,
        config=config,
        properties={**submitted.properties, **properties_of(config)},
        submitted_by={**submitted.submitted_by, "pid": str(os.getpid())},
        parent=run_id if attempt == 2 else submitted.parent,
    )
