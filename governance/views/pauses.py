"""The kill switch: stop an agent, a tool or everything, see what is stopped, and lift it."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from audit import kinds
from governance import pauses
from governance.actions import lift_pause, set_pause
from governance.actors import roles_of
from governance.errors import Refused
from governance.forms import PauseForm, ReasonForm
from governance.models import ADMIN, AUDITOR, REVIEWER, Pause
from governance.views.edge import act, page, person_at, sheet


@page(ADMIN, REVIEWER, AUDITOR, act=(ADMIN,), methods=("GET", "POST"))
def index(request: HttpRequest) -> HttpResponse:
    """What is stopped, and the sheet to stop something. Everybody with a role sees it; admins stop."""
    me = person_at(request)
    start = {"what": request.GET.get("what", "")}
    form = PauseForm(request.POST or None, initial=start)
    if request.method == "POST" and form.is_valid():
        scope, target = form.scope_and_target
        done = act(form, set_pause.apply, set_pause.Command(scope, target, form.cleaned_data["reason"], me))
        if done is not None:
            messages.success(request, f"Stopped: {_what(done.pause)}. Nothing of it runs until somebody lifts this.")
            return redirect("pauses")
    return render(
        request,
        "governance/pauses.html",
        {
            "form": form,
            "standing": [
                {"pause": pause, "what": _what(pause), "by": kinds.name("person", pause.set_by)}
                for pause in pauses.all_standing()
            ],
            "may_act": ADMIN in roles_of(me),
        },
        status=422 if form.errors else 200,
    )


@page(ADMIN, methods=("GET", "POST"))
def lift(request: HttpRequest) -> HttpResponse:
    """Lift one pause."""
    me = person_at(request)
    given = request.POST if request.method == "POST" else request.GET
    scope, target = given.get("scope", ""), given.get("target", "")
    pause = Pause.objects.filter(scope=scope, target=target, lifted_at=None).first()
    if pause is None:
        raise Refused("not-found", "No such pause stands. Somebody may have lifted it already.")
    form = ReasonForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        command = lift_pause.Command(scope, target, form.cleaned_data["reason"], me)
        if act(form, lift_pause.apply, command) is not None:
            messages.success(request, f"Lifted: {_what(pause)}.")
            return redirect("pauses")
    return sheet(
        request,
        form,
        title=f"Lift the pause of {_what(pause)}",
        button="Lift",
        lead="What is approved and whose time is not over can be redeemed again.",
        back=reverse("pauses"),
        facts=[("Stopped because", pause.reason)],
        hidden=[("scope", scope), ("target", target)],
    )


def _what(pause: Pause) -> str:
    if pause.scope == Pause.EVERYTHING:
        return "everything"
    return kinds.name("agent", pause.target) if pause.scope == Pause.AGENT else f"the tool {pause.target}"
