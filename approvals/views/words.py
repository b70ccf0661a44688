"""What the desk says: one plain sentence for each state, kind of undo, and strength of a signature."""

from __future__ import annotations

from datetime import datetime

from approvals import transitions
from approvals.models import ActionRequest

REVERSIBILITY = {
    "read-only": "Changes nothing",
    "reversible": "Can be undone",
    "externally-reversible": "Undone only with others’ help",
    "irreversible": "Irreversible",
}
ASSURANCE = {
    "H0": "session click, an operator’s assertion",
    "H1": "signed, the person not verified",
    "H2": "signed with a key of their own",
    "H3": "signed with a device-bound, attested key",
}
DECISION = {"approve": "approved", "confirm": "confirmed", "deny": "denied"}
# state -> one word for a row, one sentence for the card
STATE = {
    "REFUSED": ("Refused", "Refused at the door: outside this agent’s authority."),
    "DENIED": ("Denied", "Denied. It does not run."),
    "APPROVED": ("Approved", "Approved. The agent has not used it yet."),
    "PENDING": ("Waiting", "Waits for an answer."),
    "AWAITING_CONFIRMATION": ("To confirm", "Approved once. Waits for a second person to confirm."),
    "EXPIRED": ("Expired", "Nobody answered in time, so it was denied. Nothing ran."),
    "CANCELLED": ("Cancelled", "The agent took it back. Nothing ran."),
    "INVALIDATED": ("Invalidated", "The authority or policy behind it changed, so it ended. Nothing ran."),
    "SUPERSEDED": ("Replaced", "The agent replaced it with another request. Nothing ran."),
    "RECALLED": ("Recalled", "The approval was taken back before it was used. Nothing ran."),
    "REDEEMED": ("Running", "The agent has used the approval; its report is not in yet."),
    "SUCCEEDED": ("Done", "The agent reports that it was done."),
    "FAILED": ("Failed", "The agent reports that it failed."),
    "UNREPORTED": ("No report", "The agent used the approval and never said how it went. Check for yourself."),
}
TOO_LATE = ("Expired", "Approved, but not used in time. It can no longer run.")


def state_now(request: ActionRequest, now: datetime) -> str:
    """The state as time has it, even when the clock has not written it yet."""
    return "EXPIRED" if transitions.expired(request, now) else request.state


def short(request: ActionRequest, now: datetime) -> str:
    """The state in a word."""
    state = state_now(request, now)
    if state == "DENIED" and request.code != "reviewer-denied":
        return "Denied by policy"
    return STATE.get(state, (state, ""))[0]


def sentence(request: ActionRequest, now: datetime) -> str:
    """The state in a sentence."""
    state = state_now(request, now)
    if state == "EXPIRED" and request.not_after is not None:
        return TOO_LATE[1]
    if state == "DENIED" and request.code != "reviewer-denied":
        return "Denied by policy, without asking anybody."
    return STATE.get(state, (state, f"It is {state}."))[1]


def because(request: ActionRequest) -> str:
    """Why it was judged so, in one line: the one that gave the verdict. All lines stand folded below it."""
    why = [str(line) for line in request.why]
    if not why:
        return f"{request.risk.capitalize()} by rule {request.rule}."
    if request.state == "REFUSED":
        return why[-1]
    if why[0].startswith("Denied by rule"):
        return why[0]
    # A rule or the default "says HIGH.", a floor is "At least HIGH, because …": the first that reaches the level.
    reached = (
        line for line in why if line.endswith(f" {request.risk}.") or line.startswith(f"At least {request.risk},")
    )
    return next(reached, why[0])


def either(names: list[str]) -> str:
    """Names to choose from: A, B or C."""
    return " or ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def both(names: list[str]) -> str:
    """Names as a person lists them: A, B and C."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""
