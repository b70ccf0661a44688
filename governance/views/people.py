"""People: who may log in, what they may do here, and with which keys they sign delegations."""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import get_adapter
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse

from audit import log
from audit.views.webauthn import signing_page
from governance import absences, changes, newcomer_logins
from governance.access import access_person
from governance.actions import add_person, add_person_key, change_person, propose_change
from governance.actors import roles_of
from governance.errors import Refused
from governance.forms import KeyForm, PersonForm, ReasonForm, RolesForm
from governance.models import ADMIN, AUDITOR, Agent, Person
from governance.views import listing
from governance.views.changes import offer
from governance.views.edge import act, page, person_at, sheet
from imprimatur.formats import sshsig
from imprimatur.formats.ids import new_id
from imprimatur.rules import administration


@page(ADMIN, AUDITOR)
def index(request: HttpRequest) -> HttpResponse:
    """Everybody with a login."""
    people = Person.objects.select_related("user").prefetch_related("user__groups", "keys").order_by("name")
    away = absences.standing_of_all(log.utc_now())
    rows = [
        {
            "person": person,
            "away": away.get(person.id),
            "roles": ", ".join(sorted(group.name for group in person.user.groups.all())),
            "keys": sum(key.revoked_at is None for key in person.keys.all()),
        }
        for person in people
    ]
    return render(request, "governance/people.html", {"rows": rows})


@signing_page()
@page(ADMIN, methods=("GET", "POST"))
def add(request: HttpRequest) -> HttpResponseBase:
    """Add somebody. The one-time password is shown on the answer to this one request and kept nowhere.

    Where two people must agree on somebody with a role, the same form leads to the sheet that proposes them.
    """
    me = person_at(request)
    form = PersonForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        found = form.cleaned_data
        if found["roles"] and changes.two_person():
            draft = _newcomer(form, found)
            if draft is not None:
                return offer(request, me, draft)
            return render(request, "governance/person_add.html", {"form": form, "two": True}, status=422)
        command, password = add_person.new(
            found["username"], found["roles"], name=found["name"], email=found["email"], by=me
        )
        done = act(form, add_person.apply, command)
        if done is not None:
            context = {"added": done.person, "login": found["username"], "password": password}
            return render(request, "governance/person_added.html", context)
    context = {"form": form, "two": changes.two_person()}
    return render(request, "governance/person_add.html", context, status=422 if form.errors else 200)


@page(ADMIN, AUDITOR)
def one(request: HttpRequest, person_id: str) -> HttpResponse:
    """One person: roles, keys, agents they own, what they signed."""
    me = person_at(request)
    return _show(request, me, access_person(me, person_id))


@signing_page()
@page(ADMIN, methods=("POST",))
def change(request: HttpRequest, person_id: str) -> HttpResponseBase:
    """Change name or roles; where two people must agree, propose it."""
    me = person_at(request)
    person = access_person(me, person_id)
    form = RolesForm(request.POST)
    if form.is_valid():
        found = form.cleaned_data
        draft = _widening(person, roles=found["roles"], name=found["name"])
        if draft is not None:
            return offer(request, me, draft)
        command = change_person.Command(person, roles=found["roles"], name=found["name"], by=me)
        if act(form, change_person.apply, command) is not None:
            messages.success(request, "Changed.")
            return redirect("person", person.id)
    return _show(request, me, person, roles=form)


@page(ADMIN, methods=("GET", "POST"))
def switch_off(request: HttpRequest, person_id: str) -> HttpResponse:
    """Switch somebody off, after saying what falls."""
    me = person_at(request)
    person = access_person(me, person_id)
    form = ReasonForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        command = change_person.Command(person, active=False, reason=form.cleaned_data["reason"], by=me)
        if act(form, change_person.apply, command) is not None:
            messages.success(request, f"{person.name} can no longer log in.")
            return redirect("person", person.id)
    issued = listing.live_at(log.utc_now()).filter(issuer_person=person)
    owned = Agent.objects.filter(owner=person).order_by("name").values_list("name", flat=True)
    lead = (
        "Their sessions end at once. Every delegation they signed is revoked for good, with all that was passed on "
        "below it; switching them on again brings nothing back."
    )
    facts = [
        ("Delegations that end", f"{issued.count()}"),
        ("Agents without an owner", ", ".join(owned) or "none"),
    ]
    return sheet(
        request,
        form,
        title=f"Switch {person.name} off",
        lead=lead,
        button="Switch off",
        danger=True,
        back=reverse("person", args=[person.id]),
        facts=facts,
    )


@signing_page()
@page(ADMIN, methods=("GET", "POST"))
def switch_on(request: HttpRequest, person_id: str) -> HttpResponseBase:
    """Let somebody log in again; where two people must agree, propose it."""
    me = person_at(request)
    person = access_person(me, person_id)
    form = ReasonForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        draft = _widening(person, active=True, reason=form.cleaned_data["reason"])
        if draft is not None:
            return offer(request, me, draft)
        command = change_person.Command(person, active=True, reason=form.cleaned_data["reason"], by=me)
        if act(form, change_person.apply, command) is not None:
            messages.success(request, f"{person.name} can log in again.")
            return redirect("person", person.id)
    return sheet(
        request,
        form,
        title=f"Switch {person.name} on again",
        button="Propose…" if changes.two_person() else "Switch on",
        lead="They log in with the password they had, in the roles they had. Delegations that ended stay ended.",
        back=reverse("person", args=[person.id]),
        facts=[],
    )


@page(ADMIN, methods=("POST",))
def add_key(request: HttpRequest, person_id: str) -> HttpResponse:
    """Register an SSH key: once to see its fingerprint, once more, with the password, to say that it is the right one.

    A key outlives the session that registers it and signs delegations, so whoever holds only the session gets none.
    """
    me = person_at(request)
    person = access_person(me, person_id)
    form = KeyForm(request.POST)
    key = None
    if form.is_valid():
        try:
            key = sshsig.parse_public_key(form.cleaned_data["line"])
        except sshsig.SshSigError as error:
            form.add_error("line", f"This key cannot be used: {error}")
    if key is not None and request.POST.get("step") == "register" and _knows_password(request, form):
        done = act(form, add_person_key.apply, add_person_key.Command(person, key.line, me))
        if done is not None:
            messages.success(request, f"{done.key.fingerprint} is registered.")
            return redirect("person", person.id)
    return _show(request, me, person, key=form, seen=key)


def _newcomer(form: PersonForm, found: dict[str, Any]) -> propose_change.Draft | None:
    """A draft of adding somebody; None when it could not be done, and then the form says why."""
    now = log.utc_now()
    try:
        login, kept = newcomer_logins.kept(found["username"], found["email"])
        body = add_person.planned(new_id("pe", now), found["username"], found["name"], found["roles"], login)
    except Refused as error:
        form.add_error(None, error.message)
        return None
    return propose_change.draft(now, "person.added", body["person"], body, kept=kept)


def _widening(person: Person, **wanted: Any) -> propose_change.Draft | None:
    """A draft of changing somebody, where that takes two people; None where one admin is enough, or it is refused."""
    if not changes.two_person():
        return None
    try:
        body = change_person.planned(person, **wanted)
    except Refused:
        return None
    if not administration.takes_two("person.changed", body, changes.held_roles(person)):
        return None
    return propose_change.draft(log.utc_now(), "person.changed", person.pk, body)


def _knows_password(request: HttpRequest, form: KeyForm) -> bool:
    """Whether the password of whoever is logged in was typed again; the form says why not. Throttled as logging in is:
    both spend the same few failures."""
    try:
        if get_adapter(request).reauthenticate(request.user, form.cleaned_data["password"]):
            return True
        form.add_error("password", "This is not your password. Nothing was registered.")
    except ValidationError as error:
        form.add_error("password", error)
    return False


def _show(
    request: HttpRequest,
    me: Person,
    person: Person,
    *,
    roles: RolesForm | None = None,
    key: KeyForm | None = None,
    seen: sshsig.SshKey | None = None,
) -> HttpResponse:
    held = list(person.user.groups.values_list("name", flat=True))
    faulty = bool((roles and roles.errors) or (key and key.errors))
    return render(
        request,
        "governance/person.html",
        {
            "shown": person,
            "held": held,
            "keys": person.keys.order_by("-added_at"),
            "agents": person.agents.order_by("name"),
            "issued": [listing.row(row) for row in listing.roots().filter(issuer_person=person)[:20]],
            "roles_form": roles or RolesForm(initial={"name": person.name, "roles": held}),
            "key_form": key or KeyForm(),
            "seen": seen,
            "may_act": ADMIN in roles_of(me),
            "own": me.pk == person.pk,
            "away": absences.standing(person, log.utc_now()),
        },
        status=422 if faulty else 200,
    )
