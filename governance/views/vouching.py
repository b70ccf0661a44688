"""Vouch for somebody's key: who they are, what to compare aloud, and one's own signature that it is theirs.

``vouch.html`` gets ``shown`` (the newcomer), ``key`` and, after a refusal, ``problem``; the tag ``vouching_for`` gives
whether the person at the desk may, and what their statement says.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from audit import log
from audit.errors import LogError
from audit.views.webauthn import signing_page
from governance import ceremonies, signing_keys
from governance.access import access_person
from governance.actions import vouch_key
from governance.errors import Refused
from governance.key_forms import SshSignatureForm
from governance.models import ADMIN, REVIEWER, Ceremony, Person, PersonKey
from governance.views import commands
from governance.views.edge import act, for_script, page, person_at
from imprimatur.formats import signing
from imprimatur.rules.administration import Objection

SSH_FILE = "vouch.json"


@signing_page()
@page(ADMIN, REVIEWER, methods=("GET", "POST"))
def vouch(request: HttpRequest, person_id: str) -> HttpResponse:
    """The sheet; sent with a signature, or for one's own first key without, it puts the key in force."""
    me = person_at(request)
    newcomer = access_person(me, person_id)
    key = _waiting(newcomer, request.POST.get("key", "") or request.GET.get("key", ""))
    problem = ""
    if request.method == "POST":
        try:
            signed = None
            if key.person_id != me.pk:
                answer = (request.POST.get("ceremony", ""), request.POST.get("response", ""))
                signed = ceremonies.finish(me, *answer, typ=signing.VOUCH)
            log.commit(vouch_key.apply, vouch_key.Command(key.fingerprint, me, signed))
        except (Refused, LogError) as error:
            problem = str(error)
        else:
            messages.success(request, f"The key of {newcomer.name} is in force: what it signs counts from now on.")
            return redirect(reverse("keys"))
    context = {"shown": newcomer, "key": key, "problem": problem}
    return render(request, "governance/vouch.html", context, status=422 if problem else 200)


@page(ADMIN, REVIEWER, methods=("POST",))
@for_script
def sign(request: HttpRequest, person_id: str) -> HttpResponse:
    """What the voucher's own key is to sign."""
    me = person_at(request)
    key = _waiting(access_person(me, person_id), request.POST.get("key", ""))
    document = _statement(me, signing_keys.chosen(me, request.POST.get("credential", "")), key)
    return JsonResponse(ceremonies.for_browser(ceremonies.open(me, document)))


@page(ADMIN, REVIEWER, methods=("POST",))
def ssh(request: HttpRequest, person_id: str) -> HttpResponse:
    """The same with an SSH key: show what to sign and how, then take the signature."""
    me = person_at(request)
    newcomer = access_person(me, person_id)
    key = _waiting(newcomer, request.POST.get("key", ""))
    if not request.POST.get("ceremony"):
        own = signing_keys.chosen(me, request.POST.get("credential", ""))
        if own.kind != PersonKey.SSH:
            raise Refused("invalid", "A passkey signs on the page itself. Choose an SSH key.")
        ceremony = ceremonies.open(me, _statement(me, own, key))
        return _to_sign(request, key, ceremony, SshSignatureForm(initial={"ceremony": ceremony.id}))
    ceremony = ceremonies.waiting(me, request.POST["ceremony"], signing.VOUCH)
    form = SshSignatureForm(request.POST, request.FILES)
    if form.is_valid():
        try:
            signed = ceremonies.finish_ssh(me, ceremony.id, form.cleaned_data["armored"], typ=signing.VOUCH)
        except Refused as error:
            form.add_error("signature", error.message)
        else:
            if act(form, vouch_key.apply, vouch_key.Command(key.fingerprint, me, signed)) is not None:
                messages.success(request, f"The key of {newcomer.name} is in force.")
                return redirect("keys")
    return _to_sign(request, key, ceremony, form)


def _statement(me: Person, own: PersonKey, key: PersonKey) -> dict[str, Any]:
    verdict = vouch_key.may_vouch(me, key)
    if isinstance(verdict, Objection):
        raise Refused("not-allowed", verdict.message)
    return {
        "typ": signing.VOUCH,
        **ceremonies.common(me, credential=own.fingerprint),
        "for": key.person_id,
        "key": key.fingerprint,
        "enrolment": vouch_key.enrolment_digest(key),
    }


def _to_sign(request: HttpRequest, key: PersonKey, ceremony: Ceremony, form: SshSignatureForm) -> HttpResponse:
    context = {
        "title": f"Vouch for a key of {key.person.name}",
        "expires": ceremony.expires_at,
        "write": commands.write_file(bytes(ceremony.statement).decode("utf-8"), SSH_FILE),
        "sign": commands.sign_file_with_ssh(signing.ssh_namespace(signing.VOUCH), SSH_FILE),
        "hidden": [("key", key.fingerprint)],
        "form": form,
        "button": "Vouch",
        "back": f"{reverse('vouch', args=[key.person_id])}?{urlencode({'key': key.fingerprint})}",
    }
    return render(request, "governance/ssh_sign.html", context, status=422 if form.errors else 200)


def _waiting(newcomer: Person, fingerprint: str) -> PersonKey:
    key = vouch_key.pending(fingerprint)
    if key.person_id != newcomer.pk:
        raise Refused("not-found", "There is no such key that waits for somebody to vouch for it.")
    return key
