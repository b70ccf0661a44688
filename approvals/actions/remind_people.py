"""Half of the time to answer is over: remind. Three quarters: escalate. Neither changes who may answer.

Reminded are those who were asked, and whoever has taken the place of somebody who cannot answer any more.
"""

from __future__ import annotations

from dataclasses import dataclass

from approvals import routing, transitions
from approvals.actions import ask_people
from approvals.models import ActionRequest
from approvals.notifications import topics
from audit.log import Writer
from imprimatur.rules import states


@dataclass(frozen=True)
class Command:
    """The requests to look at."""

    requests: tuple[str, ...]


def apply(writer: Writer, command: Command) -> int:
    """Put at most one message for each request in the outbox, once for each share of its time. Returns how many."""
    told = 0
    for identifier in command.requests:
        request = transitions.load(identifier)
        if request.state not in states.PENDING_STATES or transitions.expired(request, writer.now):
            continue
        if request.escalated_at is None and writer.now >= topics.due_at(request, topics.ESCALATE_AT):
            request.escalated_at = writer.now
            request.reminded_at = request.reminded_at or writer.now
            topics.escalated(writer, request, _asked(writer, request))
        elif request.reminded_at is None and writer.now >= topics.due_at(request, topics.REMIND_AT):
            request.reminded_at = writer.now
            topics.reminded(writer, request, _asked(writer, request))
        else:
            continue
        ActionRequest.objects.filter(pk=identifier).update(
            reminded_at=request.reminded_at, escalated_at=request.escalated_at
        )
        told += 1
    return told


def _asked(writer: Writer, request: ActionRequest) -> list[str]:
    return ask_people.widen(writer, request, max(routing.reached(request, writer.now), request.asked_level, 0))
