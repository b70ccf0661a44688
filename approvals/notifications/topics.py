"""What is worth telling, written to the outbox in the transaction it speaks of: ids only, no words of the agent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings

from approvals.models import ActionRequest
from audit.log import Writer
from governance.runtime import canary_agents
from imprimatur.formats.ids import new_id
from imprimatur.formats.timestamps import format_time

CONFIRMATION_WINDOW = timedelta(minutes=15)
REMIND_AT, ESCALATE_AT = 0.5, 0.75  # shares of the time to answer

MAIL, WEBHOOK, ALARM = "approvals.mail", "approvals.webhook", "approvals.alarm"

ASKED, REMINDED, ESCALATED, ANSWERED, FLAGGED = (
    "action.asked",
    "action.reminded",
    "action.escalated",
    "action.answered",
    "action.flagged",
)


def _tell(
    writer: Writer, request: ActionRequest, event: str, *, mail: bool, people: Sequence[str] | None = None
) -> None:
    if canary_agents.includes(request.agent_id):
        return  # it is taken back within seconds, and nobody is to learn not to look
    payload: dict[str, Any] = {
        "id": new_id("msg", writer.now),
        "event": event,
        "at": format_time(writer.now),
        "request": request.id,
        "version": request.version,
        "try": 0,
    }
    if people is not None:
        payload["only"] = list(people)
        mail = mail and bool(people)
    if mail and not settings.EMAIL_BACKEND.endswith("dummy.EmailBackend"):
        writer.publish(MAIL, payload)
    if settings.WEBHOOK_URL:
        writer.publish(WEBHOOK, payload)


def link(request: ActionRequest) -> str:
    """Where a person reads it, after signing in."""
    return f"{settings.ORIGINS[0].rstrip('/')}/requests/{request.id}/"


def asked(writer: Writer, request: ActionRequest, people: Sequence[str]) -> None:
    """A request, or its confirmation, waits for these people (ids)."""
    _tell(writer, request, ASKED, mail=True, people=people)


def reminded(writer: Writer, request: ActionRequest, people: Sequence[str]) -> None:
    """Half of the time is over, and these people were asked."""
    _tell(writer, request, REMINDED, mail=True, people=people)


def escalated(writer: Writer, request: ActionRequest, people: Sequence[str]) -> None:
    """Three quarters of the time are over, and these people were asked. Who may answer does not change."""
    _tell(writer, request, ESCALATED, mail=True, people=people)


def answered(writer: Writer, request: ActionRequest) -> None:
    """It is over, one way or the other. No mail: whoever was asked finds the queue shorter."""
    _tell(writer, request, ANSWERED, mail=False)


def flagged(writer: Writer, request: ActionRequest) -> None:
    """Somebody looked an action over and flagged it."""
    _tell(writer, request, FLAGGED, mail=True)


def due_at(request: ActionRequest, share: float) -> datetime:
    """When this share of the time to answer is over. ``share`` is between 0 and 1."""
    begin = request.created_at
    if request.state == "AWAITING_CONFIRMATION":
        begin = request.expires_at - CONFIRMATION_WINDOW
    return begin + (request.expires_at - begin) * share
