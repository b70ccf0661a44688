"""Approving in advance: the sheet on which a reviewer says what else may run, and the list of what does.

GET decides nothing. One signature is one statement, so issuing a grant does not answer the request it was made from:
the page leads on to the sheet that does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from approvals import eligibility, grants
from approvals.access import access_request
from approvals.actions import issue_grant, revoke_grant
from approvals.models import ActionRequest, Grant
from approvals.views import guards, lists
from approvals.views.grant_form import GrantForm
from approvals.views.guards import for_people_with_a_role
from audit import log
from audit.errors import LogError
from audit.log import utc_now
from audit.views.guard import refuse
from audit.views.webauthn import signing_page
from governance import ceremonies, policies, signing_keys
from governance.actors import roles_of
from governance.errors import Refused
from governance.forms import ReasonForm
from governance.models import ADMIN, REVIEWER, Person
from governance.views import acts
from imprimatur.formats import canonical, signing
from imprimatur.formats.shapes import check
from imprimatur.formats.timestamps import parse_time

CHANGED = "This changed after you opened it, so nothing was sent. Here is how it stands now; read it again."
GONE = "Words of this request were erased, so nobody can say what would be like it."
MOST_ENDED = 100


@signing_page()
@require_http_methods(["GET", "HEAD", "POST"])
@for_people_with_a_role
def grant_sheet(request: HttpRequest, person: Person, request_id: str) -> HttpResponse:
    """First the form, then a sheet that says in one sentence what will run without asking, then the signature."""
    row = access_request(person, request_id)
    values = grants.parameters_of(row)
    if values is None or _against(person, row):
        return _cannot(request, person, row, GONE if values is None else "")
    form = GrantForm(request.POST if "max_uses" in request.POST else None, row, values)
    if request.method != "POST":
        return _ask(request, row, form)
    if request.POST.get("version") != str(row.version):
        return _ask(request, row, GrantForm(None, row, values), problem=CHANGED, status=409)
    if "grant" not in request.POST:
        if not form.is_valid():
            return _ask(request, row, form, status=422)
        return _sign(request, row, form.choice(utc_now()).as_dict())
    chosen: dict[str, Any] = {}
    try:
        chosen = _chosen(request)
        issued = log.commit(
            issue_grant.apply, issue_grant.command(person.id, row, _signed(request, person, row, chosen))
        )
    except Refused as error:
        if error.code == "not-found":
            raise
        if not chosen:
            return _ask(request, row, form, problem=error.message, status=error.status)
        return _sign(request, row, chosen, problem=error.message, status=error.status)
    except LogError as error:
        return _sign(request, row, chosen, problem=f"{error} Nothing was issued.", status=503)
    times = "once" if issued.max_uses == 1 else f"{issued.max_uses} times"
    messages.success(
        request,
        f"Until {issued.not_after:%H:%M} UTC, what is like this runs without asking, {times} at most. "
        "This request still waits for your answer.",
    )
    return redirect("sheet", row.id, "approve")


@require_POST
@for_people_with_a_role
def grant_sign(request: HttpRequest, person: Person, request_id: str) -> HttpResponse:
    """The statement to sign, and the options for the browser; a problem as JSON otherwise."""
    row = access_request(person, request_id)
    try:
        against = _against(person, row)
        if against:
            raise Refused("not-allowed", against)
        if request.POST.get("version") != str(row.version):
            raise Refused("wrong-state", CHANGED)
        credential = request.POST.get("credential") or None
        if credential is None:
            raise Refused("invalid", "Choose the key that signs.")
        document = grants.document(person, row, _chosen(request), credential)
        ceremony = _open(person, document)
        return JsonResponse(ceremonies.for_browser(ceremony))
    except Refused as error:
        return JsonResponse({"code": error.code, "detail": error.message}, status=error.status)
    except LogError as error:
        return JsonResponse({"code": "log-frozen", "detail": str(error)}, status=503)


@require_safe
@for_people_with_a_role
def grant_list(request: HttpRequest, person: Person) -> HttpResponse:
    """What runs without asking, and what did."""
    now = utc_now()
    return render(
        request,
        "approvals/grants.html",
        {
            "live": [grants.shown(grant, now) for grant in grants.open_ones(now)],
            "ended": [grants.shown(grant, now) for grant in grants.ended_ones(now, MOST_ENDED)],
            "may_revoke": bool(roles_of(person) & {ADMIN, REVIEWER}),
            "may_sign": signing_keys.may_sign(person),
            "off": not policies.active().compiled.document.get("grants", True),
        },
    )


@signing_page()
@require_http_methods(["GET", "HEAD", "POST"])
@for_people_with_a_role
def grant_revoke(request: HttpRequest, person: Person, grant_id: str) -> HttpResponse:
    """One click takes it back, from the list without a word, or from this sheet; whoever likes signs it."""
    try:
        return acts.show(request, _revocation(request, person, grant_id))
    except Refused as error:
        if error.code == "not-found":
            raise
        return refuse(request, error.status, "This is not yours to take back", error.message)


@require_POST
@for_people_with_a_role
def grant_revoke_sign(request: HttpRequest, person: Person, grant_id: str) -> HttpResponse:
    """What is signed by whoever takes it back with their key. A signature goes with a reason."""
    try:
        sheet = _revocation(request, person, grant_id)
        sheet.form.fields["reason"].required = True
        return acts.offer(request, sheet)
    except Refused as error:
        return guards.problem(error.code, error.message, error.status)


def _revocation(request: HttpRequest, person: Person, grant_id: str) -> acts.Sheet:
    grant = Grant.objects.select_related("reviewer", "agent").filter(pk=grant_id).first()
    if grant is None:
        raise Refused("not-found", "There is no such grant.")
    revoke_grant.must_be_allowed(person, grant)

    form = ReasonForm(request.POST if request.method == "POST" else None)
    form.fields["reason"].required = False

    def deed(found: dict[str, Any], signed: ceremonies.Signed | None) -> acts.Deed:
        return revoke_grant.apply, revoke_grant.Command(grant_id, person, found["reason"], signed)

    return acts.Sheet(
        person,
        form,
        act=revoke_grant.ACTED,
        subject=grant.id,
        about={"grant": grant.id},
        deed=deed,
        done="Revoked. From now on people are asked again.",
        words={
            "title": f"Revoke what {grant.reviewer.name} approved in advance",
            "lead": f"From now on {grant.agent.name} asks again. What ran on it, ran.",
            "button": "Revoke",
            "danger": True,
            "back": reverse("grants"),
            "facts": [("Agent", grant.agent.name), ("Tool", grant.tool), ("Used", f"{grant.uses} of {grant.max_uses}")],
        },
    )


def _against(person: Person, row: ActionRequest) -> str:
    """Why this person cannot approve this in advance; the action asks again under the lock."""
    against = grants.against_making(row)
    if against:
        return against
    if row.state != "PENDING":
        return "This request waits for no approval any more, so it is no model for others."
    reasons = lists.telling(eligibility.reasons_against(row, person))
    if reasons:
        return str(reasons[0].you)
    return ""


def _signed(request: HttpRequest, person: Person, row: ActionRequest, chosen: dict[str, Any]) -> ceremonies.Signed:
    ceremony = request.POST.get("ceremony", "")
    if ceremony:
        return ceremonies.finish(person, ceremony, request.POST.get("response", ""), typ=signing.GRANT)
    try:
        return ceremonies.session(person, grants.document(person, row, chosen, None))
    except ValueError as error:
        raise Refused("invalid", f"This grant cannot be written down: {error}") from None


def _open(person: Person, document: dict[str, Any]) -> Any:
    try:
        return ceremonies.open(person, document)
    except ValueError as error:
        raise Refused("invalid", f"This grant cannot be written down: {error}") from None


def _chosen(request: HttpRequest) -> dict[str, Any]:
    """What the form before chose. Its shape is checked with the whole statement, its reach under the lock."""
    try:
        found: dict[str, Any] = canonical.loads(request.POST.get("grant", "").encode("utf-8"))
        check(found, grants.CHOICE)
    except ValueError:
        raise Refused("invalid", "This form did not say what you chose. Open it again.") from None
    return found


def _ask(
    request: HttpRequest, row: ActionRequest, form: GrantForm, *, problem: str = "", status: int = 200
) -> HttpResponse:
    context = {"row": row, "form": form, "spans": lists.spans(row), "problem": problem, "step": "ask"}
    return render(request, "approvals/grant.html", context, status=status)


def _sign(
    request: HttpRequest, row: ActionRequest, chosen: dict[str, Any], *, problem: str = "", status: int = 200
) -> HttpResponse:
    said = {"tool": row.tool, **chosen}
    context = {
        "row": row,
        "spans": lists.spans(row),
        "problem": problem,
        "step": "sign",
        "chosen": canonical.dumps(chosen).decode("utf-8"),
        "sentence": grants.sentence(said, row.agent.name),
        "conditions": grants.conditions(said),
        "until": parse_time(said["not_after"]),
        "says": [
            ("tool", row.tool),
            ("agent", row.agent_id),
            ("request", row.id),
            ("policy", row.policy),
            ("not_after", said["not_after"]),
            *((f"effects.{number}", text) for number, text in enumerate(said["effects"])),
            *_says(said["parameters"]),
        ],
        "click": not eligibility.needs_key(row),
        "said": said,
    }
    return render(request, "approvals/grant.html", context, status=status)


def _says(predicates: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the statement has to say of the parameters, for the script that compares. Left out is what it could not find
    by its name, and what HTML would not carry unchanged; the server compares everything."""
    found = []
    for name, predicate in predicates.items():
        if "." in name or not name.isprintable():
            continue
        found.append((f"parameters.{name}.op", predicate["op"]))
        value = predicate.get("value")
        if isinstance(value, str) and value.isprintable():
            found.append((f"parameters.{name}.value", value))
        elif isinstance(value, bool | int):
            found.append((f"parameters.{name}.value", canonical.dumps(value).decode("utf-8")))
    return found


def _cannot(request: HttpRequest, person: Person, row: ActionRequest, problem: str) -> HttpResponse:
    because = problem or _against(person, row)
    context = {"row": row, "spans": lists.spans(row), "because": because, "step": "cannot"}
    return render(request, "approvals/grant.html", context, status=200 if request.method != "POST" else 403)
