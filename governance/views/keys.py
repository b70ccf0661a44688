"""Your keys: enrol a passkey or an SSH key to sign with, see which of yours count, and revoke one.

Templates get, beside what every page has:

- ``keys.html``: ``keys`` (PersonKey, newest first), ``to_vouch`` (keys of others that the person at the desk may vouch
  for), ``recent`` (they said who they are within five minutes, so they may enrol), ``next`` (a page to go on to).
- ``keys_ssh.html``: ``form`` (SshKeyForm); once the key was named ``ceremony``, ``raw``, ``statement``, ``write`` and
  ``sign`` (commands), ``answer`` (SshSignatureForm); ``code`` and ``terminal`` (a command) after a code was asked for.
"""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from audit import log
from audit.views.recent import recent_login, recently_authenticated
from audit.views.webauthn import signing_page
from governance import ceremonies, enrolment, signing_keys
from governance.access import access_person
from governance.actions import enrol_key, revoke_person_key, vouch_key
from governance.ceremonies import Signed
from governance.errors import Refused
from governance.key_forms import RevocationForm, SshKeyForm, SshSignatureForm
from governance.models import ADMIN, AUDITOR, REVIEWER, Ceremony, Delegation, Person, PersonKey
from governance.views import acts, commands
from governance.views.edge import act, for_script, page, person_at
from imprimatur.formats import signing
from imprimatur.rules.administration import Vouching

EVERYBODY = (ADMIN, REVIEWER, AUDITOR)
SSH_FILE = "enrolment.json"
TOO_LATE = "You signed in too long ago to add a key. Reload the page, say who you are once more, then go on."


@signing_page(create=True)
@page(*EVERYBODY)
def index(request: HttpRequest) -> HttpResponse:
    """One's own keys, how to add one, and whose wait for a voucher."""
    me = person_at(request)
    context = {
        "keys": me.keys.order_by("-added_at"),
        "to_vouch": to_vouch(me),
        "recent": recently_authenticated(request),
        "next": _onward(request, request.GET.get("next", ""), ""),
    }
    return render(request, "governance/keys.html", context)


@page(*EVERYBODY)
@recent_login
def again(request: HttpRequest) -> HttpResponse:
    """Ask who it is, then lead back to the keys."""
    return redirect(f"{reverse('keys')}#add")


@page(*EVERYBODY, methods=("POST",))
@for_script
def passkey_begin(request: HttpRequest) -> HttpResponse:
    """What the browser needs to make a key."""
    me = _recent(request)
    return JsonResponse(enrolment.begin_passkey(me, request.POST.get("label", "")))


@page(*EVERYBODY, methods=("POST",))
@for_script
def passkey_created(request: HttpRequest) -> HttpResponse:
    """Take the key that was made, and say what it is to sign."""
    me = _recent(request)
    made = enrolment.passkey_created(me, request.POST.get("ceremony", ""), request.POST.get("response", ""))
    return JsonResponse(ceremonies.for_browser(made))


@page(*EVERYBODY, methods=("POST",))
@for_script
def passkey_enrol(request: HttpRequest) -> HttpResponse:
    """Take the new key's signature, and write the key down."""
    me = person_at(request)
    ceremony, response = request.POST.get("ceremony", ""), request.POST.get("response", "")
    signed = ceremonies.finish(me, ceremony, response, typ=signing.ENROLMENT)
    key = log.commit(enrol_key.apply, enrol_key.Command(signed, me)).key
    if settings.DEMO and isinstance(vouch_key.may_vouch(me, key), Vouching):
        # Nobody else could vouch, and whoever tries the demo is spared a page that only says so. It is flagged alike.
        log.commit(vouch_key.apply, vouch_key.Command(key.fingerprint, me))
        messages.success(request, "Your key counts, as the first one here. From now on you vouch for others.")
    else:
        messages.success(request, "Your key is enrolled. It counts once somebody who knows you has vouched for it.")
    return JsonResponse({"next": _onward(request, request.POST.get("next", ""), reverse("keys"))})


@page(*EVERYBODY, methods=("GET", "POST"))
@recent_login
def ssh(request: HttpRequest) -> HttpResponse:
    """Enrol an SSH key: name it, sign the statement on one's own machine, bring the signature."""
    me = person_at(request)
    step = request.POST.get("step", "")
    if step == "code":
        code = enrolment.new_code(me)
        return _ssh(request, SshKeyForm(), code=code, terminal=_in_terminal(me, code))
    if step == "enrol":
        return _ssh_enrol(request, me)
    form = SshKeyForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            found = form.cleaned_data
            ceremony = enrolment.begin_ssh(me, found["line"], found["label"])
        except Refused as error:
            form.add_error("line", error.message)
        else:
            return _ssh(request, form, **_to_sign(ceremony, SshSignatureForm(initial={"ceremony": ceremony.id})))
    return _ssh(request, form)


@page(*EVERYBODY)
def ssh_statement(request: HttpRequest, ceremony_id: str) -> HttpResponse:
    """The exact bytes that the SSH key is to sign, as a file."""
    ceremony = _own(person_at(request), ceremony_id)
    answer = HttpResponse(bytes(ceremony.statement), content_type="application/json")
    answer["Content-Disposition"] = f'attachment; filename="{SSH_FILE}"'
    return answer


def _revocation(request: HttpRequest) -> acts.Sheet:
    """Revoke a key of one's own, or as an admin one of somebody else: from now, or from when it may have been lost."""
    me = person_at(request)
    # A fingerprint has slashes, so it travels as a parameter and not in the path.
    fingerprint = request.POST.get("key", "") or request.GET.get("key", "")
    key = PersonKey.objects.select_related("person").filter(pk=fingerprint).first()
    if key is None or (key.person_id != me.pk and access_person(me, key.person_id) and not _is_admin(request)):
        raise Refused("not-found", "There is no such key.")
    own = key.person_id == me.pk
    signed_with = sum(
        row.signature["key"] == key.fingerprint for row in Delegation.objects.filter(issuer_person=key.person)
    )
    vouched = revoke_person_key.vouched_with(key.fingerprint, datetime.min.replace(tzinfo=UTC))
    facts = [
        ("Key", key.fingerprint),
        ("Signed", f"{signed_with} delegations in all"),
        ("Vouched for", ", ".join(f"{one.person.name} ({one.label})" for one in vouched) or "nobody"),
    ]
    lead = (
        "Delegations, grants and answers that it signed from the stated time on end, and keys that it vouched for from "
        "then on lapse. It cannot come back: enrol another one."
    )

    def deed(found: dict[str, Any], signed: Signed | None) -> acts.Deed:
        return revoke_person_key.apply, revoke_person_key.Command(
            fingerprint, found["reason"], since=found["since"], by=me, stolen=found["stolen"], signed=signed
        )

    return acts.Sheet(
        me,
        RevocationForm(request.POST if request.method == "POST" else None),
        act=revoke_person_key.ACTED,
        subject=key.person_id,
        about={"person": key.person_id, "fingerprint": key.fingerprint},
        deed=deed,
        done="The key is revoked. What it signed from then on has ended.",
        words={
            "title": "Revoke a key of yours" if own else f"Revoke a key of {key.person.name}",
            "lead": lead,
            "button": "Revoke the key",
            "danger": True,
            "back": reverse("keys") if own else reverse("person", args=[key.person_id]),
            "facts": facts,
            "hidden": [("key", key.fingerprint)],
        },
        keys=[other for other in signing_keys.keys_of(me) if other.pk != key.pk],
    )


revoke, revoke_sign = acts.views(_revocation, *EVERYBODY)


def to_vouch(person: Person) -> list[PersonKey]:
    """The keys of others that wait for a voucher, and for which this person may be it."""
    waiting = PersonKey.objects.select_related("person__user").filter(
        purpose=PersonKey.SIGNING, vouched_at__isnull=True, revoked_at__isnull=True, person__user__is_active=True
    )
    others = waiting.exclude(person=person).order_by("added_at")
    return [key for key in others if isinstance(vouch_key.may_vouch(person, key), Vouching)]


def _ssh_enrol(request: HttpRequest, me: Person) -> HttpResponse:
    answer = SshSignatureForm(request.POST, request.FILES)
    ceremony = _own(me, request.POST.get("ceremony", ""))
    if answer.is_valid():
        try:
            signed = ceremonies.finish_ssh(me, ceremony.id, answer.cleaned_data["armored"], typ=signing.ENROLMENT)
        except Refused as error:
            answer.add_error("signature", error.message)
        else:
            if act(answer, enrol_key.apply, enrol_key.Command(signed, me)) is not None:
                messages.success(request, "Your key is enrolled. It counts once somebody who knows you has vouched.")
                return redirect("keys")
    document = signing.parse(bytes(ceremony.statement), signing.ENROLMENT)
    form = SshKeyForm(initial={"line": document["public_key"], "label": document["label"]})
    return _ssh(request, form, **_to_sign(ceremony, answer))


def _ssh(request: HttpRequest, form: SshKeyForm, **more: Any) -> HttpResponse:
    faulty = form.errors or (more["answer"].errors if "answer" in more else {})
    return render(request, "governance/keys_ssh.html", {"form": form, **more}, status=422 if faulty else 200)


def _to_sign(ceremony: Ceremony, answer: SshSignatureForm) -> dict[str, Any]:
    raw = bytes(ceremony.statement).decode("utf-8")
    return {
        "ceremony": ceremony,
        "raw": raw,
        "statement": signing.parse(raw.encode("utf-8"), signing.ENROLMENT),
        "write": commands.write_file(raw, SSH_FILE),
        "sign": commands.sign_file_with_ssh(signing.ssh_namespace(signing.ENROLMENT), SSH_FILE),
        "answer": answer,
    }


def _in_terminal(me: Person, code: str) -> str:
    origin, realm = shlex.quote(settings.ORIGINS[0]), shlex.quote(settings.REALM)
    return f"imprimatur key enrol --url {origin} --realm {realm} --person {me.id} --code {code} --key ~/.ssh/id_ed25519"


def _own(me: Person, ceremony_id: str) -> Ceremony:
    found = Ceremony.objects.filter(pk=ceremony_id, person=me, typ=signing.ENROLMENT, used_at__isnull=True).first()
    if found is None:
        raise Refused("not-found", "There is no enrolment in progress for you. Begin again under Your keys.")
    return found


def _recent(request: HttpRequest) -> Person:
    if not recently_authenticated(request):
        raise Refused("not-allowed", TOO_LATE)
    return person_at(request)


def _is_admin(request: HttpRequest) -> bool:
    return request.user.groups.filter(name=ADMIN).exists()


def _onward(request: HttpRequest, wanted: str, otherwise: str) -> str:
    good = url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return wanted if good and wanted.startswith("/") else otherwise
