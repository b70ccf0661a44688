"""An agent asks: the request is decided at once or becomes pending, and either way the log says so.

Decided at once means: by policy, or by what a reviewer signed in advance (a grant), which is counted in this very
transaction.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from approvals import eligibility, grants, transitions
from approvals.actions import ask_people, use_nonce
from approvals.models import ActionRequest, Grant
from audit.log import Actor, Appended, Writer
from audit.models import Opening
from governance import judgement, spend
from governance.errors import Refused
from governance.models import Agent, AgentKey
from governance.runtime.models import Launch
from imprimatur.formats import canonical
from imprimatur.formats.timestamps import format_time
from imprimatur.rules import states

MOST_PENDING = 20
SEEN_EVERY = timedelta(minutes=1)
AGENT_EXECUTES = "agent"
OPEN = "open"


@dataclass(frozen=True)
class Command:
    """Everything about a wish that can be known before the lock: parsed, derived, judged, rendered, committed to."""

    id: str
    agent: str
    key: str  # thumbprint
    delegation_claimed: str
    delegation: str | None
    idempotency_key: str
    comparison: str
    tool: str
    binding: bytes
    action_digest: str
    signed_request: dict[str, str]
    justification: str
    judgement: judgement.Judgement
    enforcement: str
    cost: int
    unit: str
    settle: str
    executor: str
    card: dict[str, Any]
    display_digest: str
    target: str
    ttl: timedelta
    attempt: str = ""  # digest; the agent will execute at once if it may
    supersedes: str | None = None
    launch: str | None = None  # the launch that the agent says it belongs to
    openings: tuple[Opening, ...] = ()
    nonce: use_nonce.Nonce | None = None


@dataclass(frozen=True)
class Result:
    """The row as it is now, and the entry that decided it when this very call did."""

    request: ActionRequest
    decided: Appended | None = None
    fresh: bool = True


def apply(writer: Writer, command: Command) -> Result:
    """Decide, reserve, record. The same request again answers with the present state and changes nothing.

    Raises Refused: replayed, idempotency-conflict, too-many-pending, already-redeemed, suspended, key-revoked,
    malformed (its salt was used before, or it names no launch of this agent that runs).
    """
    use_nonce.apply(writer, command.nonce)
    before = ActionRequest.objects.filter(agent=command.agent, idempotency_key=command.idempotency_key).first()
    if before is not None:
        return _again(before, command)
    _see(writer, _check_key(command))
    _check_salt(writer, command)
    _check_launch(command)
    verdict = judgement.recheck(writer, command.judgement)
    request = _row(writer, command, verdict)
    code = verdict.code or ""
    grant: Grant | None = None
    if verdict.outcome in {"approve", "pending"}:
        grant = grants.answering(writer, request, verdict)
        if verdict.outcome == "pending" and grant is None:
            _not_too_many(command)
        if command.cost:
            try:
                spend.reserve(writer, command.id, verdict.chain, command.cost, command.unit, key=command.key)
            except Refused as error:
                verdict, grant = replace(verdict, outcome="refused", code=error.code, message=error.message), None
                code, request.why = error.code, [*request.why, error.message]
    request.code = code if verdict.outcome in {"refused", "denied"} else ""
    _supersede(writer, command, request)
    for opening in command.openings:
        writer.keep_opening(opening)
    entry: Appended | None = None
    if grant is not None:
        _count(grant, request)
    if verdict.outcome == "pending" and grant is None:
        transitions.step(request, "submit_pending")
        _write_request(writer, command, request)
    elif verdict.outcome == "approve" or grant is not None:
        transitions.approve(writer, request, "submit_approved")
        attempt = _redeem_at_once(writer, command, request, paused=verdict.paused)
        if request.risk == "MEDIUM":
            request.look_over = OPEN
        entry = transitions.write_decision(writer, request, attempt=attempt)
    else:
        transitions.step(request, "submit_refused" if verdict.outcome == "refused" else "submit_denied")
        entry = transitions.write_decision(writer, request)
    request.save(force_insert=True)
    if entry is not None and request.cost and request.state == "REDEEMED":
        spend.spend(writer, request.id)
    if request.state in states.PENDING_STATES:
        ask_people.begin(writer, request)
    transitions.announce(writer, request)
    return Result(request, entry)


def _again(request: ActionRequest, command: Command) -> Result:
    if request.comparison != command.comparison:
        raise Refused(
            "idempotency-conflict",
            "This idempotency key was used for another request. Use a new key, or repeat the first request unchanged.",
        )
    if command.attempt and request.attempt and request.attempt != command.attempt:
        raise Refused("already-redeemed", "Another execution of this request has begun. Do not start a second one.")
    return Result(request, fresh=False)


def _check_key(command: Command) -> Agent:
    # The signature was checked before the lock; a key that was rotated away or revoked since then asks for nothing.
    key = AgentKey.objects.select_related("agent").filter(pk=command.key, agent=command.agent).first()
    if key is None or key.revoked_since is not None or key.retired_at is not None:
        raise Refused("key-revoked", "The key that signed this is no longer in use.")
    return key.agent


def _check_salt(writer: Writer, command: Command) -> None:
    """What opens a commitment belongs to one request. Shared by two, it would be erased with the one although a legal
    hold is on the other, or live on with it."""
    if writer.is_kept({opening.commitment for opening in command.openings}):
        raise Refused("malformed", "The salt was used before. Every idempotency key has a salt of its own.")


def _check_launch(command: Command) -> None:
    """Authority never comes from a launch, so what was asked under one goes on when it ends. New wishes name one that
    runs, or none."""
    if command.launch is None:
        return
    if not Launch.objects.filter(pk=command.launch, agent=command.agent, state=Launch.ATTESTED).exists():
        raise Refused(
            "malformed",
            "context.launch names no launch of this agent that was attested and has not ended. Leave it out, or start "
            "the agent through its orchestrator.",
        )


def _see(writer: Writer, agent: Agent) -> None:
    """Note that the agent is alive, at most once a minute. It decides nothing, and leaves the epoch as it is."""
    if agent.last_seen_at is None or agent.last_seen_at + SEEN_EVERY <= writer.now:
        Agent.objects.filter(pk=agent.pk).update(last_seen_at=writer.now)


def _not_too_many(command: Command) -> None:
    held = ActionRequest.objects.filter(key=command.key, state__in=states.PENDING_STATES).count()
    if held >= MOST_PENDING:
        raise Refused(
            "too-many-pending",
            f"{held} requests of this key already wait for a person. Wait for an answer, or cancel one.",
        )


def _row(writer: Writer, command: Command, verdict: judgement.Judgement) -> ActionRequest:
    # From the judgement that stands: the delegation may have been issued after the command was put together.
    leaf = verdict.delegation
    return ActionRequest(
        id=command.id,
        agent_id=command.agent,
        key_id=command.key,
        delegation_id=leaf.pk if leaf is not None else None,
        delegation_claimed=command.delegation_claimed,
        idempotency_key=command.idempotency_key,
        comparison=command.comparison,
        tool=command.tool,
        tool_digest=verdict.tool_digest or "",
        known_tool=verdict.known,
        binding=command.binding,
        action_digest=command.action_digest,
        signed_request=command.signed_request,
        justification=command.justification,
        state=states.NEW,
        risk=str(verdict.risk),
        reversibility=verdict.reversibility,
        rule=verdict.rule,
        why=list(verdict.why),
        policy=verdict.policy,
        assurance=verdict.assurance,
        device_bound=verdict.device_bound,
        stages=[{"role": s.role, "count": s.count, "kind": s.kind} for s in verdict.stages],
        launch_signers=eligibility.signers_of_what_runs(command.agent) if verdict.outcome == "pending" else [],
        card=command.card,
        display_digest=command.display_digest,
        target=command.target,
        enforcement=command.enforcement,
        cost=command.cost,
        unit=command.unit,
        settle=command.settle,
        executor=command.executor,
        created_at=writer.now,
        expires_at=_until(writer, command, verdict),
    )


def _until(writer: Writer, command: Command, verdict: judgement.Judgement) -> datetime:
    """Nobody is asked for longer than the authority lasts: an approval after that could not be redeemed."""
    asked = writer.now + command.ttl
    if verdict.outcome != "pending":
        return asked
    return min([asked, *(link.not_after for link in verdict.chain)])


def _redeem_at_once(writer: Writer, command: Command, request: ActionRequest, *, paused: bool) -> str:
    # The kill switch, and an executor other than the asking agent, leave the approval to be redeemed later. A pause
    # raises the epoch, so what was judged is what stands.
    if not command.attempt or request.executor != AGENT_EXECUTES or paused:
        return ""
    transitions.step(request, "redeem")
    request.attempt = command.attempt
    request.redeemed_at = writer.now
    request.execute_by = writer.now + transitions.EXECUTE_WITHIN
    return command.attempt


def _count(grant: Grant, request: ActionRequest) -> None:
    """Use the grant for this request. It was found under this very lock, so it cannot be used up by now; should the
    row say so all the same, nothing is decided and the agent asks again."""
    if not grants.count(grant, request.cost):
        raise Refused("busy", "What was approved in advance changed at this very moment. Send the request again.")
    request.grant = grant
    request.why = [*request.why, f"Approved in advance by {grant.reviewer.name}."]


def _supersede(writer: Writer, command: Command, request: ActionRequest) -> None:
    if command.supersedes is None:
        return
    old = transitions.load(command.supersedes)
    if old.agent_id != command.agent:
        raise Refused("not-found", "There is no such action request to supersede.")
    if old.state in states.PENDING_STATES:
        actor = Actor("agent", command.agent, key=command.key)
        transitions.end_pending(writer, old, "supersede", "superseded", actor=actor)
    request.supersedes_id = old.id


def _write_request(writer: Writer, command: Command, request: ActionRequest) -> None:
    body: dict[str, Any] = {
        "binding": canonical.loads(command.binding),
        "action_digest": request.action_digest,
        "risk": request.risk,
        "reversibility": request.reversibility,
        "rule": request.rule,
        "policy": request.policy,
        "stages": request.stages,
        "display_digest": request.display_digest,
        "enforcement": request.enforcement,
        "expires_at": format_time(request.expires_at),
        "request": request.signed_request,
    }
    if request.justification:
        body["justification"] = request.justification
    if request.supersedes_id:
        body["supersedes"] = request.supersedes_id
    entry = writer.append(
        "action.requested",
        subject=request.id,
        actor=Actor("agent", request.agent_id, key=request.key_id),
        body=body,
    )
    request.requested_index = entry.index
