"""The tool registry: what tools do to the world, and the grants by which they came to be known."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse

from audit import log
from audit.views.webauthn import signing_page
from governance import changes, standing
from governance.actions import propose_change, register_tool, retire_tool
from governance.errors import Refused
from governance.forms import ReasonForm, ToolForm
from governance.models import ADMIN, AUDITOR, Delegation, Pause, Tool
from governance.views.changes import offer
from governance.views.edge import act, page, person_at, sheet
from imprimatur.rules import tools as rules

STARTING_POINT = rules.DEFAULT_TOOLS["read_file"]


@page(ADMIN, AUDITOR)
def index(request: HttpRequest) -> HttpResponse:
    """Every tool the registry knows, and those that were taken out."""
    current = list(Tool.objects.filter(current=True).order_by("name"))
    names = {tool.name for tool in current}
    retired = Tool.objects.filter(current=False).exclude(name__in=names).order_by("name", "-registered_at")
    paused = set(Pause.objects.filter(scope=Pause.TOOL, lifted_at=None).values_list("target", flat=True))
    latest = {tool.name: tool for tool in reversed(list(retired))}
    return render(
        request, "governance/tools.html", {"tools": current, "retired": list(latest.values()), "paused": paused}
    )


@page(ADMIN, AUDITOR)
def one(request: HttpRequest, name: str) -> HttpResponse:
    """One tool: what it does, its schema, and every version there was. ``?version=`` shows an earlier one."""
    versions = list(Tool.objects.filter(name=name).order_by("-registered_at"))
    if not versions:
        raise Refused("not-found", "The registry has no such tool.")
    current = next((tool for tool in versions if tool.current), None)
    asked = request.GET.get("version")
    shown = next((tool for tool in versions if tool.digest == asked), None) if asked else current or versions[0]
    if shown is None:
        raise Refused("not-found", "This tool never had such a version.")
    return render(
        request,
        "governance/tool.html",
        {
            "tool": shown,
            "current": current,
            "versions": versions,
            "schema": _pretty(shown.document["schema"]),
            "document": _pretty(shown.document),
        },
    )


@signing_page()
@page(ADMIN, methods=("GET", "POST"))
def register(request: HttpRequest) -> HttpResponseBase:
    """Register a tool or a new version: first checked and read back in words, then registered; where two people must
    agree, proposed."""
    me = person_at(request)
    start = Tool.objects.filter(name=request.GET.get("from", ""), current=True).first()
    form = ToolForm(request.POST or None, initial={"document": _pretty(start.document if start else STARTING_POINT)})
    checked = before = None
    if request.method == "POST" and form.is_valid():
        checked = form.cleaned_data["document"]
        before = Tool.objects.filter(name=checked["name"], current=True).first()
        if request.POST.get("step") == "register" and changes.two_person():
            draft = _draft(form, checked)
            if draft is not None:
                return offer(request, me, draft)
        elif request.POST.get("step") == "register":
            done = act(form, register_tool.apply, register_tool.Command(checked, me))
            if done is not None:
                said = "is registered." if done.entry else "was registered in exactly this version already."
                messages.success(request, f"{done.tool.name} {said}")
                return redirect("tool", done.tool.name)
    context = {
        "form": form,
        "checked": checked,
        "two": changes.two_person(),
        "before": before,
        "digest": rules.digest(checked) if checked else "",
        "same": bool(checked and before and before.digest == rules.digest(checked)),
    }
    return render(request, "governance/tool_register.html", context, status=422 if form.errors else 200)


@page(ADMIN, methods=("GET", "POST"))
def retire(request: HttpRequest, name: str) -> HttpResponse:
    """Take a tool out of the registry."""
    me = person_at(request)
    tool = Tool.objects.filter(name=name, current=True).first()
    if tool is None:
        raise Refused("not-found", "The registry has no such tool.")
    form = ReasonForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        command = retire_tool.Command(name, form.cleaned_data["reason"], me)
        if act(form, retire_tool.apply, command) is not None:
            messages.success(request, f"{name} is out of the registry.")
            return redirect("tool", name)
    named = sum(name in _tools_named(row) for row in Delegation.objects.filter(revoked_at=None).only("document"))
    lead = (
        "From now on it is a tool that nobody vouched for: what it does is the agent’s claim, it is high risk or more, "
        "and it never spends money. What was approved with it cannot be redeemed."
    )
    return sheet(
        request,
        form,
        title=f"Retire {name}",
        lead=lead,
        button="Retire the tool",
        danger=True,
        back=reverse("tool", args=[name]),
        facts=[("Named in", f"{named} delegations" if named else "no delegation")],
    )


def _draft(form: ToolForm, document: dict[str, Any]) -> propose_change.Draft | None:
    try:
        body = register_tool.planned(document)
    except Refused as error:
        form.add_error(None, error.message)
        return None
    return propose_change.draft(log.utc_now(), "tool.registered", body["tool"], body)


def _tools_named(row: Delegation) -> list[str]:
    return list(standing.document_of(row).get("constraints", {}).get("tools", []))


def _pretty(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
