"""Delegations: the tree of who may do what, one of them down to its bytes, and how a person signs a new one."""

from __future__ import annotations

import secrets
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from audit import kinds, log, published, selectors
from audit.errors import LogError
from audit.views.webauthn import signing_page
from governance import ceremonies, signing_keys, spend
from governance.access import access_delegation, chain_of
from governance.actions import correct_spend, issue_delegation, revoke_delegation
from governance.actors import roles_of
from governance.cascade import below
from governance.ceremonies import Signed
from governance.errors import Refused
from governance.forms import CorrectionForm, DelegationForm, ReasonForm, SignatureForm
from governance.models import ADMIN, AUDITOR, REVIEWER, Delegation, Person, PersonKey, Reservation
from governance.views import acts, commands, listing
from governance.views.edge import act, for_script, page, person_at, sheet
from imprimatur.formats import canonical, shapes
from imprimatur.formats import delegation as formats
from imprimatur.formats.encoding import b64u
from imprimatur.rules import money
from imprimatur.rules.narrowing import LinkError, read

SHOWN = 50


@page(ADMIN, REVIEWER, AUDITOR)
def index(request: HttpRequest) -> HttpResponse:
    """The trees in force, and with ``?show=ended`` those that are over."""
    now = log.utc_now()
    ended = request.GET.get("show") == "ended"
    live = listing.live_at(now)
    found = listing.roots().exclude(pk__in=live) if ended else listing.roots().filter(pk__in=live)
    return render(
        request,
        "governance/delegations.html",
        {
            "rows": list(listing.forest(found[:SHOWN], now)),
            "ended": ended,
            "more": found.count() > SHOWN,
            "in_force": live.count(),
            "today": live.filter(not_after__date=now.date()).count(),
        },
    )


@page(ADMIN, REVIEWER, AUDITOR)
def one(request: HttpRequest, delegation_id: str) -> HttpResponse:
    """One delegation: its chain, what it comes to, its money, and the bytes with their signature."""
    me = person_at(request)
    delegation = access_delegation(me, delegation_id)
    chain = chain_of(delegation)
    shown = [listing.row(link, level) for level, link in enumerate(chain)]
    return render(
        request,
        "governance/delegation.html",
        {
            "row": shown[-1],
            "delegation": delegation,
            "chain": shown,
            "children": [listing.row(child) for child in delegation.children.order_by("issued_at")[:50]],
            "effective": _effective([link.document for link in shown]),
            "left": spend.left(delegation),
            "reservations": delegation.reservations.order_by("-id")[:50],
            "held": Reservation.RESERVED,
            "bytes": bytes(delegation.document).decode("utf-8"),
            "signature": delegation.signature,
            "verify": _verify(delegation),
            "may_revoke": _may_revoke(me, delegation),
        },
    )


def _verify(delegation: Delegation) -> str:
    key = PersonKey.objects.filter(
        person=delegation.issuer_person_id, kind=PersonKey.SSH, fingerprint=delegation.signature.get("key", "")
    ).first()
    return commands.verify_with_ssh(key.person_id, key.line) if key is not None else ""


@page(ADMIN, REVIEWER, AUDITOR)
def document(request: HttpRequest, delegation_id: str) -> HttpResponse:
    """The exact bytes that were signed."""
    delegation = access_delegation(person_at(request), delegation_id)
    answer = HttpResponse(bytes(delegation.document), content_type="application/json")
    answer["Content-Disposition"] = f'attachment; filename="{commands.FILE}"'
    return answer


@signing_page()
@page(ADMIN, methods=("GET", "POST"))
def new(request: HttpRequest) -> HttpResponse:
    """Write a delegation, then show the exact bytes to sign. Nothing is kept until the signature comes back."""
    me = person_at(request)
    form = DelegationForm(request.POST or None, initial={"subject": request.GET.get("agent", "")})
    if request.method == "POST" and form.is_valid():
        written = form.document(realm=_realm(), issuer=me.id, nonce=b64u(secrets.token_bytes(16)), now=log.utc_now())
        try:
            formats.validate(written)
            read(written)
        except (shapes.ShapeError, LinkError) as error:
            form.add_error(_field_of(error), str(error))
        else:
            raw = canonical.dumps(written).decode("utf-8")
            return _to_sign(request, me, SignatureForm(initial={"document": raw}), raw)
    context = {"form": form, "keys": _signers(me), "me": me}
    return render(request, "governance/delegation_new.html", context, status=422 if form.errors else 200)


@signing_page()
@page(ADMIN, methods=("POST",))
def sign(request: HttpRequest) -> HttpResponse:
    """Take the signature of the person at the desk, by a passkey or from an SSH key, and issue the delegation."""
    me = person_at(request)
    raw = request.POST.get("document", "")
    written = _shown(raw)
    if request.POST.get("ceremony"):
        return _signed_here(request, me, raw)
    form = SignatureForm(request.POST, request.FILES)
    if form.is_valid():
        try:
            signature = ceremonies.ssh_evidence(form.cleaned_data["armored"])
        except Refused as error:
            form.add_error("signature", error.message)
        else:
            done = act(form, issue_delegation.apply, issue_delegation.Command(written, signature, me))
            if done is not None:
                return _issued(request, done)
    return _to_sign(request, me, form, raw)


@page(ADMIN, methods=("POST",))
@for_script
def sign_here(request: HttpRequest) -> HttpResponse:
    """What a passkey is to sign: the delegation's own bytes, which name no key, so it is kept beside them."""
    me = person_at(request)
    written = _shown(request.POST.get("document", ""))
    if written["issuer"] != me.pk:
        raise Refused("not-allowed", "Only the issuer named in a delegation may sign it.")
    key = signing_keys.chosen(me, request.POST.get("credential", ""))
    return JsonResponse(ceremonies.for_browser(ceremonies.open(me, written, kept={"key": key.fingerprint})))


def _shown(raw: str) -> dict[str, Any]:
    try:
        return formats.parse(raw.encode("utf-8"))
    except ValueError as error:
        raise Refused("malformed", f"These are not the bytes that were shown ({error}). Write it again.") from None


def _signed_here(request: HttpRequest, me: Person, raw: str) -> HttpResponse:
    try:
        signed = ceremonies.finish(me, request.POST["ceremony"], request.POST.get("response", ""), typ=formats.TYP)
        if signed.raw != raw.encode("utf-8"):
            raise Refused("wrong-state", "Another delegation was signed than the one shown here. Write it again.")
        done = log.commit(issue_delegation.apply, issue_delegation.signed_at_desk(signed, me))
    except (Refused, LogError) as error:
        return _to_sign(request, me, SignatureForm(initial={"document": raw}), raw, problem=str(error))
    return _issued(request, done)


def _issued(request: HttpRequest, done: issue_delegation.Result) -> HttpResponse:
    found = published.Told(done.delegation.issued_index, published.covers(done.delegation.issued_index))
    usable = "" if found.published else " It can be used from then on."
    messages.success(request, f"{done.delegation.subject.name} holds this delegation now. {found}{usable}")
    return redirect("delegation", done.delegation.id)


def _signers(me: Person) -> list[PersonKey]:
    return [key for key in me.keys.order_by("added_at") if key.in_force]


def _revocation(request: HttpRequest, delegation_id: str) -> acts.Sheet:
    """Revoke one, after saying what falls with it."""
    me = person_at(request)
    delegation = access_delegation(me, delegation_id)
    if not _may_revoke(me, delegation):
        raise Refused("not-allowed", "Only an admin, its issuer or the owner of its agent may revoke a delegation.")
    fallen = below([delegation.id]) - {delegation.id}
    waiting = Reservation.objects.filter(delegation=delegation, state=Reservation.RESERVED).count()
    agents = Delegation.objects.filter(pk__in=fallen).order_by("subject__name").values_list("subject__name", flat=True)
    facts = [
        ("Holder", delegation.subject.name),
        ("Falls with it", f"{len(fallen)} passed on, to {', '.join(dict.fromkeys(agents))}" if fallen else "nothing"),
        ("Money held for requests", f"{waiting} requests" if waiting else "none"),
    ]
    lead = (
        "It takes effect at once and cannot be undone. Pending requests end, and what was approved cannot be redeemed."
    )

    def deed(found: dict[str, Any], signed: Signed | None) -> acts.Deed:
        return revoke_delegation.apply, revoke_delegation.Command(delegation.id, me, found["reason"], signed)

    return acts.Sheet(
        me,
        ReasonForm(request.POST if request.method == "POST" else None),
        act="delegation.revoked",
        subject=delegation.id,
        about={"delegation": delegation.id},
        deed=deed,
        done="The delegation is revoked. What stood on it has ended.",
        words={
            "title": f"Revoke what {delegation.subject.name} may do",
            "lead": lead,
            "button": "Revoke",
            "danger": True,
            "back": reverse("delegation", args=[delegation.id]),
            "facts": facts,
        },
    )


revoke, revoke_sign = acts.views(_revocation, ADMIN, REVIEWER, AUDITOR)


@page(ADMIN, methods=("GET", "POST"))
def correct(request: HttpRequest, delegation_id: str) -> HttpResponse:
    """Give spent money back, on a person's word."""
    me = person_at(request)
    delegation = access_delegation(me, delegation_id)
    if not delegation.unit:
        raise Refused("invalid", "This delegation carries no money.")
    form = CorrectionForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            given = money.format_amount(money.read_amount(form.cleaned_data["amount"].strip()))
        except money.MoneyError as error:
            form.add_error("amount", str(error))
        else:
            reason = form.cleaned_data["reason"]
            command = correct_spend.Command(delegation.id, given, delegation.unit, reason, me)
            if act(form, correct_spend.apply, command) is not None:
                messages.success(request, f"{given} {delegation.unit} given back.")
                return redirect("delegation", delegation.id)
    lead = (
        "It lowers what counts as spent, here and at every delegation above. The log keeps both the spending and this."
    )
    return sheet(
        request,
        form,
        title=f"Correct what {delegation.subject.name} spent",
        lead=lead,
        button="Give back",
        back=reverse("delegation", args=[delegation.id]),
        facts=[("Spent", f"{money.format_amount(delegation.spent)} {delegation.unit}")],
    )


def _to_sign(request: HttpRequest, me: Person, form: SignatureForm, raw: str, *, problem: str = "") -> HttpResponse:
    written = canonical.loads(raw.encode("utf-8"))
    return render(
        request,
        "governance/delegation_sign.html",
        {
            "form": form,
            "problem": problem,
            "document": written,
            "raw": raw,
            "length": len(raw.encode("utf-8")),
            "digest": formats.delegation_id(written),
            "holder": kinds.name("agent", written["subject"]),
            "keys": _signers(me),
            "write": commands.write_document(raw),
            "with_imprimatur": commands.delegate(written, settings.ORIGINS[0]),
            "with_ssh": commands.sign_with_ssh(),
        },
        status=422 if problem or form.errors else 200,
    )


def _effective(documents: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """What the whole chain comes to: every link's constraint holds, so each is listed with the link that sets it."""
    found: list[tuple[str, list[str]]] = []
    names = {"paths": "Only below", "domains": "Only domains", "tools": "Only tools", "max_file_size": "Largest file"}
    for name, label in names.items():
        lines: dict[str, None] = {}
        for document in documents:
            value = document.get("constraints", {}).get(name)
            if value is not None:
                text = f"{value:,} bytes" if isinstance(value, int) else ", ".join(value) or "nothing at all"
                lines[text] = None
        if lines:
            found.append((label, list(lines)))
    return found


def _field_of(error: Exception) -> str | None:
    where = str(getattr(error, "facet", "") or getattr(error, "path", ""))
    names = {
        "scope": "may",
        "spend": "limit",
        "purpose": "purpose",
        "constraints.paths": "paths",
        "constraints.domains": "domains",
        "constraints.tools": "tools",
        "constraints.max_file_size": "max_file_size",
    }
    return next((field for start, field in names.items() if where.startswith(start)), None)


def _may_revoke(me: Person, delegation: Delegation) -> bool:
    return me.pk in (delegation.issuer_person_id, delegation.subject.owner_id) or ADMIN in roles_of(me)


def _realm() -> str:
    head = selectors.head()
    return head.realm if head is not None else settings.REALM
