"""A reviewer approves in advance: what is like this request runs without asking, so many times, for so long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from approvals import eligibility, grants, transitions
from approvals.models import ActionRequest, Grant
from audit.log import Actor, Writer
from governance import ceremonies, judgement, policies
from governance.ceremonies import Signed
from governance.errors import Refused
from imprimatur.formats import canonical, signing
from imprimatur.formats.timestamps import parse_time
from imprimatur.rules import grants as rules
from imprimatur.rules import money


@dataclass(frozen=True)
class Command:
    """A signed grant (or a clicked one, where policy takes H0). ``values`` are the parameters of its request."""

    person: str
    request: str
    signed: Signed
    values: dict[str, Any]


def command(person: str, request: ActionRequest, signed: Signed) -> Command:
    """Put a command together, reading the parameters outside the lock. Raises Refused when they were erased."""
    values = grants.parameters_of(request)
    if values is None:
        raise Refused("wrong-state", "Words of this request were erased, so nobody can say what would be like it.")
    return Command(person, request.id, signed, values)


def apply(writer: Writer, command: Command) -> Grant:
    """Issue the grant. It answers for later requests only; the one it was made from still waits for its answer.

    Raises Refused: not-found, not-allowed, wrong-state, approval-expired, invalid, delegation-revoked and its kin.
    """
    request = transitions.load(command.request)
    person = eligibility.person_of(command.person)
    if person is None:
        raise Refused("not-found", "There is no such person.")
    if request.state != "PENDING":
        raise Refused("wrong-state", transitions.wrong_state(request.state, "be a model for others"))
    if transitions.expired(request, writer.now):
        raise Refused("approval-expired", "The time for an answer is over; silence counts as no.")
    against = grants.against_making(request)
    if against:
        raise Refused("not-allowed", against)
    stage = rules.seat(eligibility.stages_of(request))
    place = None if stage is None else (0, stage)
    reasons = eligibility.reasons_against(request, person, counted=[], place=place, key=command.signed.key)
    if reasons:
        raise Refused("not-allowed", " ".join(reason.you for reason in reasons))
    _may_allow(request, command.signed)
    if policies.active().digest != request.policy:
        raise Refused("wrong-state", "The policy changed since this was asked. Wait for the next request like it.")
    if request.delegation is not None:
        judgement.standing_chain(writer, request.delegation)
    said = command.signed.document
    ceremonies.says(
        command.signed,
        signing.GRANT,
        realm=writer.realm,
        person=person.id,
        request=request.id,
        agent=request.agent_id,
        delegation=request.delegation_claimed,
        tool=request.tool,
        tool_digest=request.tool_digest,
        policy=request.policy,
        credential=command.signed.key,
    )
    if parse_time(said["not_after"]) <= writer.now:
        raise Refused("invalid", "This grant would be over before it begins. Choose a later end.")
    try:
        rules.check_issue(said, grants.action_of(request), command.values)
    except rules.GrantError as error:
        raise Refused("invalid", str(error)) from None
    ceremonies.use(writer, command.signed, by=person)
    grant = _write(writer, request, command.signed)
    transitions.announce(writer, request)
    return grant


def _may_allow(request: ActionRequest, signed: Signed) -> None:
    if signed.assurance < request.assurance:
        raise Refused(
            "not-allowed",
            f"Approving this needs a key of your own (assurance {request.assurance}), and so does approving it in "
            f"advance; a click is {signed.assurance}.",
        )
    if request.device_bound and not signed.device_bound:
        raise Refused("not-allowed", "Approving this needs a key that never leaves its device. Sign with such a key.")


def _write(writer: Writer, request: ActionRequest, signed: Signed) -> Grant:
    said = signed.document
    identifier = signing.grant_id(signed.raw)
    if Grant.objects.filter(pk=identifier).exists():
        raise Refused("wrong-state", "This grant was issued already. If you meant to make another, begin again.")
    entry = writer.append(
        "grant.issued",
        subject=identifier,
        actor=Actor("person", signed.person, key=signed.key or "", assurance=signed.assurance),
        body={"grant": identifier, **signed.entry},
        refs=[("request", request.requested_index)] if request.requested_index is not None else [],
        agent=request.agent_id,
    )
    cap = said.get("max_total")
    return Grant.objects.create(
        id=identifier,
        reviewer_id=signed.person,
        key=signed.key,
        assurance=signed.assurance,
        agent_id=request.agent_id,
        delegation_id=said["delegation"],
        request=request,
        tool=request.tool,
        tool_digest=request.tool_digest,
        policy=request.policy,
        statement=signed.raw,
        evidence=canonical.loads(canonical.dumps(signed.evidence)),
        max_uses=said["max_uses"],
        unit=cap["unit"] if cap else "",
        max_total=money.parse_amount(cap["amount"]) if cap else None,
        issued_at=writer.now,
        not_after=parse_time(said["not_after"]),
        index=entry.index,
    )
