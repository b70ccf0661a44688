"""Who is on a request, who reads it, who was asked and who is asked next: beside the card, for the people who share it.

None of it decides who may answer; it keeps two people from doing the same work, and nobody from doing theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.formats import date_format
from django.views.decorators.http import require_POST

from approvals import claims, eligibility, presence, routing
from approvals.access import access_request
from approvals.actions import claim_request, release_request
from approvals.models import ActionRequest
from approvals.views import words
from approvals.views.guards import for_people_with_a_role
from audit.errors import LogError
from audit.log import commit
from governance import absences
from governance.actors import roles_of
from governance.errors import Refused
from governance.models import Person
from imprimatur.formats.timestamps import parse_time


@dataclass(frozen=True)
class Missed:
    """Somebody who may answer and is away, and who is asked instead, if anybody."""

    name: str
    until: datetime
    instead: str


@dataclass(frozen=True)
class Attention:
    """How much attention a pending request has. ``reading`` and ``asked`` are names in a row, without the reader's."""

    claim: claims.Claim | None
    mine: bool
    may_claim: bool
    reading: str
    asked: str
    next_at: datetime | None
    missed: Sequence[Missed]


def attention(
    person: Person, request: ActionRequest, payloads: Iterable[Mapping[str, Any]], now: datetime, *, may_answer: bool
) -> Attention:
    """What to show of it to this person. ``payloads`` are the entries about the request."""
    claim = claims.claim_of(request, now)
    mine = claim is not None and claim.person.pk == person.pk
    asked = routing.asked_so_far(request.id, payloads)
    names = dict(Person.objects.filter(pk__in=asked).values_list("id", "name"))
    told = ["you" if one == person.pk else names.get(one, one) for one in asked]
    return Attention(
        claim=claim,
        mine=mine,
        may_claim=may_answer and (claim is None or mine),
        reading=words.both(readers(request, person, claim)),
        asked=words.both(sorted(told, key=lambda name: (name != "you", name))),
        next_at=routing.next_at(request, now) if request.asked_level >= 0 else None,
        missed=_missed(request, now),
    )


def readers(request: ActionRequest, person: Person, claim: claims.Claim | None = None) -> list[str]:
    """The names of the others who have it open, and who could open it now. Whoever is on it is named as that."""
    noted = presence.desk.readers(request.id) - {person.pk, claim.person.pk if claim is not None else ""}
    found = Person.objects.select_related("user").filter(pk__in=noted, user__is_active=True) if noted else ()
    return sorted(one.name for one in found if one.pk == request.agent.owner_id or roles_of(one))


def _missed(request: ActionRequest, now: datetime) -> list[Missed]:
    away = absences.away_at(now)
    if not away:
        return []
    pool = {one.id: one.name for one in eligibility.people_to_ask(request)}
    return [
        Missed(
            absence.person.name,
            absence.ends_at,
            "" if absence.delegate_id in away else pool.get(absence.delegate_id or "", ""),
        )
        for one, absence in away.items()
        if one in pool
    ]


def on_it(request: ActionRequest, person: Person, now: datetime) -> str:
    """A few words for a row of a list; none when nobody is on it."""
    claim = claims.claim_of(request, now)
    if claim is None:
        return ""
    return "you are on it" if claim.person.pk == person.pk else f"{claim.person.name} is on it"


def told(payload: Mapping[str, Any], name: Callable[[str], str]) -> str | None:
    """What an entry about attention says in the timeline, after the name of its actor; None for any other entry."""
    kind, body = payload["kind"], payload["body"]
    if kind == routing.ASKED:
        people = words.both(sorted(name(one) for one in body["people"]))
        return f"asked {people}" if people else "found nobody to ask"
    if kind == "review.claimed":
        return f"is on it until {date_format(parse_time(body['until']), 'H:i')} UTC"
    return "left it to the others" if kind == "review.released" else None


@require_POST
@for_people_with_a_role
def claim(request: HttpRequest, person: Person, request_id: str) -> HttpResponse:
    """I am on it: a click, since it decides nothing."""
    return _done(request, person, request_id, claim_request.apply, claim_request.Command(person.pk, request_id))


@require_POST
@for_people_with_a_role
def release(request: HttpRequest, person: Person, request_id: str) -> HttpResponse:
    """I leave it to the others."""
    return _done(request, person, request_id, release_request.apply, release_request.Command(person.pk, request_id))


def _done(
    request: HttpRequest, person: Person, request_id: str, apply: Callable[..., object], command: object
) -> HttpResponse:
    access_request(person, request_id)
    try:
        commit(apply, command)
    except Refused as error:
        messages.error(request, error.message)
    except LogError as error:
        messages.error(request, f"Nothing was changed. {error}")
    return redirect("request", request_id)
