"""A person looks over what ran without being asked about: acknowledge it, or flag it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from approvals import eligibility, statements, transitions
from approvals.models import ActionRequest
from approvals.notifications import topics
from audit.log import Actor, Writer, commit
from governance import ceremonies
from governance.errors import Refused
from governance.models import REVIEWER, Person

STATED = {"acknowledged": "acknowledge", "flagged": "flag"}


@dataclass(frozen=True)
class Command:
    """``verdict`` is acknowledged or flagged."""

    person: str
    request: str
    verdict: str
    said: statements.Said


def look_over(person: Person, request: str, verdict: str, *, reason: str = "") -> ActionRequest:
    """Look over by a click in a session, and commit. Raises Refused as :func:`apply` does."""
    if verdict not in STATED:
        raise Refused("invalid", "Acknowledge it or flag it.")
    draft = statements.draft(transitions.load(request), person, STATED[verdict], reason=reason)
    return commit(apply, Command(person.id, request, verdict, statements.by_click(person, draft)))


def apply(writer: Writer, command: Command) -> ActionRequest:
    """Close an item of *To look over*.

    Raises Refused: not-found, not-allowed, wrong-state, invalid, key-revoked, signature.
    """
    request = transitions.load(command.request)
    person = eligibility.person_of(command.person)
    if person is None or not person.user.is_active:
        raise Refused("not-allowed", "Your account is not active.")
    if REVIEWER not in eligibility.candidate_of(person).roles:
        raise Refused("not-allowed", "Looking over needs the role reviewer, which you do not have.")
    if person.id == request.agent.owner_id:
        raise Refused("not-allowed", f"You own {request.agent.name}; somebody else looks this over.")
    if request.look_over != "open":
        raise Refused("wrong-state", "This was looked over already.")
    said, signed = command.said, command.said.signed
    if command.verdict == "flagged" and not said.reason:
        raise Refused("invalid", "Say what is wrong with it.")
    statements.check(said, request, person, STATED[command.verdict], 0)
    ceremonies.use(writer, signed, by=person)
    body: dict[str, Any] = {"request": request.id, "verdict": command.verdict, **signed.entry}
    if said.reason:
        body["reason"] = said.reason
    for opening in said.openings:
        writer.keep_opening(opening)
    writer.append(
        "action.looked_over",
        subject=request.id,
        actor=Actor("person", person.id, key=signed.key or "", assurance=signed.assurance),
        body=body,
        refs=[("decision", request.decided_index)] if request.decided_index is not None else [],
        agent=request.agent_id,
    )
    request.look_over = command.verdict
    transitions.save(writer, request)
    if command.verdict == "flagged":
        topics.flagged(writer, request)
    return request
