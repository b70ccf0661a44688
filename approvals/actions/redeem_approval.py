"""The executor claims an approval, once, just before it runs; everything is checked again here."""

from __future__ import annotations

from dataclasses import dataclass

from approvals import transitions
from approvals.actions import use_nonce
from approvals.models import ActionRequest
from audit.log import Appended, Writer
from governance import judgement, spend
from governance.errors import Refused
from governance.models import Agent, AgentKey, PersonKey
from imprimatur.formats.timestamps import format_time
from imprimatur.rules import states


@dataclass(frozen=True)
class Command:
    """``attempt`` is the digest of the random bits that stand for one execution."""

    request: str
    agent: str
    key: str
    action_digest: str
    attempt: str
    nonce: use_nonce.Nonce | None = None


@dataclass(frozen=True)
class Result:
    """The row, and the entry of the redemption when this very call made it."""

    request: ActionRequest
    redeemed: Appended | None = None


def apply(writer: Writer, command: Command) -> Result:
    """Claim an approval for one execution that must begin within 30 seconds.

    The same attempt again, in time, answers the same. Invariant: at most one attempt ever redeems a request, and only
    while it is approved, in time, unpaused, and every authority it rests on still stands. Raises Refused: replayed,
    not-found, not-executor, already-redeemed, wrong-state, arguments-changed, approval-expired, paused, suspended,
    key-revoked, delegation-expired, delegation-revoked, invalidated, reviewer-denied.
    """
    use_nonce.apply(writer, command.nonce)
    request = transitions.load(command.request)
    _executor(request, command)
    if request.attempt:
        return _again(writer, request, command)
    if command.action_digest != request.action_digest:
        raise Refused(
            "arguments-changed",
            "What you are about to run is not what was approved. Do not run it; ask again with these arguments.",
        )
    if request.state != "APPROVED":
        raise not_redeemable(request)
    if transitions.expired(request, writer.now):
        raise Refused("approval-expired", "The approval was not redeemed in time. Do not start; ask again.")
    _votes(request)
    _authority(writer, request, command)

    transitions.step(request, "redeem")
    request.attempt = command.attempt
    request.redeemed_at = writer.now
    request.execute_by = writer.now + transitions.EXECUTE_WITHIN
    if request.cost:
        spend.spend(writer, request.id)
    entry = writer.append(
        "action.redeemed",
        subject=request.id,
        actor=transitions.executor(request, command.agent, command.key),
        body={
            "request": request.id,
            "action_digest": request.action_digest,
            "attempt": command.attempt,
            "execute_by": format_time(request.execute_by),
        },
        refs=[("decision", request.decided_index)] if request.decided_index is not None else [],
        agent=request.agent_id,
    )
    transitions.save(writer, request)
    return Result(request, entry)


def _executor(request: ActionRequest, command: Command) -> None:
    if request.executor in {"agent", ""}:
        if command.agent != request.agent_id:
            raise Refused("not-found", "There is no such action request.")
        return
    if command.key == request.executor:
        return
    if command.agent == request.agent_id:
        raise Refused("not-executor", "This tool is run by a service with its own key; only that key redeems.")
    raise Refused("not-found", "There is no such action request.")


def _again(writer: Writer, request: ActionRequest, command: Command) -> Result:
    if request.attempt != command.attempt:
        raise Refused("already-redeemed", "Another execution of this request has begun. Do not start a second one.")
    if command.action_digest != request.action_digest:
        raise Refused("arguments-changed", "What you are about to run is not what was approved. Do not run it.")
    if request.state != "REDEEMED":
        raise Refused("wrong-state", f"This execution is over: the request is {request.state}. Do not start it again.")
    if request.execute_by is None or writer.now > request.execute_by:
        raise Refused("already-redeemed", "The time to start this execution is over. Do not start; ask again.")
    return Result(request)


def not_redeemable(request: ActionRequest) -> Refused:
    """Why a request in this state cannot be redeemed, with the code that belongs to it."""
    if request.state in states.PENDING_STATES:
        return Refused("wrong-state", "Nobody has decided yet. Wait for the answer, then redeem.")
    if request.state == "EXPIRED":
        return Refused("approval-expired", "The time is over. Do not start; ask again.")
    if request.state == "INVALIDATED":
        return Refused("invalidated", "What this approval rested on has changed. Do not start; ask again.")
    if request.state == "DENIED" and request.code == "reviewer-denied":
        return Refused("reviewer-denied", "A reviewer said no. Do not start.")
    return Refused("wrong-state", f"This request is {request.state}. Do not start.")


def _votes(request: ActionRequest) -> None:
    # A stolen key ends what it approved in the transaction that revokes it; this asks once more, before it is too late.
    signed = {vote.key: vote.cast_at for vote in request.votes.filter(recalled_at=None) if vote.key}
    if request.grant is not None and request.grant.key:
        signed[request.grant.key] = request.grant.issued_at
    for key in PersonKey.objects.filter(pk__in=signed, revoked_at__isnull=False):
        if key.revoked_at is not None and signed[key.pk] >= key.revoked_at:
            raise Refused("invalidated", "A key that approved this was lost before it signed. Do not start; ask again.")


def _authority(writer: Writer, request: ActionRequest, command: Command) -> None:
    # The one who asked, and the one who runs it: a service has an agent's key, and may be suspended like any other.
    if Agent.objects.filter(pk__in={request.agent_id, command.agent}).exclude(state=Agent.ACTIVE).exists():
        raise Refused("suspended", "This agent is suspended. Do not start.")
    keys = AgentKey.objects.filter(pk__in={request.key_id, command.key})
    if len(keys) != len({request.key_id, command.key}) or any(key.revoked_since is not None for key in keys):
        raise Refused("key-revoked", "The key that asked was revoked. Do not start.")
    if request.delegation is None:
        raise Refused("out-of-scope", "This request rests on no delegation. Do not start.")
    fallen = judgement.still_allowed(
        writer, delegation=request.delegation, tool=request.tool, tool_digest=request.tool_digest
    )
    if fallen is not None:
        raise fallen
