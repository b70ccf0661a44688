"""Ask people: write down who is asked about a request, and tell exactly them. Who may answer is another question."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from approvals import claims, routing, transitions
from approvals.models import ActionRequest
from approvals.notifications import topics
from audit.log import SYSTEM, Writer
from imprimatur.rules import states

MOST_IN_ONE_ENTRY = 500


@dataclass(frozen=True)
class Command:
    """The requests to look at."""

    requests: tuple[str, ...]


def due(now: datetime) -> tuple[str, ...]:
    """The ids of requests that have reached another level."""
    pending = ActionRequest.objects.filter(state__in=states.PENDING_STATES, expires_at__gt=now)
    return tuple(row.id for row in pending.select_related("claimed_by") if routing.reached(row, now) > row.asked_level)


def apply(writer: Writer, command: Command) -> int:
    """Ask whom the levels reached since then add. Returns how many people were asked."""
    told = 0
    for identifier in command.requests:
        request = transitions.load(identifier)
        if request.state not in states.PENDING_STATES or transitions.expired(request, writer.now):
            continue
        level = routing.reached(request, writer.now)
        if level > request.asked_level:
            before = routing.asked_so_far(request.id)
            after = widen(writer, request, level)
            added = [one for one in after if one not in before]
            if added:
                topics.asked(writer, request, added)
            told += len(added)
    return told


def begin(writer: Writer, request: ActionRequest) -> None:
    """A step of this request has just opened: ask the first level. The row is saved already."""
    claims.end(request)
    request.asked_level = -1
    topics.asked(writer, request, _ask(writer, request, 0, []))
    ActionRequest.objects.filter(pk=request.pk).update(asked_level=0, claimed_by=None, claimed_until=None)


def widen(writer: Writer, request: ActionRequest, level: int) -> list[str]:
    """Ask whom this level adds, given who is there now. Returns everybody asked so far, those added at the end."""
    before = routing.asked_so_far(request.id)
    added = _ask(writer, request, level, before)
    ActionRequest.objects.filter(pk=request.pk).update(asked_level=request.asked_level)
    return [*before, *added]


def _ask(writer: Writer, request: ActionRequest, level: int, before: list[str]) -> list[str]:
    people = [one.id for one in routing.people_at(request, level, writer.now) if one.id not in before]
    opening = request.asked_level < 0  # that a step found nobody to ask is written down too
    request.asked_level = level
    for start in range(0, max(len(people), int(opening)), MOST_IN_ONE_ENTRY):
        writer.append(
            routing.ASKED,
            subject=request.id,
            actor=SYSTEM,
            refs=[("request", request.requested_index)] if request.requested_index is not None else [],
            body={"request": request.id, "level": level, "people": people[start : start + MOST_IN_ONE_ENTRY]},
            agent=request.agent_id,
        )
    return people
