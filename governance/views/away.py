"""Out of office: one's own, or, for an admin, that of somebody who is off sick."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from audit import log
from governance import absences
from governance.access import access_person
from governance.actions import end_away, set_away
from governance.actors import must_be_admin
from governance.away_form import AwayForm
from governance.errors import Refused
from governance.models import ADMIN, AUDITOR, REVIEWER, Person
from governance.views.edge import act, page, person_at


@page(ADMIN, REVIEWER, AUDITOR, methods=("GET", "POST"))
def index(request: HttpRequest) -> HttpResponse:
    """See it, set it, end it."""
    me = person_at(request)
    who = _whose(me, (request.POST if request.method == "POST" else request.GET).get("for", ""))
    here = reverse("away") + ("" if who.pk == me.pk else f"?for={who.pk}")
    if request.method == "POST" and "back" in request.POST:
        log.commit(end_away.apply, end_away.Command(who.pk, me))
        messages.success(request, "Asked again from now on.")
        return redirect(here)
    form = AwayForm(who, request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        found = form.cleaned_data
        command = set_away.Command(who.pk, found["starts"], found["ends"], found["delegate"] or None, me)
        if act(form, set_away.apply, command) is not None:
            messages.success(request, "Noted, and in the log.")
            return redirect(here)
    now = log.utc_now()
    away = absences.standing(who, now)
    context = {
        "form": form,
        "shown": who,
        "own": who.pk == me.pk,
        "away": away,
        "begun": away is not None and away.starts_at <= now,
        "delegate_away": away is not None and away.delegate_id in absences.away_at(now),
        "back": reverse("desk") if who.pk == me.pk else reverse("person", args=[who.pk]),
    }
    return render(request, "governance/away.html", context, status=422 if form.errors else 200)


def _whose(me: Person, identifier: str) -> Person:
    """Oneself, or, for an admin, anybody. Raises Refused: not-allowed, not-found."""
    if identifier in ("", me.pk):
        return me
    must_be_admin(me)
    found = access_person(me, identifier)
    if not found.user.is_active:
        raise Refused("not-found", f"{found.name} is switched off, so nobody asks them anyway.")
    return found
