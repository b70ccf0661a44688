"""Policy: the rules as people read them, their versions, a change from text to activation, and why for any wish."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render

from audit import kinds, log
from audit.views.webauthn import signing_page
from governance import changes, judgement, people, policies, policy_words
from governance.access import access_delegation
from governance.actions import activate_policy, propose_change
from governance.errors import Refused
from governance.forms import ActivateForm, ExplainForm, PolicyForm
from governance.models import ADMIN, AUDITOR, REVIEWER, Policy, Tool
from governance.views.changes import offer
from governance.views.edge import act, page, person_at
from imprimatur.rules import freeze
from imprimatur.rules import policy as rules

OUTCOMES = {
    "refused": "Refused: outside its authority",
    "denied": "Denied by policy",
    "approve": "Approved by policy, without asking anybody",
    "pending": "Waits for people",
}


@dataclass(frozen=True)
class RuleLine:
    """One rule in words."""

    number: int
    name: str
    applies: str
    condition: str
    risk: str
    asks: str
    reason: str = ""


@page(ADMIN, REVIEWER, AUDITOR)
def index(request: HttpRequest) -> HttpResponse:
    """The policy in force, rule by rule, and its versions."""
    row = Policy.objects.filter(active=True).first()
    if row is None:
        raise Refused("not-found", "No policy is active, so nothing can be decided. An admin activates one.")
    return _show(request, row)


@page(ADMIN, REVIEWER, AUDITOR)
def version(request: HttpRequest, number: int) -> HttpResponse:
    """An earlier policy."""
    row = Policy.objects.filter(number=number).first()
    if row is None:
        raise Refused("not-found", "There was never a policy with this number.")
    return _show(request, row)


@page(ADMIN, methods=("GET", "POST"))
def edit(request: HttpRequest) -> HttpResponse:
    """Write a policy, see what is wrong with it, or what it changes. Nothing is kept."""
    person_at(request)
    active = Policy.objects.filter(active=True).first()
    start = Policy.objects.filter(number=_number(request.GET.get("from", ""))).first() or active
    form = PolicyForm(request.POST or None, initial={"toml": start.toml if start else ""})
    if request.method == "POST" and form.is_valid():
        text = form.cleaned_data["toml"]
        problems, compiled = _compile(text)
        if compiled is not None:
            return _to_activate(request, ActivateForm(initial={"toml": text}), text, compiled, active)
        form.add_error("toml", "This cannot become a policy yet. What to change stands below.")
        return render(request, "governance/policy_edit.html", {"form": form, "problems": problems}, status=422)
    return render(request, "governance/policy_edit.html", {"form": form}, status=422 if form.errors else 200)


@signing_page()
@page(ADMIN, methods=("POST",))
def activate(request: HttpRequest) -> HttpResponseBase:
    """Make it the policy in force; where two people must agree, propose it."""
    me = person_at(request)
    form = ActivateForm(request.POST)
    text = request.POST.get("toml", "")
    problems, compiled = _compile(text)
    if compiled is None:
        raise Refused("invalid", " ".join(str(problem) for problem in problems))
    if form.is_valid() and changes.two_person():
        draft = _draft(form, text)
        if draft is not None:
            return offer(request, me, draft)
    elif form.is_valid():
        done = act(form, activate_policy.apply, activate_policy.Command(rules.from_toml(text), me, toml=text))
        if done is not None:
            said = f"Policy {done.policy.number} is active." if done.entry else "This is the active policy already."
            messages.success(request, said)
            return redirect("policy")
    return _to_activate(request, form, text, compiled, Policy.objects.filter(active=True).first())


@page(ADMIN, REVIEWER, AUDITOR, methods=("GET", "POST"))
def explain(request: HttpRequest) -> HttpResponse:
    """Judge a wish that nobody made, and say why. Nothing is stored, and nobody is asked."""
    me = person_at(request)
    form = ExplainForm(request.POST or None, initial={"delegation": request.GET.get("delegation", "")})
    context: dict[str, Any] = {"form": form, "tools": Tool.objects.filter(current=True).order_by("name")}
    if request.method == "POST" and form.is_valid():
        found = form.cleaned_data
        delegation = access_delegation(me, found["delegation"])
        try:
            judged = judgement.judge(
                agent=delegation.subject,
                delegation_id=delegation.id,
                tool=found["tool"],
                parameters=found["parameters"],
                claimed_effects=None,
                claimed_cost=None,
                claimed_risk=found["risk"] or None,
                context={},
                now=log.utc_now(),
            )
        except Refused as error:
            form.add_error("parameters" if error.code == "schema" else None, error.message)
        else:
            context |= {
                "judged": judged,
                "outcome": OUTCOMES[judged.outcome],
                "asks": _asks([{"role": stage.role, "count": stage.count} for stage in judged.stages]),
            }
    return render(request, "governance/policy_explain.html", context, status=422 if form.errors else 200)


def _show(request: HttpRequest, row: Policy) -> HttpResponse:
    compiled, now = policies.compile_document(row.document), log.utc_now()
    return render(
        request,
        "governance/policy.html",
        {
            "policy": row,
            "document": row.document,
            "by": kinds.name("person", row.activated_by),
            "deny": [_line(place, rule) for place, rule in enumerate(row.document["deny"], 1)],
            "rules": [_line(place, rule) for place, rule in enumerate(row.document["rules"], 1)],
            "warnings": compiled.warnings,
            "ttl": row.document.get("ttl", {}),
            "floors": row.document.get("floors", {}),
            "device_bound": row.document.get("device_bound", []),
            "responds": policy_words.setting("respond", row.document["respond"]) if "respond" in row.document else "",
            "asked": [policy_words.asked(level) for level in row.document.get("ask", [])],
            "calendar": [(each["name"], freeze.words(each)) for each in row.document.get("freeze", [])],
            "frozen": compiled.frozen(now),
            "spans": freeze.upcoming(compiled.windows, now),
            "nobody": compiled.satisfiable_by(people.candidates()) if row.active else [],
            "versions": Policy.objects.order_by("-number")[:50],
            "names": {each.activated_by: kinds.name("person", each.activated_by) for each in Policy.objects.all()},
        },
    )


def _to_activate(
    request: HttpRequest, form: ActivateForm, text: str, compiled: rules.Policy, active: Policy | None
) -> HttpResponse:
    return render(
        request,
        "governance/policy_activate.html",
        {
            "form": form,
            "compiled": compiled,
            "active": active,
            "same": active is not None and active.digest == compiled.digest,
            "lines": policy_words.of_policy(active.document if active else {}, compiled.document),
            "diff": policy_words.diff(active.document if active else {}, compiled.document),
            "unknown": _unknown(compiled.document),
            "two": changes.two_person(),
            "unanswerable": compiled.satisfiable_by(people.candidates()),
            "text": text,
        },
        status=422 if form.errors else 200,
    )


def _draft(form: ActivateForm, text: str) -> propose_change.Draft | None:
    try:
        body, _ = activate_policy.planned(rules.from_toml(text))
    except Refused as error:
        form.add_error(None, error.message)
        return None
    return propose_change.draft(log.utc_now(), "policy.activated", body["policy"], body, toml=text)


def _compile(text: str) -> tuple[list[rules.Problem], rules.Policy | None]:
    try:
        return [], policies.compile_document(rules.from_toml(text))
    except rules.PolicyError as error:
        return error.problems, None


def _line(number: int, rule: dict[str, Any]) -> RuleLine:
    applies = f"tool {rule['tool']}" if "tool" in rule else rule.get("action", "")
    return RuleLine(
        number=number,
        name=rule["name"],
        applies=applies,
        condition=rule.get("when", ""),
        risk=rule.get("risk", ""),
        asks=_asks(rule["stages"]) if "stages" in rule else policy_words.usual(rule.get("risk", "")),
        reason=rule.get("reason", ""),
    )


def _asks(stages: list[dict[str, Any]]) -> str:
    return ", then ".join(f"{stage['count']} {stage['role']}" for stage in stages)


def _unknown(document: dict[str, Any]) -> list[str]:
    """Whom it names that nobody here is: people without a login, and roles that nobody holds."""
    known = {person.person for person in people.candidates()}
    roles = {role for person in people.candidates() for role in person.roles}
    named = {person for level in document.get("ask", []) for person in level.get("people", [])}
    asked = {role for level in document.get("ask", []) for role in level.get("roles", [])}
    asked |= {stage["role"] for rule in document["rules"] for stage in rule.get("stages", [])}
    found = [f"Nobody here has the id {person}." for person in sorted(named - known)]
    return found + [f"Nobody here holds the role {role}." for role in sorted(asked - roles)]


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 9 else 0
