"""The judgement of one wish: what it would do, whether the authority for it stands, and what policy says of it.

Invariant 8: effects, cost and size are derived from the parameters; what the agent claims is only compared, and its own
estimate of the risk can only raise. Judged outside any lock, with the epoch it was judged at; :func:`recheck` judges
again inside the transaction when authority has changed in between. If anything is in doubt, the answer is no.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from audit.log import Writer
from governance import freshness, pauses, policies, registry, standing
from governance.access import access_delegation, chain_of
from governance.errors import Refused
from governance.models import Agent, Delegation
from imprimatur.rules import effects as effect_rules
from imprimatur.rules import money, scope
from imprimatur.rules.policy import Facts, Policy, Verdict
from imprimatur.rules.quorum import Stage, stages_for
from imprimatur.rules.risk import Risk

Outcome = Literal["refused", "denied", "approve", "pending"]

UNKNOWN_REVERSIBILITY = "irreversible"  # nobody said otherwise


@dataclass(frozen=True)
class Wish:
    """What was asked, kept so that it can be judged again."""

    agent: str
    delegation_id: str
    tool: str
    parameters: Mapping[str, Any] = field(repr=False)
    claimed_effects: Sequence[Mapping[str, str]] | None = None
    claimed_cost: Mapping[str, str] | None = None
    claimed_risk: str | None = None
    context: Mapping[str, str] = field(default_factory=dict)
    withheld: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judgement:
    """The answer so far, and everything it rests on.

    ``refused`` is outside authority, ``denied`` is policy's no, ``pending`` waits for people in ``stages``. ``chain``
    is root first, empty when the delegation is not the agent's. Cumulative spend is not judged here but reserved in
    the transaction. ``assurance`` is what an approval by a person needs, ``device_bound`` whether its key must never
    leave its device. ``compiled`` is the policy that was asked, ``freeze`` the name of the freeze that was on then.
    """

    outcome: Outcome
    code: str | None
    message: str
    risk: Risk
    reversibility: str
    rule: str
    why: tuple[str, ...]
    floors: tuple[str, ...]
    policy: str
    assurance: str
    single_human: bool
    stages: tuple[Stage, ...]
    derived: effect_rules.Derived
    chain: tuple[Delegation, ...]
    tool: str
    tool_document: dict[str, Any] | None
    tool_digest: str | None
    known: bool
    withheld: tuple[str, ...]
    settle: str
    executor: str
    cost_micro: int
    unit: str
    paused: bool
    epoch: int
    wish: Wish
    compiled: Policy = field(repr=False)
    device_bound: bool = False
    freeze: str | None = None

    @property
    def cost(self) -> dict[str, str]:
        """The cost as a binding spells it; a call that costs nothing costs 0.00."""
        return {"amount": money.format_amount(self.cost_micro), "unit": self.unit or "USD"}

    @property
    def delegation(self) -> Delegation | None:
        """The leaf of the chain, or None when the delegation claimed is not one the agent holds."""
        return self.chain[-1] if self.chain else None


def judge(
    *,
    agent: Agent,
    delegation_id: str,
    tool: str,
    parameters: Mapping[str, Any],
    claimed_effects: Sequence[Mapping[str, str]] | None,
    claimed_cost: Mapping[str, str] | None,
    claimed_risk: str | None,
    context: Mapping[str, str],
    now: datetime,
    withheld: Sequence[str] = (),
) -> Judgement:
    """Judge a wish. Whatever the agent asks gets an answer, except what cannot be read at all.

    Raises Refused: schema (the parameters do not fit the tool), policy-error (no policy is active), log-behind (the
    authority for it is not published yet); LogFrozen.
    """
    wish = Wish(
        agent.pk,
        delegation_id,
        tool,
        dict(parameters),
        claimed_effects,
        claimed_cost,
        claimed_risk,
        dict(context),
        tuple(withheld),
    )
    return _judge(wish, now)


def recheck(writer: Writer, judgement: Judgement) -> Judgement:
    """The judgement as it is inside the transaction: the same object when nothing has changed, else a new one.

    Reads the epoch from the database, because an earlier command of the same batch may have changed authority. Raises
    Refused(busy) when the tool itself changed, since then the binding would speak of another tool: ask again; and what
    :func:`judge` raises.
    """
    in_time = all(link.not_before <= writer.now < link.not_after for link in judgement.chain)
    # A freeze that began on the way is no change of authority, but the log would show a decision taken during it.
    as_then = judgement.compiled.frozen(writer.now) == judgement.freeze
    if in_time and as_then and freshness.epoch() == judgement.epoch:
        return judgement
    again = _judge(judgement.wish, writer.now)
    if (again.tool_digest, again.derived) != (judgement.tool_digest, judgement.derived):
        raise Refused("busy", "The tool changed in the registry at this very moment. Send the request again.")
    return again


def still_allowed(writer: Writer, *, delegation: Delegation, tool: str, tool_digest: str) -> Refused | None:
    """Why something approved earlier may not be redeemed now, or None: the kill switch, the chain, the tool.

    What the action does was checked against the same documents when it was asked, and they cannot change.
    """
    subject = delegation.subject_id
    pause = pauses.standing(subject, tool)
    if pause is not None:
        return Refused("paused", f"Paused ({pause.scope}). Nothing runs until it is lifted. Do not start.")
    try:
        standing_chain(writer, delegation)
    except Refused as error:
        return error
    registered = registry.tool(tool)
    if (registered.digest if registered else "") != tool_digest:
        return Refused("invalidated", "The tool changed in the registry since then. Do not start; ask again.")
    return None


def standing_chain(writer: Writer, delegation: Delegation) -> list[Delegation]:
    """The chain of a delegation, root first, if all of it stands and is valid now. Raises Refused when it does not."""
    chain = chain_of(Delegation.objects.select_related("issuer_person__user", "subject").get(pk=delegation.pk))
    fallen = standing.fault(chain)
    if fallen is not None:
        raise fallen
    standing.must_be_published(chain)
    if not all(link.not_before <= writer.now < link.not_after for link in chain):
        raise Refused("delegation-expired", "A delegation this rests on is not valid now. Do not start.")
    return chain


def _judge(wish: Wish, now: datetime) -> Judgement:
    epoch = freshness.epoch()
    agent = Agent.objects.select_related("owner__user").get(pk=wish.agent)
    registered = registry.tool(wish.tool)
    document = registered.document if registered else None
    derived, refused = _derive(wish, registered)
    chain, missing = _chain(agent, wish.delegation_id)
    standing.must_be_published(chain)
    pause = pauses.standing(agent.pk, wish.tool)
    active = policies.active()
    # The calendar of the policy is asked at ``now``; the kill switch freezes besides.
    verdict = active.compiled.evaluate(_facts(wish, agent, document, derived, now), frozen=pause is not None)
    cost_micro = derived.cost_micro
    unit = derived.cost[1] if derived.cost else (chain[-1].unit if chain else "")
    refused = (
        missing
        or (None if agent.state == Agent.ACTIVE else Refused("suspended", "This agent is suspended."))
        or refused
        or standing.refusal(
            chain,
            effects=derived.effects,
            cost_micro=cost_micro,
            unit=unit,
            tool=wish.tool,
            size=derived.size,
            at=now,
        )
        or _mismatch(wish, derived, known=document is not None)
    )
    outcome, code, message = _outcome(refused, verdict)
    return Judgement(
        outcome=outcome,
        code=code,
        message=message,
        risk=verdict.risk,
        reversibility=document["reversibility"] if document else UNKNOWN_REVERSIBILITY,
        rule=verdict.rule if refused is None else "delegation",
        why=verdict.why if refused is None else (refused.message,),
        floors=verdict.floors,
        policy=active.digest,
        assurance=verdict.assurance,
        single_human=verdict.single_human,
        stages=tuple(stages_for(verdict.risk, verdict.stages)) if outcome == "pending" else (),
        derived=derived,
        chain=tuple(chain),
        tool=wish.tool,
        tool_document=document,
        tool_digest=registered.digest if registered else None,
        known=document is not None,
        withheld=wish.withheld,
        settle=document["settle"] if document else "spent",
        executor=document["executor"] if document else "agent",
        cost_micro=cost_micro,
        unit=unit,
        paused=pause is not None,
        epoch=epoch,
        wish=wish,
        compiled=active.compiled,
        device_bound=active.compiled.needs_device_bound(verdict.risk),
        freeze=active.compiled.frozen(now),
    )


def _outcome(refused: Refused | None, verdict: Verdict) -> tuple[Outcome, str | None, str]:
    if refused is not None:
        return "refused", refused.code, refused.message
    if verdict.denied:
        return "denied", verdict.code or "policy-denied", verdict.reason or "Policy says no."
    if verdict.risk.blocks:
        return "pending", None, "A person has to answer this."
    return "approve", None, "Policy allows this."


def _derive(wish: Wish, registered: registry.RegisteredTool | None) -> tuple[effect_rules.Derived, Refused | None]:
    if registered is None:
        return _claimed(wish)
    problems = registered.validate(dict(wish.parameters), wish.withheld)
    if problems:
        raise Refused("schema", "The parameters do not fit the tool: " + " ".join(problems[:10]))
    try:
        return effect_rules.derive(registered.document, wish.parameters), None
    except effect_rules.DeriveError as error:
        if isinstance(error.__cause__, scope.ScopeError):
            # A path out of the tree is a wish like any other: it is refused, and the log says so.
            return _nothing(), Refused("out-of-scope", str(error))
        raise Refused("schema", str(error)) from None


def _claimed(wish: Wish) -> tuple[effect_rules.Derived, Refused | None]:
    """An unknown tool does what the agent says, as far as scopes go; that is why it is never below HIGH."""
    if wish.claimed_cost is not None and not _is_zero(wish.claimed_cost):
        return _nothing(), Refused("over-budget", "A tool that the registry does not know never spends money.")
    found: list[dict[str, str]] = []
    for effect in wish.claimed_effects or ():
        try:
            entry = {"action": effect["action"], "resource": scope.normalise(effect["action"], effect["resource"])}
        except scope.ScopeError as error:
            return _nothing(), Refused("out-of-scope", f"A resource of this call is refused: {error}")
        if entry not in found:
            found.append(entry)
    if not found:
        return _nothing(), Refused("out-of-scope", "The registry does not know this tool: say which effects it has.")
    if len(found) > effect_rules.MAX_EFFECTS:
        return _nothing(), Refused("out-of-scope", f"One call has {effect_rules.MAX_EFFECTS} effects at most.")
    target = ", ".join(dict.fromkeys(effect["resource"] for effect in found))
    return effect_rules.Derived(effects=found, cost=None, size=None, target=target, destructive=False), None


def _nothing() -> effect_rules.Derived:
    return effect_rules.Derived(effects=[], cost=None, size=None, target="", destructive=False)


def _is_zero(cost: Mapping[str, str]) -> bool:
    try:
        return money.read_amount(cost["amount"]) == 0
    except (money.MoneyError, KeyError):
        return False


def _mismatch(wish: Wish, derived: effect_rules.Derived, *, known: bool) -> Refused | None:
    if not known:
        return None
    found = effect_rules.compare_claims(derived, wish.claimed_effects, wish.claimed_cost)
    return None if found is None else Refused("resource-mismatch", found)


def _chain(agent: Agent, delegation_id: str) -> tuple[list[Delegation], Refused | None]:
    try:
        leaf = access_delegation(agent, delegation_id)
        if leaf.subject_id == agent.pk:
            return chain_of(leaf), None
    except Refused as error:
        if error.code != "not-found":
            return [], error
    return [], Refused("out-of-scope", "This delegation is not one that this agent holds.")


def _facts(
    wish: Wish, agent: Agent, document: dict[str, Any] | None, derived: effect_rules.Derived, now: datetime
) -> Facts:
    who: dict[str, Any] = {
        "risk_claimed": wish.claimed_risk,
        "agent": agent.name,
        "owner": agent.owner.user.username,
        "delegation": wish.delegation_id,
        "context": wish.context,
        "withheld": wish.withheld,
        "time": now,
    }
    if document is not None:
        return Facts.of(document, derived, wish.parameters, **who)
    return Facts(
        tool=wish.tool,
        effects=derived.effects,
        parameters=wish.parameters,
        reversibility=UNKNOWN_REVERSIBILITY,
        known=False,
        **who,
    )
