"""Whoever said that they were on it leaves it to the others."""

from __future__ import annotations

from dataclasses import dataclass

from approvals import claims, transitions
from approvals.actions import claim_request
from approvals.models import ActionRequest
from audit.log import Writer
from governance.actors import must_be_active, person_actor
from governance.errors import Refused
from governance.models import Person


@dataclass(frozen=True)
class Command:
    """Whose claim on what."""

    person: str
    request: str


def apply(writer: Writer, command: Command) -> ActionRequest:
    """End the claim. Raises Refused: not-found, not-allowed, conflict (it is not theirs, or over already)."""
    request = transitions.load(command.request)
    person = Person.objects.select_related("user").filter(pk=command.person).first()
    if person is None:
        raise Refused("not-found", "There is no such person.")
    must_be_active(person)
    claim = claims.claim_of(request, writer.now)
    if claim is None or claim.person.pk != person.pk:
        raise Refused("conflict", "You are not on this request, so there is nothing to leave to others.")
    claims.end(request)
    claim_request.keep(writer, request)
    writer.append(
        "review.released",
        subject=request.id,
        actor=person_actor(person),
        body={"request": request.id},
        agent=request.agent_id,
    )
    return request
