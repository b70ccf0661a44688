"""What the workers do: ids in, results handed back through the inbox, since only the writer process writes."""

from __future__ import annotations

import logging
from datetime import timedelta
from smtplib import SMTPException
from typing import Any

from approvals.models import ActionRequest
from approvals.notifications import mail, topics, webhook
from audit import inbox
from audit.log import utc_now
from audit.models import Outbox

logger = logging.getLogger(__name__)

UNDELIVERED = "approvals.undelivered"


def deliver_mail(payload: dict[str, Any]) -> int:
    """Send one message to each person who may answer now. Whom it did not reach is tried again. Returns how many."""
    request = ActionRequest.objects.select_related("agent__owner__user").filter(pk=payload["request"]).first()
    if request is None:
        return 0
    sent, missed = 0, []
    for person in mail.receivers(request, payload["event"]):
        if payload.get("only") and person.id not in payload["only"]:
            continue
        message = mail.compose(request, payload["event"], person)
        if message is None:
            continue
        try:
            sent += message.send()
        except (OSError, SMTPException) as error:
            logger.warning("mail could not be sent: %s", type(error).__name__)
            missed.append(person.id)
    if missed:
        _again(topics.MAIL, {**payload, "only": missed})
    return sent


def deliver_webhook(payload: dict[str, Any]) -> bool:
    """Post one webhook. What the receiver did not take is tried again with the pauses of the specification."""
    request = ActionRequest.objects.select_related("agent").filter(pk=payload["request"]).first()
    if request is None:
        return False
    try:
        webhook.post(request, payload, utc_now())
    except webhook.NotDelivered as error:
        logger.warning("the webhook was not delivered: %s", error)
        if not error.final:
            _again(topics.WEBHOOK, payload)
        return False
    return True


def _again(topic: str, payload: dict[str, Any]) -> None:
    inbox.hand_over(UNDELIVERED, {"topic": topic, "payload": {**payload, "try": payload["try"] + 1}})


@inbox.handler(UNDELIVERED)
def undelivered(result: dict[str, Any]) -> None:
    """In the writer process: put it in the outbox again for later, or give it up after the last pause."""
    payload = result["payload"]
    attempt = int(payload["try"])
    if attempt > len(webhook.PAUSES):
        logger.error("a notification was given up after %d attempts: %s", attempt, payload["id"])
        return
    now = utc_now()
    pause: timedelta = webhook.PAUSES[attempt - 1]
    Outbox.objects.create(topic=result["topic"], payload=payload, created_at=now, not_before=now + pause)
