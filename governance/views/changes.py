"""Changes that two people sign: what is proposed, who can second it, and every step of it in plain words."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import wraps
from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from audit import kinds, log
from audit.views.guard import View
from audit.views.webauthn import signing_page
from governance import ceremonies, change_words, changes
from governance.actions import propose_change, put_in_force, second_change, withdraw_change
from governance.actions.propose_change import Draft
from governance.actors import must_be, must_be_admin, roles_of
from governance.ceremonies import Signed
from governance.errors import Refused
from governance.forms import HoldForm, ReasonForm, SureForm
from governance.models import ADMIN, AUDITOR, REVIEWER, Change, Person, PersonKey, Policy, Tool
from governance.views.edge import act, page, person_at, sheet
from imprimatur.formats import canonical, shapes, signing
from imprimatur.formats.signing import CHANGE

STATES = {
    Change.PROPOSED: "waits for a second person",
    Change.READY: "held ready",
    Change.DONE: "done",
    Change.WITHDRAWN: "withdrawn",
    Change.EXPIRED: "over: nobody seconded it in time",
}
LONGEST_DRAFT = 150_000
_DRAFT = shapes.Obj(
    {
        "id": shapes.Id("chg"),
        "act": shapes.OneOf(*signing.CHANGES),
        "subject": shapes.Text(max=128),
        "document": shapes.Document(),
        "toml": shapes.Text(max=LONGEST_DRAFT, min=0),
        "kept": shapes.MapOf(shapes.Text(max=300, min=0), max=3),
        "hold": shapes.Bool(),
        "days": shapes.Int(1, changes.LONGEST_HOLD.days),
    }
)


def json_problems(view: View) -> View:
    """A refusal becomes JSON, for the script that signs."""

    @wraps(view)
    def told(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return view(request, *args, **kwargs)
        except Refused as error:
            if request.headers.get("Accept") != "application/json":
                raise
            return JsonResponse({"code": error.code, "detail": error.message}, status=error.status)

    return told


@page(ADMIN, REVIEWER, AUDITOR)
def index(request: HttpRequest) -> HttpResponse:
    """What waits for a second person, what is held ready, and what became of the rest."""
    me, now = person_at(request), log.utc_now()
    rows = [_row(change, me) for change in _changes()[:200]]
    return render(
        request,
        "governance/changes.html",
        {
            "waiting": [row for row in rows if row["change"].state == Change.PROPOSED and not row["over"]],
            "ready": [row for row in rows if row["change"].state == Change.READY and not row["over"]],
            "ended": [row for row in rows if row["over"]],
            "two": changes.two_person(),
            "holders": len(changes.holders()),
            "now": now,
        },
    )


@page(ADMIN, REVIEWER, AUDITOR)
def one(request: HttpRequest, change_id: str) -> HttpResponse:
    """One change: what it does, who signed it with which key, and what can be done with it now."""
    me = person_at(request)
    change = put_in_force.one(change_id)
    return render(request, "governance/change.html", _shown(change, me))


@signing_page()
@page(ADMIN, REVIEWER, methods=("GET", "POST"))
def second(request: HttpRequest, change_id: str) -> HttpResponse:
    """Sign the same: the second of two."""
    me = person_at(request)
    change = put_in_force.one(change_id)
    problem = ""
    if request.method == "POST":
        try:
            signed = signature(request, me)
            done = log.commit(second_change.apply, second_change.Command(change.pk, signed, me))
        except Refused as error:
            problem = error.message
        else:
            said = "Signed. It is held ready; an admin puts it in force." if done.hold else "Signed, and done."
            messages.success(request, said)
            return redirect("change", change.pk)
    context = {**_shown(change, me), "problem": problem, "says": _says(change, "second")}
    context["why_not"] = changes.why_not_second(change, me) or _why_over(change)
    return render(request, "governance/change_second.html", context, status=409 if problem else 200)


@signing_page()
@page(ADMIN, REVIEWER, methods=("POST",))
@json_problems
def second_sign(request: HttpRequest, change_id: str) -> HttpResponseBase:
    """Open the ceremony of whoever seconds it."""
    me = person_at(request)
    change = put_in_force.one(change_id)
    if _why_over(change):
        raise Refused("wrong-state", _why_over(change))
    objection = changes.why_not_second(change, me)
    if objection is not None:
        raise Refused("not-allowed", objection)
    return _open(request, me, change)


@signing_page()
@page(ADMIN, methods=("POST",))
def propose(request: HttpRequest) -> HttpResponseBase:
    """Show a draft once more and have it signed; with the signature, write it down."""
    me = person_at(request)
    if not request.POST.get("ceremony"):
        draft, form = draft_from(request.POST.get("draft", "")), HoldForm(request.POST)
        if request.POST.get("hold") and form.is_valid():
            draft = replace(draft, hold=True, days=form.cleaned_data["days"])
        return offer(request, me, draft)
    draft = draft_from(canonical.dumps(ceremonies.kept_of(me.pk, request.POST["ceremony"])).decode())
    try:
        change = log.commit(propose_change.apply, propose_change.Command(draft, signature(request, me), me))
    except Refused as error:
        return offer(request, me, draft, error.message)
    messages.success(request, "Proposed. It is done as soon as somebody else has signed the same.")
    return redirect("change", change.pk)


@signing_page()
@page(ADMIN, methods=("POST",))
@json_problems
def propose_sign(request: HttpRequest) -> HttpResponseBase:
    """Open the ceremony of whoever proposes it. The draft waits beside the statement until it is signed."""
    me = person_at(request)
    must_be_admin(me)
    draft = draft_from(request.POST.get("draft", ""))
    return _open(request, me, draft)


@page(ADMIN, REVIEWER, methods=("GET", "POST"))
def withdraw(request: HttpRequest, change_id: str) -> HttpResponse:
    """Take it back. One person is enough, and a click."""
    me = person_at(request)
    change = put_in_force.one(change_id)
    if me.pk != change.proposed_by_id:
        must_be_admin(me)
    form = ReasonForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        command = withdraw_change.Command(change.pk, form.cleaned_data["reason"], me)
        if act(form, withdraw_change.apply, command) is not None:
            messages.success(request, "Withdrawn.")
            return redirect("change", change.pk)
    return sheet(
        request,
        form,
        title="Withdraw this change",
        lead=f"{summary(change)} It will not happen unless it is proposed and signed by two again.",
        button="Withdraw",
        danger=True,
        back=reverse("change", args=[change.pk]),
        facts=[("Proposed by", change.proposed_by.name)],
    )


@page(ADMIN, methods=("GET", "POST"))
def force(request: HttpRequest, change_id: str) -> HttpResponse:
    """Put what two people signed in advance in force, after a second look."""
    me = person_at(request)
    change = put_in_force.one(change_id)
    if _why_over(change) or change.state != Change.READY:
        raise Refused("wrong-state", _why_over(change) or "Nobody has seconded this yet, so it is not ready.")
    form = SureForm(request.POST if request.method == "POST" else None)
    wanted = put_in_force.Command(change.pk, me)
    if request.method == "POST" and form.is_valid() and act(form, put_in_force.apply, wanted) is not None:
        messages.success(request, "It is in force.")
        return redirect("change", change.pk)
    second_name = change.seconded_by.name if change.seconded_by else ""
    return sheet(
        request,
        form,
        title="Put this in force now",
        lead=f"{summary(change)} Two people signed it in advance; from now on it holds.",
        button="Put in force",
        back=reverse("change", args=[change.pk]),
        facts=[
            ("Signed by", f"{change.proposed_by.name} and {second_name}"),
            *((line.what, line.words) for line in change_words.of_change(change.act, change.document, _base(change))),
        ],
    )


@signing_page()
def offer(request: HttpRequest, me: Person, draft: Draft, problem: str = "") -> HttpResponse:
    """The sheet on which an admin signs a proposal. Shown by the pages where the change was typed in."""
    must_be(me, ADMIN)
    base = _base(draft)
    context = {
        "draft": draft,
        "draft_text": canonical.dumps(asdict(draft)).decode("utf-8"),
        "summary": summary(draft),
        "lines": change_words.of_change(draft.act, draft.document, base),
        "diff": change_words.text(draft.act, draft.document, base),
        "says": _says(draft, "propose"),
        "problem": problem,
        "others": [person.name for person in _could_second(me)],
        "back": _back(draft),
        "form": HoldForm(initial={"days": 30}),
    }
    return render(request, "governance/change_propose.html", context, status=409 if problem else 200)


def draft_from(text: str) -> Draft:
    """A draft as the page carries it. Whether it could be done is asked on proposing. Raises Refused(invalid)."""
    try:
        if len(text) > LONGEST_DRAFT:
            raise shapes.ShapeError("draft", "is too long")
        found = canonical.loads(text.encode("utf-8"))
        shapes.check(found, _DRAFT, "draft")
    except (canonical.CanonicalError, shapes.ShapeError, UnicodeError):
        raise Refused("invalid", "This draft cannot be read. Begin again on the page you came from.") from None
    return Draft(**found)


def signature(request: HttpRequest, me: Person) -> Signed:
    """The signature that a form brought: of a passkey (``response``), or of an SSH key (``value``)."""
    ceremony = request.POST.get("ceremony", "")
    if request.POST.get("value"):
        return ceremonies.finish_ssh(me, ceremony, request.POST["value"], typ=CHANGE)
    return ceremonies.finish(me, ceremony, request.POST.get("response", ""), typ=CHANGE)


def summary(change: Change | Draft) -> str:
    """What it does, in one sentence."""
    document = change.document
    if change.act == "policy.activated":
        return f"Policy {document['number']}, “{document['document'].get('name', '')}”, comes into force."
    if change.act == "tool.registered":
        done = "gets a new version" if "replaces" in document else "is registered"
        return f"The tool {document['tool']} {done}."
    if change.act == "person.added":
        roles = " and ".join(document["roles"]) or "nothing yet"
        return f"{document['name']} is added as {roles}."
    return f"{kinds.name('person', change.subject)} is changed."


def _open(request: HttpRequest, me: Person, change: Draft | Change) -> HttpResponse:
    """Open a ceremony for the key that was chosen: JSON for a passkey, a page with the command for an SSH key."""
    proposing = isinstance(change, Draft)
    role, kept = ("propose", asdict(change)) if isinstance(change, Draft) else ("second", {})
    action = reverse("change_propose") if proposing else reverse("change_second", args=[change.id])
    key = PersonKey.objects.filter(pk=request.POST.get("credential", ""), person=me).first()
    if key is None or not key.signs_decisions:
        raise Refused("not-allowed", "Choose one of your signing keys that are in force.")
    document = {**propose_change.statement_fields(change, role), **ceremonies.common(me, credential=key.fingerprint)}
    ceremony = ceremonies.open(me, document, kept=kept)
    if key.kind != PersonKey.SSH:
        return JsonResponse(ceremonies.for_browser(ceremony))
    context = {
        "ceremony": ceremony,
        "statement": bytes(ceremony.statement).decode("utf-8"),
        "namespace": signing.ssh_namespace(CHANGE),
        "summary": summary(change),
        "key": key,
        "action": action,
        "back": reverse("changes") if proposing else action,
    }
    return render(request, "governance/change_ssh.html", context)


def _says(change: Change | Draft, role: str) -> list[tuple[str, str]]:
    fields = propose_change.statement_fields(change, role)
    return [(name, "true" if value is True else str(value)) for name, value in fields.items() if name != "typ"]


def _shown(change: Change, me: Person) -> dict[str, Any]:
    base = _base(change)
    able = changes.seconders(change) if change.state == Change.PROPOSED and not _why_over(change) else []
    return {
        **_row(change, me),
        "lines": change_words.of_change(change.act, change.document, base),
        "diff": change_words.text(change.act, change.document, base),
        "keys": {role: _key_words(fingerprint) for role, fingerprint in change.kept["keys"].items()},
        "able": [person.name for person in able if person.pk != me.pk],
        "you_can": any(person.pk == me.pk for person in able),
        "nobody": change.state == Change.PROPOSED and not _why_over(change) and not able,
        "stale": changes.stale(change) if change.state in changes.OPEN else None,
        "digest": signing.document_digest(change.document),
        "may_withdraw": change.state in changes.OPEN and (me.pk == change.proposed_by_id or ADMIN in roles_of(me)),
        "may_force": change.state == Change.READY and not _why_over(change) and ADMIN in roles_of(me),
        "added": _added(change, me),
    }


def _row(change: Change, me: Person) -> dict[str, Any]:
    over = _why_over(change)
    state = STATES[Change.EXPIRED] if over and change.state in changes.OPEN else STATES[change.state]
    return {
        "change": change,
        "summary": summary(change),
        "state": state,
        "over": bool(over),
        "own": change.proposed_by_id == me.pk,
    }


def _why_over(change: Change) -> str:
    if not changes.over(change, log.utc_now()):
        return ""
    state = change.state if change.state not in changes.OPEN else Change.EXPIRED
    return f"There is nothing to sign any more: this change is {STATES[state]}."


def _added(change: Change, me: Person) -> Person | None:
    """The newcomer who still needs a first password, which only their introducer makes."""
    if change.act != "person.added" or change.state != Change.DONE or me.pk != change.proposed_by_id:
        return None
    person = Person.objects.select_related("user").filter(pk=change.subject).first()
    return person if person is not None and not person.user.has_usable_password() else None


def _base(change: Change | Draft) -> dict[str, Any]:
    """What it was made on: the policy or tool that is replaced, or the person as they were."""
    if change.act == "policy.activated":
        replaced = Policy.objects.filter(digest=change.document.get("replaces", "")).first()
        return dict(replaced.document) if replaced else {}
    if change.act == "tool.registered":
        earlier = Tool.objects.filter(digest=change.document.get("replaces", "")).first()
        return dict(earlier.document) if earlier else {}
    if change.act == "person.added":
        return {"username": change.kept.get("username", ""), "email": change.kept.get("email", "")}
    if isinstance(change, Change):
        return dict(change.kept["before"])
    person = Person.objects.select_related("user").filter(pk=change.subject).first()
    return changes.state_of(person) if person is not None else {}


def _back(draft: Draft) -> str:
    if draft.act == "person.changed":
        return reverse("person", args=[draft.subject])
    return reverse({"person.added": "people", "tool.registered": "tools"}.get(draft.act, "policy"))


def _could_second(me: Person) -> list[Person]:
    nobody_yet = Change(proposed_by=me)
    return changes.seconders(nobody_yet)


def _key_words(fingerprint: str) -> str:
    key = PersonKey.objects.filter(pk=fingerprint).first()
    kind = "SSH key" if key is not None and key.kind == PersonKey.SSH else "passkey"
    return f"{kind} {fingerprint.removeprefix('SHA256:')[:8]}"


def _changes() -> QuerySet[Change]:
    return Change.objects.select_related("proposed_by", "seconded_by").order_by("-proposed_at")
