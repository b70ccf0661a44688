"""The states of one action request, as one table.

Invariant: time only ever closes a request. `expire` leads to EXPIRED and nowhere else, and no event that the clock, an
error or a revocation may cause leads to APPROVED.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

NEW = "NEW"

PENDING_STATES = frozenset({"PENDING", "AWAITING_CONFIRMATION"})

_ALLOWED: dict[str, dict[str, str]] = {
    # NEW is the moment of submission; it is never stored.
    NEW: {
        "submit_refused": "REFUSED",
        "submit_denied": "DENIED",
        "submit_approved": "APPROVED",
        "submit_pending": "PENDING",
    },
    "PENDING": {
        # `approve`: every stage is met, and none of them was a confirmation. `stage_met`: only confirmation is missing.
        "approve": "APPROVED",
        "stage_met": "AWAITING_CONFIRMATION",
        "deny": "DENIED",
        "expire": "EXPIRED",
        "cancel": "CANCELLED",
        "invalidate": "INVALIDATED",
        "supersede": "SUPERSEDED",
    },
    "AWAITING_CONFIRMATION": {
        "confirm": "APPROVED",
        "deny": "DENIED",
        "expire": "EXPIRED",
        "cancel": "CANCELLED",
        "invalidate": "INVALIDATED",
        "supersede": "SUPERSEDED",
    },
    "APPROVED": {
        "redeem": "REDEEMED",
        "expire": "EXPIRED",
        "recall": "RECALLED",
        "invalidate": "INVALIDATED",
    },
    "REDEEMED": {"succeed": "SUCCEEDED", "fail": "FAILED", "unreport": "UNREPORTED"},
    # Late reports, flagged as late by whoever records them.
    "UNREPORTED": {"succeed": "SUCCEEDED", "fail": "FAILED"},
}

TRANSITIONS: Mapping[tuple[str, str], str] = MappingProxyType(
    {(state, event): after for state, events in _ALLOWED.items() for event, after in events.items()}
)

STATES = frozenset(TRANSITIONS.values())
EVENTS = frozenset(event for _, event in TRANSITIONS)
TERMINAL = STATES - frozenset(_ALLOWED)


class WrongState(ValueError):
    """The event does not apply in this state. Carries both, for the answer `wrong-state`."""

    def __init__(self, state: str, event: str) -> None:
        super().__init__(f"A request that is {state} cannot {event.replace('_', ' ')}.")
        self.state = state
        self.event = event


def next_state(state: str, event: str) -> str:
    """The state after the event.

    Raises:
        WrongState: when the table has no such step, unknown states and events included.
    """
    try:
        return TRANSITIONS[state, event]
    except (KeyError, TypeError):
        raise WrongState(str(state), str(event)) from None
