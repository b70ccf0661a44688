"""What is on the desk of a person: what needs them, what waits for others, what was decided, what to look over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet

from approvals import eligibility
from approvals.models import ActionRequest
from audit.log import utc_now
from governance.models import REVIEWER, Person
from governance.runtime import canary_agents
from imprimatur.rules import states
from imprimatur.rules.quorum import Reason

MOST_DECIDED = 50
MOST_COUNTED = 1000


@dataclass(frozen=True)
class Item:
    """One pending request as one person sees it. ``reasons`` say why they may not answer; empty when they may.

    ``lacks`` is what they need to approve it, when they may only deny it as they are: a signing key. ``able`` may
    approve it now; ``stuck`` says that the people who exist can never approve it.
    """

    request: ActionRequest
    reasons: tuple[Reason, ...]
    able: tuple[Person, ...]
    lacks: Reason | None = None
    stuck: str = ""


@dataclass(frozen=True)
class Counts:
    """The numbers next to the tabs."""

    needs_you: int
    waiting: int
    to_look_over: int


def rows(*, canaries: bool = True) -> QuerySet[ActionRequest]:
    """Requests with what a row of a list shows, in a fixed number of queries, with those of canaries or without."""
    joined = ActionRequest.objects.select_related("agent__owner", "key", "delegation", "grant__reviewer", "claimed_by")
    if not canaries:
        joined = joined.exclude(agent__in=canary_agents.known())
    return joined.prefetch_related("votes__person")


def pending(person: Person, now: datetime | None = None, *, canaries: bool = True) -> list[Item]:
    """Every request that waits for an answer, soonest expiry first, with why this person may or may not give it."""
    open_rows = (
        rows(canaries=canaries)
        .filter(state__in=states.PENDING_STATES, expires_at__gt=now or utc_now())
        .order_by("expires_at")
    )
    everybody = eligibility.people()
    me = next((one for one in everybody if one.pk == person.pk), person)
    items = []
    for request in open_rows:
        reasons = tuple(eligibility.reasons_against(request, me))
        found = eligibility.outlook(request, everybody)
        lacks = None if reasons else eligibility.lacks(request, me)
        items.append(Item(request, reasons, found.able, lacks, found.stuck))
    return items


def needs_you(person: Person, now: datetime | None = None) -> list[Item]:
    """What this person may answer now: approve, or, lacking nothing but a key, deny. Never anything else."""
    return [item for item in pending(person, now) if not item.reasons]


def waiting(person: Person, now: datetime | None = None) -> list[Item]:
    """What waits for somebody else, with the reason why not this person."""
    return [item for item in pending(person, now) if item.reasons]


def decided(most: int = MOST_DECIDED, *, canaries: bool = True) -> Sequence[ActionRequest]:
    """What was decided last, newest first."""
    return list(rows(canaries=canaries).exclude(state__in=states.PENDING_STATES).order_by("-decided_at", "-id")[:most])


def to_look_over(person: Person | None = None) -> list[ActionRequest]:
    """What ran at medium risk and nobody has looked over yet, newest first; not this person's own agents."""
    found = rows().filter(look_over="open").order_by("-created_at")
    if person is not None:
        if REVIEWER not in {group.name for group in person.user.groups.all()}:
            return []
        found = found.exclude(agent__owner=person)
    return list(found[:500])


def of_canaries(*, open: bool, now: datetime) -> int:
    """How many requests of canaries wait, or were decided: at most a thousand are counted."""
    found = ActionRequest.objects.filter(agent__in=canary_agents.known())
    waits = {"state__in": states.PENDING_STATES}
    found = found.filter(**waits, expires_at__gt=now) if open else found.exclude(**waits)
    return found.order_by()[:MOST_COUNTED].count()


def counts(person: Person, now: datetime | None = None) -> Counts:
    """The numbers for this person."""
    items = pending(person, now)
    mine = sum(1 for item in items if not item.reasons)
    return Counts(mine, len(items) - mine, len(to_look_over(person)))
