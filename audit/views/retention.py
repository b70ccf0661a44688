"""Retention: what is kept how long, legal holds, erasing the words of one request. Admins act, auditors read."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from audit import holds, kinds, log, retention, retention_clock
from audit.actions import erase_openings, lift_hold, place_hold
from audit.admins import Admin
from audit.errors import Declined
from audit.log import utc_now
from audit.models import Hold
from audit.retention_forms import EraseForm, HoldForm, LiftForm
from audit.views.guard import ADMIN, AUDITOR, page, refuse, roles_at_desk

SHOWN = 20
LIFTED_SHOWN = timedelta(days=90)


@page(ADMIN, AUDITOR)
def index(request: HttpRequest) -> HttpResponse:
    """The rule, the holds that stand, what was erased last; for admins the forms."""
    return _page(request)


@page(ADMIN, methods=("POST",))
def place(request: HttpRequest) -> HttpResponse:
    """Place a legal hold."""
    form = HoldForm(request.POST)
    if not form.is_valid():
        return _page(request, hold=form)
    said = form.cleaned_data
    try:
        command = place_hold.Command(_admin(request), said["scope"], said["target"], said["reason"])
        placed = log.commit(place_hold.apply, command)
    except Declined as error:
        form.add_error(None, str(error))
        return _page(request, hold=form)
    messages.success(request, f"Held: {holds.what(placed)}. Nothing of it is erased until this hold is lifted.")
    return redirect("retention")


@page(ADMIN, methods=("GET", "POST"))
def lift(request: HttpRequest, hold_id: str) -> HttpResponse:
    """Lift a legal hold."""
    hold = Hold.objects.filter(pk=hold_id).first()
    if hold is None:
        return refuse(request, 404, "There is no such hold", "The list on the page Retention shows all that stand.")
    form = LiftForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            command = lift_hold.Command(_admin(request), hold.id, form.cleaned_data["reason"])
            log.commit(lift_hold.apply, command)
        except Declined as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"Lifted: the hold on {holds.what(hold)}.")
            return redirect("retention")
    [line] = holds.lines([hold])
    context = {"form": form, "line": line, "days": retention.days()}
    return render(request, "audit/retention_lift.html", context, status=422 if form.errors else 200)


@page(ADMIN, methods=("POST",))
def erase(request: HttpRequest) -> HttpResponse:
    """Erase the words of one request that has ended."""
    form = EraseForm(request.POST)
    if not form.is_valid():
        return _page(request, erase=form)
    said = form.cleaned_data
    try:
        command = erase_openings.Command((said["request"],), said["reason"], by=_admin(request))
        [erasure] = log.commit(erase_openings.apply, command)
    except Declined as error:
        form.add_error(None, str(error))
        return _page(request, erase=form)
    retention_clock.scrub()
    removed = len(retention_clock.remove_bundles())
    gone = f" {removed} bundle{'' if removed == 1 else 's'} on this server held them and went too." if removed else ""
    words = f"Erased: {erasure.count} opening{'' if erasure.count == 1 else 's'} of {said['request']}."
    messages.success(request, f"{words}{gone} Bundles that were taken away before still have them.")
    return redirect("retention")


def _page(request: HttpRequest, *, hold: forms.Form | None = None, erase: forms.Form | None = None) -> HttpResponse:
    wrong = hold is not None or erase is not None
    standing = holds.lines(Hold.objects.filter(lifted_at=None).order_by("-placed_index"))
    context: dict[str, Any] = {
        "days": retention.days(),
        "standing": standing,
        "lifted": holds.lines(holds.lifted_since(utc_now() - LIFTED_SHOWN)),
        "erasures": [
            {"erasure": erasure, "agent": kinds.name("agent", erasure.agent)} for erasure in retention.erasures(SHOWN)
        ],
        "hold_form": hold or HoldForm(auto_id="hold_%s"),
        "erase_form": erase or EraseForm(auto_id="erase_%s"),
        "may_act": ADMIN in roles_at_desk(request),
    }
    return render(request, "audit/retention.html", context, status=422 if wrong else 200)


def _admin(request: HttpRequest) -> Admin:
    person = getattr(request.user, "person", None)
    if person is None or request.user.pk is None:
        raise Declined("This login belongs to no person, so the log could not name you.")
    return Admin(request.user.pk, person.pk)
