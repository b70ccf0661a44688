"""What a request rested on is gone: a revoked delegation, key or agent, or a policy that judges it otherwise now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q

from approvals import eligibility, openings, transitions
from approvals.models import ActionRequest, Grant, Vote
from approvals.notifications import topics
from audit.log import Appended, Writer
from governance import cascade, judgement
from governance.errors import Refused
from governance.models import Policy
from imprimatur.formats import canonical
from imprimatur.rules import states


@dataclass(frozen=True)
class Command:
    """End these requests with this code."""

    requests: tuple[str, ...]
    code: str = "invalidated"


def apply(writer: Writer, command: Command) -> list[str]:
    """Make every named request that is pending or approved INVALIDATED; returns which were."""
    ended = []
    for identifier in command.requests:
        request = transitions.load(identifier)
        if request.state in states.PENDING_STATES:
            transitions.end_pending(writer, request, "invalidate", command.code)
        elif request.state == "APPROVED":
            transitions.withdraw(writer, request, "invalidate", command.code)
        else:
            continue
        topics.answered(writer, request)
        ended.append(identifier)
    return ended


def on_revocation(
    writer: Writer,
    cause: Appended,
    *,
    agents: set[str],
    keys: dict[str, datetime],
    delegations: set[str],
) -> Iterable[str]:
    """Called inside the transaction of a revocation: whatever stands on what was revoked ends with it."""
    hit = Q(agent__in=agents) | Q(delegation__in=delegations)
    for thumbprint, since in keys.items():
        hit |= Q(key=thumbprint, created_at__gte=since)
        # A person's key: whatever rests on an answer, or an answer in advance, that it signed from then on.
        votes = Vote.objects.filter(key=thumbprint, cast_at__gte=since, recalled_at__isnull=True)
        hit |= Q(id__in=votes.values("request"))
        hit |= Q(grant__in=Grant.objects.filter(key=thumbprint, issued_at__gte=since))
    rows = ActionRequest.objects.filter(hit, state__in=transitions.WAITING_OR_OPEN).order_by("id")
    return apply(writer, Command(tuple(rows.values_list("id", flat=True))))


def on_policy(writer: Writer, policy: Policy) -> None:
    """Called inside the activation of a policy: same risk and stages stay; whatever is judged otherwise ends."""
    rows = ActionRequest.objects.filter(state__in=transitions.WAITING_OR_OPEN).select_related("agent").order_by("id")
    changed = tuple(row.id for row in rows if not _judged_alike(row, writer.now))
    apply(writer, Command(changed, "policy-changed"))


def _judged_alike(request: ActionRequest, now: datetime) -> bool:
    binding = canonical.loads(bytes(request.binding))
    known = openings.values(request.id)
    committed = binding["parameters"].items()
    # What was withheld then, or erased since, is judged as withheld now: policy then asks for at least as much.
    withheld = tuple(name for name, commitment in committed if commitment not in known)
    parameters = {name: known[commitment] for name, commitment in committed if commitment in known}
    try:
        # The agent may have asked for more attention than the policy did; claiming the present risk keeps that floor.
        verdict = judgement.judge(
            agent=request.agent,
            delegation_id=request.delegation_claimed,
            tool=request.tool,
            parameters=parameters,
            claimed_effects=None if request.known_tool else binding["effects"],
            claimed_cost=None,
            claimed_risk=request.risk,
            context=binding["context"],
            now=now,
            withheld=withheld,
        )
    except Refused:
        return False
    if request.state == "APPROVED" and not request.stages:
        return verdict.outcome == "approve" and str(verdict.risk) == request.risk
    # Whoever was asked under a milder policy may have answered with less than is wanted now.
    alone_no_more = eligibility.single_human(request.policy) and not verdict.single_human
    surer = verdict.assurance > request.assurance or (verdict.device_bound and not request.device_bound)
    if alone_no_more or surer:
        return False
    if verdict.assurance > request.assurance or (verdict.device_bound and not request.device_bound):
        return False  # it would be answered by less than is asked for now
    stages = [{"role": stage.role, "count": stage.count, "kind": stage.kind} for stage in verdict.stages]
    return verdict.outcome == "pending" and str(verdict.risk) == request.risk and stages == request.stages


def hook() -> None:
    """Have governance call this module inside its transactions. Called once, when the app is ready."""
    cascade.register(on_revocation)
    cascade.policy_activated(on_policy)
