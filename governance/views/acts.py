"""Sheets of what one person may do on their own: a click is enough, and whoever likes signs exactly what they chose.

A sheet that was signed is sent with ``ceremony`` and ``response``. The action holds what was signed against what it
does (`governance.acts`), so a page that lied has nothing done.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect

from audit import published
from audit.log import Writer
from audit.views.guard import View
from audit.views.webauthn import signing_page
from governance import acts, ceremonies, signing_keys
from governance.ceremonies import Signed
from governance.errors import Refused
from governance.models import Person, PersonKey
from governance.views import edge
from imprimatur.formats.signing import ACT
from imprimatur.formats.timestamps import format_time, parse_time

SAYS = {
    "reason": {"data-says": "content.reason"},
    "since": {"data-says": "content.since", "data-says-as": "time"},
    "stolen": {"data-says": "content.stolen"},
    "what": {"data-says": "content.scope:content.target"},
}
"""Where the statement has to say what stands in a field of the form: the page's script compares them."""

Deed = tuple[Callable[[Writer, Any], Any], Any]
"""An action and its command."""


@dataclass(frozen=True)
class Sheet:
    """One act of ``me``: ``act`` is the kind of the entry that results, ``subject`` the entry's.

    ``about`` is what the body says besides what is typed into ``form`` (a reason, since when, whether stolen).
    ``deed`` gets the cleaned form and the signature, if there is one. ``words`` are those of `edge.sheet`, ``done`` is
    said after it, ``keys`` the only ones that may sign it (None: any of one's own).
    """

    me: Person
    form: forms.Form
    act: str
    subject: str
    about: Mapping[str, str]
    deed: Callable[[dict[str, Any], Signed | None], Deed]
    done: str = ""
    words: Mapping[str, Any] = field(default_factory=dict)
    keys: Collection[PersonKey] | None = None

    def content(self, now: str) -> dict[str, Any]:
        """What a signature covers. ``now`` stands for a time that was left open."""
        found = self.form.cleaned_data
        chosen: dict[str, Any] = {**self.about, "reason": found["reason"]}
        if "since" in found:
            chosen["since"] = format_time(found["since"]) if found["since"] else now
        return {**chosen, "stolen": True} if found.get("stolen") else chosen

    def context(self, request: HttpRequest) -> dict[str, Any]:
        """What a template with ``components/_sign.html`` needs to have the form signed."""
        for name, says in SAYS.items():
            if name in self.form.fields:
                self.form.fields[name].widget.attrs |= says
        fixed = {"act": self.act, "person": self.me.pk}
        if "what" not in self.form.fields:  # else it is about what is chosen in the form
            fixed |= {"subject": self.subject, **{f"content.{name}": value for name, value in self.about.items()}}
        return {
            "form": self.form,
            "sign_url": f"{request.path}sign/" if request.path.endswith("/") else f"{request.path}/sign",
            "says": [(name, value) for name, value in fixed.items() if value],
            "fitting": self.keys,
        }


def offer(request: HttpRequest, sheet: Sheet) -> JsonResponse:
    """Open the ceremony over what was chosen, for the key that was chosen: what the page's script signs.

    Raises Refused: invalid (the form is not filled in), not-allowed (no such key).
    """
    if not sheet.form.is_valid():
        raise Refused("invalid", " ".join(str(error) for errors in sheet.form.errors.values() for error in errors))
    key = signing_keys.chosen(sheet.me, request.POST.get("credential", ""))
    if sheet.keys is not None and key not in sheet.keys:
        raise Refused("not-allowed", "This is not to be signed with that key. Choose another one, or just confirm.")
    common = ceremonies.common(sheet.me, credential=key.fingerprint)
    said = acts.fields(sheet.act, sheet.subject, sheet.content(common["issued_at"]))
    return JsonResponse(ceremonies.for_browser(ceremonies.open(sheet.me, {**said, **common})))


def send(request: HttpRequest, sheet: Sheet) -> Any:
    """Do it, with the signature if one was sent; the action's result, or None, and then the form says why."""
    if not sheet.form.is_valid():
        return None
    found, signed = dict(sheet.form.cleaned_data), None
    if request.POST.get("ceremony"):
        try:
            answer = (request.POST["ceremony"], request.POST.get("response", ""))
            signed = ceremonies.finish(sheet.me, *answer, typ=ACT)
        except Refused as error:
            sheet.form.add_error(None, error.message)
            return None
        if "since" in found and found["since"] is None:
            found["since"] = parse_time(signed.document["issued_at"])  # "from now" was said when it was signed
    apply, command = sheet.deed(found, signed)
    return edge.act(sheet.form, apply, command)


def show(request: HttpRequest, sheet: Sheet) -> HttpResponse:
    """The sheet; sent, it does what it says."""
    if request.method == "POST" and send(request, sheet) is not None:
        messages.success(request, said(sheet))
        return redirect(sheet.words["back"])
    return edge.sheet(request, **{**sheet.context(request), **sheet.words})


def said(sheet: Sheet, done: str = "") -> str:
    """What is said after it: what was done, where it stands in the log, and whether that is published yet."""
    found = published.told(sheet.act, sheet.subject, sheet.about)
    return " ".join(str(part) for part in (done or sheet.done, found) if part is not None)


def views(build: Callable[..., Sheet], *readers: str) -> tuple[View, View]:
    """The page of a sheet, and where its script asks what is to be signed. ``build`` makes it of request and address;
    it raises Refused for whoever may not do it, before anybody signs in vain."""

    def page(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return show(request, build(request, *args, **kwargs))

    def sign(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return offer(request, build(request, *args, **kwargs))

    sheet = edge.page(*readers, methods=("GET", "POST"))(page)
    return signing_page()(sheet), edge.page(*readers, methods=("POST",))(edge.for_script(sign))
