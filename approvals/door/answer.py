"""The body of an answer about an action: what its agent may know of it, and its receipt."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from approvals import eligibility, openings, transitions
from approvals.door import problems
from approvals.door.raw import Reply, json_reply
from approvals.models import ActionRequest
from approvals.notifications import topics
from audit.log import Appended, utc_now
from audit.models import Entry
from governance.errors import STATUS
from imprimatur.formats import canonical, dsse, receipts
from imprimatur.formats.timestamps import format_time
from imprimatur.rules import states

POLICY = "policy"

_SENTENCES = {
    "EXPIRED": "The time for an answer, or to redeem it, is over. Silence counts as no.",
    "CANCELLED": "The request was cancelled.",
    "INVALIDATED": "What the request rested on has changed.",
    "SUPERSEDED": "A newer request took its place.",
    "RECALLED": "The approval was taken back.",
}


def reply(
    request: ActionRequest,
    *,
    decided: Appended | None = None,
    redeemed: Appended | None = None,
    now: datetime | None = None,
) -> Reply:
    """200 for allow, 202 for pending, a problem with verdict and receipt for deny.

    ``decided`` and ``redeemed`` are entries that this very call wrote, when it did: they need no reading.
    """
    now = now or utc_now()
    document = view(request, decided=decided, redeemed=redeemed, now=now)
    if document["verdict"] == "allow":
        return json_reply(200, document)
    if document["verdict"] == "pending":
        return json_reply(202, document)
    code = document["code"]
    status = STATUS.get(code, 403)
    detail = _SENTENCES.get(document["state"]) or (request.why[-1] if request.why else "Refused.")
    if code == "reviewer-denied":
        detail = "A reviewer said no."
    # A decision against the agent is always a 403: what else would be a 409 or 422 is not a decision.
    status = status if status == 403 else 403
    return json_reply(status, problems.document(code, status, detail, document), content_type=problems.PROBLEM)


def view(
    request: ActionRequest, *, decided: Appended | None = None, redeemed: Appended | None = None, now: datetime
) -> dict[str, Any]:
    """The action as its agent sees it. Time is read from the row: what is over is over, whatever was written so far."""
    over = transitions.expired(request, now)
    state = "EXPIRED" if over else request.state
    verdict = transitions.verdict_of(state)
    document: dict[str, Any] = {
        "id": request.id,
        "state": state,
        "verdict": verdict,
        "risk": request.risk,
        "reversibility": request.reversibility,
        "rule": request.rule,
        "why": [str(line) for line in request.why],
        "action_digest": request.action_digest,
        "delegation": request.delegation_claimed,
        "version": request.version,
        "created_at": format_time(request.created_at),
        "expires_at": format_time(request.expires_at),
        "url": topics.link(request),
    }
    if verdict == "deny":
        document["code"] = "approval-expired" if over else request.code or "invalidated"
    if request.not_after is not None and state == "APPROVED":
        document["not_after"] = format_time(request.not_after)
    if state in states.PENDING_STATES:
        document["can_answer"] = len(eligibility.eligible_people(request))
        return document
    if state == "REDEEMED" and request.execute_by is not None:
        document["execute_within"] = max(0, int((request.execute_by - now).total_seconds()))
    if over:
        return document
    if decided is not None:
        document["decided_by"] = _without_votes(request)
        document["receipt"] = receipts.make(decided.index, decided.envelope, grant=_grant(request))
    elif request.decided_index is not None:
        document.update(_decision(request, redeemed))
    return document


def receipt(request: ActionRequest) -> dict[str, Any] | None:
    """The receipt of a request, or None while nothing is decided."""
    if request.decided_index is None:
        return None
    found: dict[str, Any] = _decision(request, None)["receipt"]
    return found


def _decision(request: ActionRequest, redeemed: Appended | None) -> dict[str, Any]:
    assert request.decided_index is not None
    entry = Entry.objects.get(pk=request.decided_index)
    body = canonical.loads(dsse.open_envelope(bytes(entry.envelope)).payload)["body"]
    indexes = list(body.get("votes", ()))
    envelopes = {one.index: bytes(one.envelope) for one in Entry.objects.filter(index__in=indexes)}
    claim = redeemed.envelope if redeemed is not None else _redemption(request, body)
    votes = [envelopes[index] for index in indexes]
    receipt = receipts.make(entry.index, bytes(entry.envelope), votes, claim, _grant(request))
    voters = [vote for vote in request.votes.select_related("person").order_by("index") if vote.index in envelopes]
    found: dict[str, Any] = {
        "receipt": receipt,
        "decided_by": ", ".join(vote.person.name for vote in voters) or _without_votes(request),
    }
    note = openings.text_of(body.get("note", body.get("reason", "")))
    if note:
        found["note"] = note
    suggestion = openings.value_of(body.get("suggestion", ""))
    if suggestion is not None:
        found["suggestion"] = suggestion
    return found


def _without_votes(request: ActionRequest) -> str:
    """Who decided what nobody voted on: policy, or whoever approved it in advance."""
    return POLICY if request.grant is None else f"{request.grant.reviewer.name}, in advance"


def _grant(request: ActionRequest) -> tuple[int, bytes] | None:
    """The leaf of what was approved in advance, when the decision rests on that."""
    if request.grant is None:
        return None
    entry = Entry.objects.get(pk=request.grant.index)
    return entry.index, bytes(entry.envelope)


def _redemption(request: ActionRequest, decision: Mapping[str, Any]) -> bytes | None:
    # Decided and redeemed in one call, the decision itself says so; otherwise there is an entry of its own.
    if not request.attempt or "attempt" in decision:
        return None
    entry = Entry.objects.filter(subject=request.id, kind="action.redeemed").first()
    return bytes(entry.envelope) if entry is not None else None
