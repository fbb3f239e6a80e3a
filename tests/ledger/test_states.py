"""The table of states against a second statement of the same rules."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from onrecord.ledger import states
from onrecord.ledger.events import REGISTRY

ENDS = {"run.failed": "Failed", "run.canceled": "Canceled"}
BEFORE_THE_SCRIPT = {"run.running": "Running", "run.cancel_requested": "CancelRequested", **ENDS}
AFTER_THE_SCRIPT = {"run.completed": "Completed", **ENDS}
# What each state may lead to, written a second time and by rule rather than row by row.
RULES: dict[str | None, dict[str, str]] = {
    None: {"run.submitted": "NotStarted"},
    "NotStarted": {"run.queued": "Queued", "run.preparing": "Preparing", **BEFORE_THE_SCRIPT},
    "Queued": {"run.preparing": "Preparing", **BEFORE_THE_SCRIPT},
    "Preparing": {"run.queued": "Queued", **BEFORE_THE_SCRIPT},
    "Running": {"run.cancel_requested": "CancelRequested", "run.finalizing": "Finalizing", **AFTER_THE_SCRIPT},
    "CancelRequested": {"run.running": "CancelRequested", "run.finalizing": "Finalizing", **AFTER_THE_SCRIPT},
    "Finalizing": AFTER_THE_SCRIPT,
    "Completed": {},
    "Failed": {},
    "Canceled": {},
}
OF_ENDED_RUNS = {"run.sealed", "payload.erased", "run.imported", "run.evidence"}
FACTS = set(REGISTRY) - states.MOVING_EVENTS - OF_ENDED_RUNS - states.OF_NO_RUN
any_state = st.sampled_from(list(RULES))
any_type = st.sampled_from([*REGISTRY, "run.of_a_later_version"])


@given(any_state, any_type)
def test_the_table_says_what_the_rules_say(state: str | None, event: str) -> None:
    if event in states.MOVING_EVENTS:
        assert states.state_after(state, event) == RULES[state].get(event)
    elif event in OF_ENDED_RUNS:
        assert (states.state_after(state, event) is not None) == (state in {"Completed", "Failed", "Canceled"})
    elif event in states.OF_NO_RUN:
        assert states.state_after(state, event) == (states.STATELESS if state is None else None)
    else:
        assert states.state_after(state, event) == state


def test_the_table_and_the_rules_know_the_same_states() -> None:
    assert set(states.ALL_STATES) == set(RULES) - {None}
    assert all(event in REGISTRY for event in states.MOVING_EVENTS)


def test_nothing_leaves_a_terminal_state() -> None:
    assert not [(before, event) for before, event in states.TABLE if before in states.TERMINAL]


def test_every_state_that_has_not_ended_can_end() -> None:
    reaching = set(states.TERMINAL)
    for _ in states.ALL_STATES:
        reaching |= {before for (before, _), after in states.TABLE.items() if after in reaching and before}
    assert reaching == set(states.ALL_STATES)


def test_every_state_can_be_reached_from_a_submission() -> None:
    reached: set[str | None] = {None}
    for _ in states.ALL_STATES:
        reached |= {after for (before, _), after in states.TABLE.items() if before in reached}
    assert reached - {None} == set(states.ALL_STATES)


def test_only_a_run_that_does_not_exist_can_be_submitted_and_nothing_else_can_happen_to_it() -> None:
    assert [before for before, event in states.TABLE if event == "run.submitted"] == [None]
    assert [event for before, event in states.TABLE if before is None] == ["run.submitted"]
    assert all(states.state_after(None, fact) is None for fact in FACTS)


@given(st.sampled_from(states.ALL_STATES), st.sampled_from(sorted(FACTS)))
def test_a_fact_is_allowed_in_every_state_and_moves_none(state: str, fact: str) -> None:
    assert states.state_after(state, fact) == state


def test_a_run_may_be_asked_to_end_until_it_is_ending() -> None:
    may = {state for state in states.ALL_STATES if states.may_cancel(state)}
    assert may == {"NotStarted", "Queued", "Preparing", "Running"}
