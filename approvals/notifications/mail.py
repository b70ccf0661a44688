"""Mail to those who can answer, and to nobody else: the tool, the risk, the time left and the link."""

from __future__ import annotations

from email.utils import parseaddr
from typing import Any

import django_rq
from django.conf import settings
from django.core.mail import EmailMessage

from approvals import eligibility
from approvals.models import ActionRequest
from approvals.notifications import topics
from audit import outbox
from audit.log import utc_now
from governance import absences
from governance.models import Person
from imprimatur.inert import inert
from imprimatur.rules import states

_OPENINGS = {
    topics.ASKED: "An action waits for your answer.",
    topics.REMINDED: "An action still waits for your answer; half of its time is over.",
    topics.ESCALATED: "An action still waits for your answer; three quarters of its time are over.",
    topics.FLAGGED: "A colleague flagged something your agent did.",
}


def hook() -> None:
    """Have the outbox hand mail to the workers. Called once, when the app is ready."""
    outbox.handler(topics.MAIL)(enqueue)


def enqueue(payload: dict[str, Any]) -> None:
    """Put one delivery on the queue: ids only. Raises when Redis is away; the outbox then tries again."""
    django_rq.get_queue("default").enqueue("approvals.jobs.deliver_mail", payload)


def receivers(request: ActionRequest, event: str) -> list[Person]:
    """Who is told: for questions, whoever may answer right now; for a flag, the agent's owner."""
    if event == topics.FLAGGED:
        return [request.agent.owner]
    if request.state not in states.PENDING_STATES or request.expires_at <= utc_now():
        return []
    return eligibility.people_to_ask(request)


def compose(request: ActionRequest, event: str, person: Person) -> EmailMessage | None:
    """The message for one person, or None when we have no address."""
    address = parseaddr(person.user.email)[1]
    if not address:
        return None
    tool = inert(request.tool, "mail")
    left = max(0, int((request.expires_at - utc_now()).total_seconds()) // 60)
    lines = [
        f"Hello {person.name},",
        "",
        _OPENINGS[event],
        "",
        f"Tool: {tool}",
        f"Risk: {request.risk}",
    ]
    if event != topics.FLAGGED:
        standing_in = [
            away.person.name for away in absences.away_at(utc_now()).values() if away.delegate_id == person.id
        ]
        if standing_in:
            lines.insert(4, f"You stand in for {' and '.join(sorted(standing_in))}.")
        lines.append(f"Time left: {left} min. Without an answer it is denied.")
    lines += ["", topics.link(request), "", "You can only answer after signing in. This mail decides nothing."]
    subject = f"[{settings.REALM}] {request.risk}: {tool}"
    return EmailMessage(subject, "\n".join(lines), settings.DEFAULT_FROM_EMAIL, [address])
