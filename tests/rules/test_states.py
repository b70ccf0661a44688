from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imprimatur.rules.states import EVENTS, NEW, PENDING_STATES, STATES, TERMINAL, TRANSITIONS, WrongState, next_state

# What may happen without a person's answer: time, errors, revocations, the agent and its owner.
WITHOUT_A_PERSON = EVENTS - {"approve", "confirm", "stage_met", "submit_approved"}


def _walk(state: str, events: list[str]) -> list[str]:
    seen = [state]
    for event in events:
        try:
            state = next_state(state, event)
        except WrongState:
            continue
        seen.append(state)
    return seen


def test_the_table_is_the_one_of_the_design() -> None:
    reach: dict[str, set[str]] = {}
    for (state, _), after in TRANSITIONS.items():
        reach.setdefault(state, set()).add(after)
    ends = {"APPROVED", "DENIED", "EXPIRED", "CANCELLED", "INVALIDATED", "SUPERSEDED"}
    assert reach == {
        NEW: {"REFUSED", "DENIED", "APPROVED", "PENDING"},
        "PENDING": ends | {"AWAITING_CONFIRMATION"},
        "AWAITING_CONFIRMATION": ends,
        "APPROVED": {"REDEEMED", "EXPIRED", "RECALLED", "INVALIDATED"},
        "REDEEMED": {"SUCCEEDED", "FAILED", "UNREPORTED"},
        "UNREPORTED": {"SUCCEEDED", "FAILED"},
    }
    assert frozenset({"PENDING", "AWAITING_CONFIRMATION"}) == PENDING_STATES


@given(st.sampled_from(sorted(PENDING_STATES)), st.lists(st.sampled_from(sorted(WITHOUT_A_PERSON))))
def test_invariant_2_no_path_approves_a_pending_request_without_a_person(state: str, events: list[str]) -> None:
    assert "APPROVED" not in _walk(state, events)
    assert "REDEEMED" not in _walk(state, events)


@pytest.mark.parametrize("state", sorted(STATES))
def test_invariant_2_time_leads_to_expired_and_nowhere_else(state: str) -> None:
    try:
        assert next_state(state, "expire") == "EXPIRED"
    except WrongState:
        assert state not in PENDING_STATES | {"APPROVED"}


def test_invariant_2_only_an_answer_or_the_policy_leads_to_approved() -> None:
    ways = {(state, event) for (state, event), after in TRANSITIONS.items() if after == "APPROVED"}
    assert ways == {(NEW, "submit_approved"), ("PENDING", "approve"), ("AWAITING_CONFIRMATION", "confirm")}


@given(st.lists(st.sampled_from(sorted(EVENTS)), max_size=40))
def test_invariant_2_terminal_states_absorb_everything(events: list[str]) -> None:
    seen = _walk(NEW, events)
    assert not any(state in TERMINAL for state in seen[:-1])
    # A request is redeemed at most once, and only when it was approved.
    assert seen.count("REDEEMED") <= 1
    assert "REDEEMED" not in seen or seen[seen.index("REDEEMED") - 1] == "APPROVED"


@pytest.mark.parametrize("state", sorted(TERMINAL))
@pytest.mark.parametrize("event", sorted(EVENTS))
def test_invariant_2_a_terminal_state_takes_no_event(state: str, event: str) -> None:
    with pytest.raises(WrongState) as caught:
        next_state(state, event)
    assert (caught.value.state, caught.value.event) == (state, event)


def test_unknown_states_and_events_are_wrong() -> None:
    for state, event in (("pending", "approve"), ("PENDING", "timeout"), ("PENDING", None), (["PENDING"], "expire")):
        with pytest.raises(WrongState):
            next_state(state, event)  # type: ignore[arg-type]  # what untyped callers may pass


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        TRANSITIONS["PENDING", "expire"] = "APPROVED"  # type: ignore[index]  # that is the point
