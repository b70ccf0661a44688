"""The kill switch: stop an agent, a tool or everything, see what is stopped, and lift it."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from audit import kinds
from audit.views.webauthn import signing_page
from governance import pauses
from governance.actions import lift_pause, set_pause
from governance.actors import roles_of
from governance.ceremonies import Signed
from governance.errors import Refused
from governance.forms import PauseForm, ReasonForm
from governance.models import ADMIN, AUDITOR, REVIEWER, Pause
from governance.views import acts
from governance.views.edge import for_script, page, person_at
from imprimatur.formats.ids import is_id


@signing_page()
@page(ADMIN, REVIEWER, AUDITOR, act=(ADMIN,), methods=("GET", "POST"))
def index(request: HttpRequest) -> HttpResponse:
    """What is stopped, and the sheet to stop something. Everybody with a role sees it; admins stop."""
    sheet = _stop(request)
    done = acts.send(request, sheet) if request.method == "POST" else None
    if done is not None:
        done_now = f"Stopped: {pauses.what(done.pause)}. Nothing of it runs until somebody lifts this."
        messages.success(request, acts.said(sheet, done_now))
        return redirect("pauses")
    return render(
        request,
        "governance/pauses.html",
        {
            **sheet.context(request),
            "standing": [
                {"pause": pause, "what": pauses.what(pause), "by": _by(pause)} for pause in pauses.all_standing()
            ],
            "may_act": ADMIN in roles_of(sheet.me),
        },
        status=422 if sheet.form.errors else 200,
    )


def _by(pause: Pause) -> str:
    """Who set it; the server itself where policy told it to."""
    return kinds.name("person", pause.set_by) if is_id("pe", pause.set_by) else "Imprimatur"


@page(ADMIN, methods=("POST",))
@for_script
def sign(request: HttpRequest) -> HttpResponse:
    """What an admin signs who stops something with their key."""
    return acts.offer(request, _stop(request))


@page(ADMIN, REVIEWER, AUDITOR)
def standing_now(request: HttpRequest) -> HttpResponse:
    """The banner that every page shows while something is stopped; open pages ask for it again and again.

    Nothing comes back while nothing has changed, so that no screen reader says the same thing twice.
    """
    if request.GET.get("seen") == pauses.mark():
        return HttpResponse(status=204)
    return render(request, "components/_stops.html")


def _stop(request: HttpRequest) -> acts.Sheet:
    """Stop what is chosen."""
    me = person_at(request)
    sent = request.POST if request.method == "POST" else None
    form = PauseForm(sent, initial={"what": request.GET.get("what", "")})
    scope, target = form.scope_and_target if form.is_valid() else ("", "")

    def deed(found: dict[str, Any], signed: Signed | None) -> acts.Deed:
        return set_pause.apply, set_pause.Command(scope, target, found["reason"], me, signed)

    return acts.Sheet(me, form, "pause.set", target or scope, {"scope": scope, "target": target}, deed)


def _lifting(request: HttpRequest) -> acts.Sheet:
    """Lift one pause."""
    me = person_at(request)
    given = request.POST if request.method == "POST" else request.GET
    scope, target = given.get("scope", ""), given.get("target", "")
    pause = Pause.objects.filter(scope=scope, target=target, lifted_at=None).first()
    if pause is None:
        raise Refused("not-found", "No such pause stands. Somebody may have lifted it already.")

    def deed(found: dict[str, Any], signed: Signed | None) -> acts.Deed:
        return lift_pause.apply, lift_pause.Command(scope, target, found["reason"], me, signed)

    return acts.Sheet(
        me,
        ReasonForm(request.POST if request.method == "POST" else None),
        act="pause.lifted",
        subject=target or scope,
        about={"scope": scope, "target": target},
        deed=deed,
        done=f"Lifted: {pauses.what(pause)}.",
        words={
            "title": f"Lift the pause of {pauses.what(pause)}",
            "button": "Lift",
            "lead": "What is approved and whose time is not over can be redeemed again.",
            "back": reverse("pauses"),
            "facts": [("Stopped because", pause.reason)],
            "hidden": [("scope", scope), ("target", target)],
        },
    )


lift, lift_sign = acts.views(_lifting, ADMIN)
