"""What a policy would have said of the requests that were recorded. Reads only, asks nobody, and decides nothing.

Both policies judge the same facts, derived again from what is kept of each request. What was erased or withheld since
is judged as withheld, by both alike. What a delegation refused does not reach a policy, and is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from approvals import openings
from approvals.models import ActionRequest
from governance import registry
from governance.models import Tool
from imprimatur.formats import canonical
from imprimatur.rules import effects
from imprimatur.rules.policy import Facts, Policy, Verdict

LOOK_BACK = timedelta(days=30)
MOST = 500
UP, DOWN, DENIED, ALLOWED, STAGES = "up", "down", "denied", "allowed", "stages"


@dataclass(frozen=True)
class Difference:
    """One request that would have been judged otherwise. ``before`` and ``after`` are risks, or deny."""

    request: ActionRequest
    kind: str
    before: str
    after: str
    rule: str


@dataclass
class Simulation:
    """The result: how many were looked at, how many could not be judged again, and every difference."""

    judged: int = 0
    unreadable: int = 0
    more: bool = False
    differences: list[Difference] = field(default_factory=list)

    def count(self, kind: str) -> int:
        """How many differ in this way."""
        return sum(each.kind == kind for each in self.differences)

    @property
    def counts(self) -> dict[str, int]:
        """The counts by kind, for templates."""
        return {kind: self.count(kind) for kind in (UP, DOWN, DENIED, ALLOWED, STAGES)}


def simulate(before: Policy, after: Policy, now: datetime) -> Simulation:
    """Judge the newest 500 requests of the last 30 days by both policies, each at the time when it was asked."""
    rows = ActionRequest.objects.filter(created_at__gte=now - LOOK_BACK).exclude(state="REFUSED")
    rows = rows.select_related("agent__owner__user").order_by("-created_at")
    result = Simulation(more=rows.count() > MOST)
    for request in rows[:MOST]:
        facts = _facts(request)
        if facts is None:
            result.unreadable += 1
            continue
        result.judged += 1
        result.differences.extend(_difference(request, before.evaluate(facts), after.evaluate(facts)))
    return result


def _difference(request: ActionRequest, old: Verdict, new: Verdict) -> Iterator[Difference]:
    if old.outcome == new.outcome and old.stages == new.stages:
        return
    if old.outcome == new.outcome:
        kind = STAGES
    elif new.denied:
        kind = DENIED
    elif old.denied:
        kind = ALLOWED
    else:
        kind = UP if new.risk > old.risk else DOWN
    yield Difference(request, kind, old.outcome, new.outcome, new.rule)


def _facts(request: ActionRequest) -> Facts | None:
    """What the policy would look at, or None when the request cannot be derived any more."""
    binding = canonical.loads(bytes(request.binding))
    known = openings.values(request.id)
    committed = binding["parameters"].items()
    withheld = tuple(name for name, commitment in committed if commitment not in known)
    parameters = {name: known[commitment] for name, commitment in committed if commitment in known}
    who: dict[str, Any] = {
        "agent": request.agent.name,
        "owner": request.agent.owner.user.username,
        "delegation": request.delegation_claimed,
        "context": binding["context"],
        "withheld": withheld,
        "time": request.created_at,
    }
    if not request.known_tool:
        return Facts(
            tool=request.tool, effects=binding["effects"], parameters=parameters, reversibility="irreversible", **who
        )
    try:
        document = registry.by_digest(request.tool_digest).document
        return Facts.of(document, effects.derive(document, parameters), parameters, **who)
    except (Tool.DoesNotExist, effects.DeriveError, ValueError):
        return None
