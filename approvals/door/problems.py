"""Refusals as RFC 9457 problem documents: a stable code for programs, a sentence and a hint for people."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from django.db import DatabaseError

from approvals.actions.use_nonce import Replayed
from approvals.door import rejections
from approvals.door.raw import Reply, json_reply
from audit.errors import ClockBehind, LogError, LogFrozen, NotPublished, SignerUnavailable
from audit.log import utc_now
from governance.errors import STATUS, Refused
from imprimatur.formats.timestamps import format_time

logger = logging.getLogger(__name__)

PROBLEM = "application/problem+json"

TITLES: dict[int, str] = {
    401: "Not authenticated",
    403: "Refused",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Too large",
    422: "Cannot be read",
    429: "Too many",
    503: "Not now",
}

HINTS: dict[str, str] = {
    "key-unknown": "Enrol the agent with an invitation, or have an admin register the service.",
    "key-revoked": "This key is finished. Ask an admin for an invitation and enrol a new agent.",
    "signature": "Sign with the profile imprimatur-v1 and check the server's address the agent was given.",
    "clock-skew": "Compare the agent's clock with the Date of this answer, then sign again.",
    "digest": "Sign the exact bytes that are sent, in one piece and unchanged on the way.",
    "replayed": "Sign again with a new nonce and the same Idempotency-Key.",
    "out-of-scope": "Ask the delegation's issuer for authority that covers this, or do something it covers.",
    "constraint": "Stay within the delegation's constraints, or ask its issuer for others.",
    "resource-mismatch": "Leave the claimed effects and cost out, or send what this call really does.",
    "delegation-expired": "Ask for a new delegation.",
    "delegation-revoked": "Ask for a new delegation; this one is finished.",
    "depth": "Shorten the chain of delegations.",
    "over-budget": "Ask for less, wait for reservations to end, or ask for a larger budget.",
    "policy-denied": "The policy does not allow this. Do not retry; ask an admin to look at the rule.",
    "policy-error": "The policy could not be evaluated. Tell an admin which rule it was.",
    "reviewer-denied": "Read the note, and the suggestion if there is one. Ask again only with a changed request.",
    "approval-expired": "Nobody answered, or nobody redeemed, in time. Ask again if it is still wanted.",
    "invalidated": "What this rested on has changed. Ask again.",
    "policy-changed": "The policy changed while this waited. Ask again.",
    "cancelled": "It was cancelled. Ask again if it is wanted after all.",
    "recalled": "The reviewer took the approval back. Do not run it.",
    "superseded": "A newer request took its place.",
    "paused": "An admin paused this. Wait until it is lifted; do not start.",
    "suspended": "The agent is suspended. Talk to its owner.",
    "arguments-changed": "Run exactly what was approved, or ask again.",
    "not-executor": "Let the registered executor redeem it.",
    "not-allowed": "Somebody else has to do this.",
    "launch-refused": "Do not start the agent. Correct what the reasons name, ask for the terms again and attest anew.",
    "not-found": "Check the id; agents see only what is their own.",
    "idempotency-conflict": "Use another Idempotency-Key for another request.",
    "already-redeemed": "Do not start a second execution.",
    "wrong-state": "Read the request again and go on from its present state.",
    "conflict": "Look at what exists already, then choose something else.",
    "two-people": "Let one admin propose it, and another admin or reviewer second it.",
    "malformed": "Compare the request with the published OpenAPI document.",
    "schema": "Compare the parameters with the tool's schema.",
    "invalid": "Correct the request and send it again.",
    "rate-limited": "Wait for the seconds in Retry-After, then go on more slowly.",
    "too-many-pending": "Wait for answers, or cancel what is no longer wanted.",
    "log-behind": "Try again in a few seconds.",
    "log-frozen": "An operator has to look at the log first. Nothing was decided.",
    "clock": "An operator has to look at the server's clock. Nothing was decided.",
    "busy": "Nothing was decided. Try again in a few seconds with the same Idempotency-Key.",
    "method-not-allowed": "Use the method the OpenAPI document names.",
    "too-large": "Send at most one megabyte.",
}

_RETRY = {429: "1", 503: "2"}
_RETRY_SOONER = {"log-behind": "1"}  # the publisher was told already


def document(code: str, status: int, detail: str, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The members of a problem. ``extra`` (an action's view) may add members but not change these."""
    return {
        **(extra or {}),
        "type": f"urn:imprimatur:problem:{code}",
        "title": TITLES.get(status, "Problem"),
        "status": status,
        "code": code,
        "detail": detail,
        "hint": HINTS.get(code, "Read the request again and go on from its present state."),
    }


def problem(refused: Refused, extra: Mapping[str, Any] | None = None) -> Reply:
    """The reply for a refusal."""
    headers: dict[str, str] = {}
    extra = {**refused.extra, **(extra or {})}
    if refused.status in _RETRY:
        headers["retry-after"] = _RETRY_SOONER.get(refused.code, _RETRY[refused.status])
    if refused.code == "clock-skew":
        # The Date header is the server's to send (twice would be none); this says the same in the body.
        extra["now"] = format_time(utc_now())
    if refused.status == 401:
        headers["www-authenticate"] = 'Signature realm="imprimatur"'
    return json_reply(refused.status, document(refused.code, refused.status, refused.message, extra), headers, PROBLEM)


def from_error(error: BaseException) -> Reply:
    """The reply for anything that went wrong while answering: never a decision, never what the error says inside."""
    if isinstance(error, Replayed):
        rejections.note(error.key, error.code, utc_now())
    if isinstance(error, Refused):
        return problem(error)
    if isinstance(error, LogFrozen):
        return problem(Refused("log-frozen", "The log is frozen, so nothing can be decided."))
    if isinstance(error, ClockBehind):
        return problem(Refused("clock", "The server's clock is wrong, so nothing can be decided."))
    if isinstance(error, NotPublished):
        return problem(Refused("log-behind", "The log has not published this yet."))
    if isinstance(error, SignerUnavailable):
        logger.critical("nothing can be decided: %s", error)
        return problem(Refused("busy", "The key of the log cannot sign, so nothing was decided."))
    if isinstance(error, LogError):
        return problem(Refused("busy", "There is no log to write to yet, so nothing can be decided."))
    if isinstance(error, DatabaseError):
        logger.warning("the database did not answer in time", exc_info=error)
        return problem(Refused("busy", "The database is busy, so nothing was decided."))
    logger.error("an agent request failed", exc_info=error)
    return problem(Refused("busy", "Something went wrong on the server. Nothing was decided."))


assert set(STATUS) <= set(HINTS), "every code says what to do next"
