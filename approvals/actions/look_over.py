"""A person looks over what ran without being asked about: acknowledge it, or flag it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from approvals import eligibility, statements, transitions
from approvals.models import ActionRequest
from approvals.notifications import topics
from audit.log import Actor, Writer, commit
from governance.errors import Refused
from governance.models import REVIEWER, Person

STATED = {"acknowledged": "acknowledge", "flagged": "flag"}


@dataclass(frozen=True)
class Command:
    """``verdict`` is acknowledged or flagged."""

    person: str
    request: str
    verdict: str
    draft: statements.Draft
    evidence: dict[str, Any]
    proof: statements.Proof


def look_over(person: Person, request: str, verdict: str, *, reason: str = "") -> ActionRequest:
    """What a page calls: state it in a session, commit. Raises Refused as :func:`apply` does."""
    if verdict not in STATED:
        raise Refused("invalid", "Acknowledge it or flag it.")
    row = transitions.load(request)
    draft = statements.draft(row, person, STATED[verdict], reason=reason)
    proof = statements.prove(person, draft.raw, statements.SESSION)
    return commit(apply, Command(person.id, request, verdict, draft, statements.SESSION, proof))


def apply(writer: Writer, command: Command) -> ActionRequest:
    """Close an item of *To look over*. Raises Refused: not-found, not-allowed, wrong-state, invalid."""
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
    if command.verdict == "flagged" and not command.draft.reason:
        raise Refused("invalid", "Say what is wrong with it.")
    statements.check_against(command.draft, request, person, STATED[command.verdict], command.draft.document["stage"])
    body: dict[str, Any] = {
        "request": request.id,
        "verdict": command.verdict,
        "statement": command.draft.raw.decode("utf-8"),
        "evidence": command.evidence,
    }
    if command.draft.reason:
        body["reason"] = command.draft.reason
    if command.draft.opening is not None:
        writer.keep_opening(command.draft.opening)
    writer.append(
        "action.looked_over",
        subject=request.id,
        actor=Actor("person", person.id, key=command.proof.key or "", assurance=command.proof.assurance),
        body=body,
        refs=[("decision", request.decided_index)] if request.decided_index is not None else [],
        agent=request.agent_id,
    )
    request.look_over = command.verdict
    transitions.save(writer, request)
    if command.verdict == "flagged":
        topics.flagged(writer, request)
    return request
