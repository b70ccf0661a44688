"""Whoever asked (or somebody responsible for the agent) does not want it any more."""

from __future__ import annotations

from dataclasses import dataclass

from approvals import eligibility, transitions
from approvals.actions import use_nonce
from approvals.models import ActionRequest
from approvals.notifications import topics
from audit.log import Actor, Writer
from governance.actors import roles_of
from governance.errors import Refused
from governance.models import ADMIN
from imprimatur.rules import states


@dataclass(frozen=True)
class Command:
    """Cancel ``request``, as its agent (``agent`` and ``key``) or as a person."""

    request: str
    agent: str = ""
    key: str = ""
    person: str = ""
    nonce: use_nonce.Nonce | None = None


def apply(writer: Writer, command: Command) -> ActionRequest:
    """End a pending request as CANCELLED, or take back an approval nobody redeemed. Twice is the same as once.

    Raises Refused: replayed, not-found, not-allowed, wrong-state.
    """
    use_nonce.apply(writer, command.nonce)
    request = transitions.load(command.request)
    actor = _actor(request, command)
    if request.state in {"CANCELLED", "RECALLED"}:
        return request
    if request.state in states.PENDING_STATES:
        transitions.end_pending(writer, request, "cancel", "cancelled", actor=actor)
    elif request.state == "APPROVED":
        transitions.withdraw(writer, request, "recall", "cancelled", actor=actor)
    else:
        raise Refused("wrong-state", transitions.wrong_state(request.state, "be cancelled"))
    topics.answered(writer, request)
    return request


def _actor(request: ActionRequest, command: Command) -> Actor:
    if command.agent:
        if command.agent != request.agent_id:
            raise Refused("not-found", "There is no such action request.")
        return Actor("agent", command.agent, key=command.key)
    person = eligibility.person_of(command.person)
    if person is None or not person.user.is_active:
        raise Refused("not-allowed", "Only an active person may cancel a request.")
    if person.id != request.agent.owner_id and ADMIN not in roles_of(person):
        raise Refused("not-allowed", "Only the agent, its owner or an admin may cancel a request. Deny it instead.")
    return Actor("person", person.id, assurance="H0")
