"""What the workers do: ids in, results handed back through the inbox, since only the writer process writes."""

from __future__ import annotations

import logging
from datetime import timedelta
from smtplib import SMTPException
from typing import Any

from django.core.mail import EmailMessage

from approvals.models import ActionRequest
from approvals.notifications import alarms, mail, topics, webhook
from audit import inbox
from audit.log import utc_now
from audit.models import Outbox
from governance.actors import roles_of
from governance.models import Person

logger = logging.getLogger(__name__)

UNDELIVERED = "approvals.undelivered"


def deliver_mail(payload: dict[str, Any]) -> int:
    """Send one message to each person who may answer now. Whom it did not reach is tried again. Returns how many."""
    request = ActionRequest.objects.select_related("agent__owner__user").filter(pk=payload["request"]).first()
    if request is None:
        return 0
    only = payload.get("only")
    people = [person for person in mail.receivers(request, payload["event"]) if not only or person.id in only]
    return _send(
        topics.MAIL, payload, {person.id: mail.compose(request, payload["event"], person) for person in people}
    )


def deliver_alarm(payload: dict[str, Any]) -> int:
    """Send one alarm to every admin who was not reached yet. Whom it did not reach is tried again. Returns how many."""
    only = payload.get("only")
    active = Person.objects.filter(user__is_active=True).select_related("user")
    people = [person for person in active if (person.id in only if only else "admin" in roles_of(person))]
    return _send(topics.ALARM, payload, {person.id: alarms.compose(payload, person) for person in people})


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


def _send(topic: str, payload: dict[str, Any], messages: dict[str, EmailMessage | None]) -> int:
    """Send what there is, and have those it did not reach tried again. Returns how many were sent."""
    sent, missed = 0, []
    for person, message in messages.items():
        try:
            sent += message.send() if message is not None else 0
        except (OSError, SMTPException) as error:
            logger.warning("mail could not be sent: %s", type(error).__name__)
            missed.append(person)
    if missed:
        _again(topic, {**payload, "only": missed})
    return sent


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
