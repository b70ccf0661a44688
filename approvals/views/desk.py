"""The desk: four lists beside one card. Nothing here decides; these pages only read."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from approvals import grants
from approvals.access import access_request
from approvals.views import lists
from approvals.views.card import NO_KEY, card_page
from approvals.views.guards import for_people_with_a_role, is_fragment
from audit.log import utc_now
from governance.actors import roles_of
from governance.models import ADMIN, Agent, Person, Policy


def _context(request: HttpRequest, person: Person) -> dict[str, Any]:
    canaries = request.GET.get("canaries") == "shown"
    shown = lists.lists(person, request.GET.get("list", lists.NEEDS), canaries=canaries)
    # An admin of an empty installation sees how to go on; everybody else, and later, an empty list is just calm.
    beginning = not shown.rows and ADMIN in roles_of(person) and not Agent.objects.exists()
    needs_keys = beginning and (Policy.objects.filter(active=True).exclude(document__assurance=NO_KEY).exists())
    return {"lists": shown, "first_steps": beginning, "needs_keys": needs_keys, "granted": grants.how_many(utc_now())}


@require_safe
@for_people_with_a_role
def desk(request: HttpRequest, person: Person) -> HttpResponse:
    """The lists, with nothing opened."""
    return render(request, "approvals/desk.html", _context(request, person))


@require_safe
@for_people_with_a_role
def queue_fragment(request: HttpRequest, person: Person) -> HttpResponse:
    """The list alone, for a page that heard that something changed."""
    return render(request, "approvals/_queue.html", _context(request, person))


@require_safe
@for_people_with_a_role
def request_page(request: HttpRequest, person: Person, request_id: str) -> HttpResponse:
    """One request: the whole page, or the card alone for a page that is open already."""
    page = card_page(person, access_request(person, request_id))
    here = request.GET.get("list", "")
    if is_fragment(request):
        return render(request, "approvals/_card.html", {"page": page, "list": here})
    return render(request, "approvals/desk.html", {**_context(request, person), "page": page, "list": here})
