"""How a request changes: the state table, the entry that says so, and who is told after the commit.

Only ``approvals/actions/`` calls this, always under the head lock. Invariant: a state is never assigned except to what
``imprimatur.rules.states`` answers, and every step a reviewer or an agent could see raises ``version``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from approvals import live, waiting
from approvals.models import ActionRequest, Vote
from audit.log import SYSTEM, Actor, Appended, Writer
from governance import spend
from governance.errors import Refused
from imprimatur.formats import canonical
from imprimatur.formats.timestamps import format_time
from imprimatur.rules import states

REDEEMABLE_FOR = timedelta(minutes=5)
EXECUTE_WITHIN = timedelta(seconds=30)
REPORT_GRACE = timedelta(minutes=10)
"""How long after ``execute_by`` the clock waits before it writes UNREPORTED. A late report still counts."""

ALLOWING = frozenset({"APPROVED", "REDEEMED", "SUCCEEDED", "FAILED", "UNREPORTED"})
WAITING_OR_OPEN = states.PENDING_STATES | {"APPROVED"}


def load(identifier: str) -> ActionRequest:
    """The row as it is under the head lock. Raises Refused ``not-found``."""
    found = ActionRequest.objects.select_related("agent", "key", "delegation").filter(pk=identifier).first()
    if found is None:
        raise Refused("not-found", "There is no such action request.")
    return found


def step(request: ActionRequest, event: str) -> str:
    """Move the row along the table. Raises Refused ``wrong-state`` when there is no such step from here."""
    try:
        request.state = states.next_state(request.state, event)
    except states.WrongState as error:
        raise Refused("wrong-state", wrong_state(request.state, event)) from error
    request.verdict = verdict_of(request.state)
    return request.state


def wrong_state(state: str, event: str) -> str:
    """The sentence for a step that cannot be taken any more."""
    return f"This request is {state}; it can no longer {event.replace('_', ' ')}. Read it again to see what happened."


def verdict_of(state: str) -> str:
    """What the agent is told: allow, deny or pending."""
    if state in states.PENDING_STATES:
        return "pending"
    return "allow" if state in ALLOWING else "deny"


def save(writer: Writer, request: ActionRequest) -> None:
    """Write the row with the next version, and tell waiting agents and open pages once it is durable."""
    request.version += 1
    request.save()
    announce(writer, request)


def announce(writer: Writer, request: ActionRequest) -> None:
    """After the commit: ring the bell of whoever waits, and send id and version to the pages."""
    identifier, version = request.id, request.version
    writer.after_commit(lambda: waiting.bell.ring(identifier))
    writer.after_commit(lambda: live.hub.publish(live.Event("request", identifier, version)))


def write_decision(
    writer: Writer,
    request: ActionRequest,
    *,
    votes: Sequence[Vote] = (),
    note: str = "",
    attempt: str = "",
    actor: Actor = SYSTEM,
) -> Appended:
    """Append ``action.decided`` for the state the row has now, and remember its index."""
    allow = request.verdict == "allow"
    body: dict[str, Any] = {
        "verdict": "allow" if allow else "deny",
        "state": request.state,
        "binding": canonical.loads(bytes(request.binding)),
        "action_digest": request.action_digest,
        "risk": request.risk,
        "rule": request.rule,
        "policy": request.policy,
        "reversibility": request.reversibility,
        "votes": [vote.index for vote in votes],
        "enforcement": request.enforcement,
        "request": request.signed_request,
    }
    if request.code:
        body["code"] = request.code
    if allow and request.not_after is not None:
        body["not_after"] = format_time(request.not_after)
    if attempt and request.execute_by is not None:
        body["attempt"], body["execute_by"] = attempt, format_time(request.execute_by)
    if request.justification:
        body["justification"] = request.justification
    if note:
        body["note"] = note
    if request.suggestion:
        body["suggestion"] = request.suggestion
    if request.supersedes_id:
        body["supersedes"] = request.supersedes_id
    refs = [("request", request.requested_index)] if request.requested_index is not None else []
    if allow and request.grant is not None:
        body["grant"] = request.grant.id
        refs.append(("grant", request.grant.index))
    entry = writer.append(
        "action.decided",
        subject=request.id,
        actor=actor,
        body=body,
        refs=[*refs, *(("vote", vote.index) for vote in votes)],
        agent=request.agent_id,
    )
    request.decided_index = entry.index
    request.decided_at = writer.now
    return entry


def approve(writer: Writer, request: ActionRequest, event: str) -> None:
    """Take the step to APPROVED: redeemable for five minutes from now."""
    step(request, event)
    request.code = ""
    request.not_after = writer.now + REDEEMABLE_FOR


def end_pending(
    writer: Writer,
    request: ActionRequest,
    event: str,
    code: str,
    *,
    votes: Sequence[Vote] = (),
    note: str = "",
    actor: Actor = SYSTEM,
) -> Appended:
    """End a pending request without an approval: its receipt says deny, and the money it held is free again."""
    step(request, event)
    request.code = code
    release(writer, request)
    entry = write_decision(writer, request, votes=votes, note=note, actor=actor)
    save(writer, request)
    return entry


def withdraw(
    writer: Writer,
    request: ActionRequest,
    event: str,
    code: str,
    *,
    reason: str = "",
    actor: Actor = SYSTEM,
) -> Appended:
    """Take back an approval that was not redeemed."""
    step(request, event)
    request.code = code
    release(writer, request)
    body: dict[str, Any] = {
        "request": request.id,
        "state": request.state,
        "code": code,
        "action_digest": request.action_digest,
    }
    if reason:
        body["reason"] = reason
    refs = [("decision", request.decided_index)] if request.decided_index is not None else []
    entry = writer.append(
        "action.withdrawn", subject=request.id, actor=actor, body=body, refs=refs, agent=request.agent_id
    )
    request.decided_index = entry.index
    save(writer, request)
    return entry


def executor(request: ActionRequest, agent: str, key: str) -> Actor:
    """Who redeems and reports, as the log says it: the agent, or the service whose key the registry names."""
    if request.executor in {"agent", ""}:
        return Actor("agent", agent, key=key)
    return Actor("service", request.executor, key=key)


def release(writer: Writer, request: ActionRequest) -> None:
    """Give back what was reserved, if anything was."""
    if request.cost:
        spend.release(writer, request.id)


def expired(request: ActionRequest, now: datetime) -> bool:
    """Whether time has closed this request, whatever the clock has written so far."""
    if request.state in states.PENDING_STATES:
        return now >= request.expires_at
    return request.state == "APPROVED" and request.not_after is not None and now > request.not_after
