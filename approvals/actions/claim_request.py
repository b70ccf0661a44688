"""Somebody is on it: a soft lock of ten minutes. Others may answer all the same, and its time runs on."""

from __future__ import annotations

from dataclasses import dataclass

from approvals import claims, eligibility, live, transitions
from approvals.models import ActionRequest
from audit.log import Writer
from governance.actors import person_actor
from governance.errors import Refused
from imprimatur.formats.timestamps import format_time
from imprimatur.rules import states


@dataclass(frozen=True)
class Command:
    """Who says that they will answer what. Saying it again begins the ten minutes anew."""

    person: str
    request: str


def apply(writer: Writer, command: Command) -> ActionRequest:
    """Write it down, for the pages of the others to show. The request keeps its version: nothing of it changed.

    Raises Refused: not-found, not-allowed (who may not answer has nothing to claim), wrong-state, approval-expired,
    conflict (somebody else is on it).
    """
    request = transitions.load(command.request)
    person = eligibility.person_of(command.person)
    if person is None:
        raise Refused("not-found", "There is no such person.")
    if request.state not in states.PENDING_STATES:
        raise Refused("wrong-state", transitions.wrong_state(request.state, "be claimed"))
    if transitions.expired(request, writer.now):
        raise Refused("approval-expired", "The time for an answer is over; silence counts as no.")
    against = eligibility.reasons_against(request, person)
    if against:
        raise Refused("not-allowed", " ".join(reason.you for reason in against))
    claim = claims.claim_of(request, writer.now)
    if claim is not None and claim.person.pk != person.pk:
        who, until = claim.person.name, f"{claim.until:%H:%M} UTC"
        raise Refused("conflict", f"{who} is on this until {until}. You can answer it all the same.")
    request.claimed_by, request.claimed_until = person, writer.now + claims.LEASE
    keep(writer, request)
    writer.append(
        "review.claimed",
        subject=request.id,
        actor=person_actor(person),
        body={"request": request.id, "until": format_time(request.claimed_until)},
        agent=request.agent_id,
    )
    return request


def keep(writer: Writer, request: ActionRequest) -> None:
    """Save who is on it, and tell the pages. No new version: an answer that is being signed now still counts."""
    request.save(update_fields=["claimed_by", "claimed_until"])
    event = live.Event("request", request.id, request.version)
    writer.after_commit(lambda: live.hub.publish(event))
