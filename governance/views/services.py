"""Services: orchestrators, monitors and canary runners, their keys, and how one is registered or retired."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from audit.views.recent import recent_login
from governance.errors import Refused
from governance.forms import ReasonForm, ServiceForm
from governance.models import ADMIN, AUDITOR
from governance.runtime import reading
from governance.runtime.actions import register_service, retire_service
from governance.runtime.models import Launch, Service
from governance.views.edge import act, page, person_at, sheet
from imprimatur.formats import ids
from imprimatur.formats.digests import fingerprint, sha256


@page(ADMIN, AUDITOR)
def index(request: HttpRequest) -> HttpResponse:
    """Every service with the fingerprint that `keygen` printed for it, those in use first."""
    rows = Service.objects.order_by("retired_at", "registered_at")
    shown = [(row, fingerprint(sha256(bytes(row.public_key))), reading.role_words(row.role)) for row in rows]
    context = {
        "used": [each for each in shown if each[0].retired_at is None],
        "retired": [each for each in shown if each[0].retired_at is not None],
    }
    return render(request, "governance/runtime_services.html", context)


@page(ADMIN, methods=("GET", "POST"))
@recent_login
def register(request: HttpRequest) -> HttpResponse:
    """Register a service: first the fingerprint is shown, to compare with what `keygen` printed, then it is done."""
    me = person_at(request)
    form = ServiceForm(request.POST or None)
    checked = None
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        checked = {"id": ids.service_id(given["public_key"]), "fingerprint": fingerprint(sha256(given["public_key"]))}
        # Only the key whose fingerprint was on the page is registered, not one that took its place in the form since.
        if request.POST.get("step") == "register" and request.POST.get("compared") == checked["id"]:
            command = register_service.Command(
                given["name"], given["role"], given["public_key"], me, given["vkey"], given["agents"]
            )
            if act(form, register_service.apply, command) is not None:
                messages.success(request, f"{given['name']} is registered. What it signs counts from now on.")
                return redirect("services")
    context = {"form": form, "checked": checked}
    return render(request, "governance/runtime_register.html", context, status=422 if form.errors else 200)


@page(ADMIN, methods=("GET", "POST"))
@recent_login
def retire(request: HttpRequest, service_id: str) -> HttpResponse:
    """Retire a service, with a reason."""
    me = person_at(request)
    service = Service.objects.filter(pk=service_id, retired_at=None).first()
    if service is None:
        raise Refused("not-found", "There is no such service in use.")
    form = ReasonForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        command = retire_service.Command(service.pk, form.cleaned_data["reason"], me)
        if act(form, retire_service.apply, command) is not None:
            messages.success(request, f"{service.name} is retired.")
            return redirect("services")
    live = Launch.objects.filter(service=service, state=Launch.ATTESTED).count()
    lead = "From now on nothing that it signs counts. What it signed before stays in the log. It does not come back: "
    return sheet(
        request,
        form,
        title=f"Retire {service.name}",
        lead=lead
        + "a new one makes a new key."
        + (" Its live launches are given up for lost, and nothing new is asked under them." if live else ""),
        button="Retire it",
        danger=True,
        back=reverse("services"),
        facts=[("It is a", reading.role_words(service.role)), *([("Live launches", str(live))] if live else [])],
    )
