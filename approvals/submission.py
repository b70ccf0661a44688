"""From a signed wish to a command: parsed, judged, committed to, rendered. All of it outside the lock.

Invariant 8: nothing the agent claims enters the binding except for a tool the registry does not know, which is at least
HIGH and says so. Invariant 1: the binding is computed here, from the very parameters that were judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any

from django.conf import settings

from approvals import openings
from approvals.actions import submit_request, use_nonce
from audit import publisher
from audit.log import utc_now
from governance import judgement, policies
from governance.errors import Refused
from governance.models import Agent
from imprimatur import cards
from imprimatur.formats import binding as bindings
from imprimatur.formats import canonical, commitments, digests
from imprimatur.formats.entries import attempt_digest
from imprimatur.formats.ids import new_id
from imprimatur.formats.shapes import ShapeError

COMPARISON = "imprimatur/idempotency/v1"
JUSTIFICATION = "justification"
DEFAULT_TTL = 300  # seconds
# The binding stands in two entries next to what was signed; together they have to stay below 45 kB.
LARGEST_BINDING = 24_000


@dataclass(frozen=True)
class Wish:
    """What an agent asks, as its body says. ``signed`` is what the entry keeps of the signed request."""

    agent: Agent
    key: str
    delegation: str
    tool: str
    parameters: Mapping[str, Any] = field(repr=False)
    salt: bytes = field(repr=False)
    signed: Mapping[str, str]
    idempotency_key: str
    withheld: Mapping[str, str] = field(default_factory=dict)
    effects: list[dict[str, str]] | None = None
    cost: dict[str, str] | None = None
    risk: str | None = None
    justification: str | None = field(default=None, repr=False)
    context: Mapping[str, str] = field(default_factory=dict)
    ttl: int | None = None
    attempt: str | None = None
    supersedes: str | None = None
    nonce: use_nonce.Nonce | None = None


def prepare(wish: Wish) -> submit_request.Command:
    """Judge the wish and put the command together.

    Raises Refused: log-behind (too much is not published yet: new work waits, answers and revocations do not),
    malformed (the signed commitments are not those of the body, or it is too large), schema.
    """
    if publisher.behind():
        raise Refused("log-behind", "The log publishes more slowly than it grows. Nothing was decided.")
    now = utc_now()
    committed, opened = _commit(wish)
    verdict = judgement.judge(
        agent=wish.agent,
        delegation_id=wish.delegation,
        tool=wish.tool,
        parameters=wish.parameters,
        claimed_effects=wish.effects,
        claimed_cost=wish.cost,
        claimed_risk=wish.risk,
        context=wish.context,
        now=now,
        withheld=tuple(wish.withheld),
    )
    said = opened.pop(JUSTIFICATION_SLOT, None)
    document = _binding(wish, committed, verdict)
    raw = canonical.dumps(document)
    if len(raw) > LARGEST_BINDING:
        raise Refused("malformed", "This request is too large to be written to the log. Split it into smaller ones.")
    card = _card(wish, document, verdict)
    identifier = new_id("act", now)
    leaf = verdict.delegation
    return submit_request.Command(
        id=identifier,
        agent=wish.agent.pk,
        key=wish.key,
        delegation_claimed=wish.delegation,
        delegation=leaf.pk if leaf is not None else None,
        idempotency_key=wish.idempotency_key,
        comparison=_comparison(wish, committed),
        tool=wish.tool,
        binding=raw,
        action_digest=bindings.action_digest(document),
        signed_request=dict(wish.signed),
        justification=said[0] if said else "",
        judgement=verdict,
        enforcement=wish.agent.enforcement,
        cost=verdict.cost_micro,
        unit=verdict.unit,
        settle=verdict.settle,
        executor=verdict.executor,
        card=asdict(card),
        display_digest=cards.display_digest(card),
        target=card.target,
        ttl=_ttl(wish, verdict),
        attempt=attempt_digest(wish.attempt) if wish.attempt else "",
        supersedes=wish.supersedes,
        launch=wish.context.get("launch"),
        openings=tuple(
            openings.row(commitment, opening, identifier)
            for commitment, opening in [*opened.values(), *([said] if said else [])]
        ),
        nonce=wish.nonce,
    )


# A parameter cannot have this name: JSON keys that agents may use are never empty.
JUSTIFICATION_SLOT = ""

Opened = dict[str, tuple[str, commitments.Opening]]


def _commit(wish: Wish) -> tuple[dict[str, str], Opened]:
    if any(name in wish.parameters or not openings.is_commitment(told) for name, told in wish.withheld.items()):
        raise Refused("malformed", "A parameter is either sent or withheld behind a commitment, not both.")
    try:
        opened: Opened = {name: commitments.commit(wish.salt, name, value) for name, value in wish.parameters.items()}
        committed = {**wish.withheld, **{name: commitment for name, (commitment, _) in opened.items()}}
        said = None
        if wish.justification is not None:
            said = commitments.commit(wish.salt, JUSTIFICATION, wish.justification)
            opened[JUSTIFICATION_SLOT] = said
        claimed = commitments.commitments_digest(committed, said[0] if said else None)
    except (ValueError, canonical.CanonicalError) as error:
        raise Refused("malformed", f"The parameters cannot be committed to: {error}") from None
    if wish.signed["commitments"] != claimed:
        raise Refused(
            "malformed", "The signed header Imprimatur-Commitments does not belong to these parameters and this salt."
        )
    return committed, opened


def _binding(wish: Wish, committed: dict[str, str], verdict: judgement.Judgement) -> dict[str, Any]:
    tool = {"name": wish.tool}
    if verdict.tool_digest:
        tool["schema"] = verdict.tool_digest
    try:
        return bindings.build(
            realm=settings.REALM,
            agent=wish.agent.pk,
            delegation=wish.delegation,
            tool=tool,
            effects=verdict.derived.effects,
            parameters=committed,
            cost=verdict.cost,
            context=wish.context,
        )
    except ShapeError as error:
        raise Refused("malformed", f"This request cannot be bound: {error}") from None


def _card(wish: Wish, document: dict[str, Any], verdict: judgement.Judgement) -> cards.Card:
    return cards.render(document, wish.parameters, verdict.tool_document)


def _comparison(wish: Wish, committed: dict[str, str]) -> str:
    compared: dict[str, Any] = {
        "delegation": wish.delegation,
        "tool": wish.tool,
        "parameters": committed,
        "context": dict(wish.context),
    }
    if wish.cost is not None:
        compared["cost"] = wish.cost
    return digests.tagged(COMPARISON, canonical.dumps(compared))


def _ttl(wish: Wish, verdict: judgement.Judgement) -> timedelta:
    if verdict.outcome != "pending":
        return timedelta(seconds=DEFAULT_TTL)  # nobody will be asked, so nothing will wait
    return timedelta(seconds=policies.active().compiled.ttl(verdict.risk, wish.ttl))
