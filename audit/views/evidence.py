"""Evidence: ask for a bundle, follow how it is built, take it away, and read what it says."""

from __future__ import annotations

import json
from typing import Any

import django_rq
from django.conf import settings
from django.contrib import messages
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from redis.exceptions import RedisError
from rq import Worker

from audit import kinds, log, proofs, selectors
from audit import trust as anchors
from audit.actions import ask_bundle
from audit.asking import AskForm
from audit.errors import NotPublished
from audit.evidence import jobs, reading, words
from audit.models import Bundle, Entry
from audit.publisher import published_size
from audit.views import taking
from audit.views.guard import ADMIN, AUDITOR, page, refuse
from audit.views.log import standing
from imprimatur.formats.tiles import TileError
from imprimatur.verify.claims import CANNOT_TELL, INVALID, VALID, Claim

UNDERWAY = (Bundle.WAITING, Bundle.BUILDING)


@page(ADMIN, AUDITOR)
def index(request: HttpRequest) -> HttpResponse:
    """The bundles, how to ask for one, and how to verify one."""
    return _page(request, AskForm())


def _page(request: HttpRequest, form: AskForm, status: int = 200) -> HttpResponse:
    bundles = [_shown(row) for row in selectors.bundles()[:50]]
    return render(
        request,
        "audit/evidence.html",
        {
            "bundles": bundles,
            "ready": next((each for each in bundles if each["row"].state == Bundle.READY), None),
            "awaited": next((each for each in bundles if each["mine"](request.user)), None),
            "worker": _worker(),
            "form": form,
            "chosen": form.is_bound,
            **standing(),
        },
        status=status,
    )


@page(ADMIN, AUDITOR, methods=("POST",))
def ask(request: HttpRequest) -> HttpResponse:
    """Ask for a bundle of everything published so far, or of what the fields choose."""
    person = getattr(request.user, "person", None)  # who is at the desk is known above this room; here it is an id
    if person is None:
        return refuse(request, 403, "This login is nobody", "It belongs to no person, so the log could not name you.")
    assert request.user.pk is not None
    form = AskForm(request.POST)
    if not form.is_valid():
        return _page(request, form, 400)
    filters = form.filters()
    bundle = log.commit(ask_bundle.apply, ask_bundle.Command(request.user.pk, person.pk, filters))
    if bundle.filters == filters:
        messages.success(request, "The bundle is asked for. This page shows how far it is.")
    else:
        messages.warning(request, "You already wait for a bundle. Ask for this one when that is done.")
    return redirect("evidence")


@page(ADMIN, AUDITOR)
def progress(request: HttpRequest, bundle_id: str) -> HttpResponse:
    """One row of the list, for the page to refresh while the bundle is built."""
    row = selectors.bundles().filter(pk=bundle_id).first()
    if row is None:
        return _no_bundle(request)
    return render(request, "audit/_bundle.html", {"bundle": _shown(row), "worker": _worker()})


@page(ADMIN, AUDITOR, methods=("GET", "POST"))
def download(request: HttpRequest, bundle_id: str) -> HttpResponseBase:
    """The zip. `bundle.issued` names whoever asked for it; anybody else takes it by POST, and is named as well."""
    row = Bundle.objects.filter(pk=bundle_id, state=Bundle.READY).first()
    if row is None:
        return _no_bundle(request)
    path = jobs.path_of(row.id)
    if not path.is_file():
        return refuse(request, 404, "The file is gone", "It was removed from this server. Ask for a new bundle.")
    if row.asked_by_id != request.user.pk:
        if request.method != "POST":
            return refuse(request, 403, "Somebody else asked for it", "Take it from the list: the log then names you.")
        count = row.size if row.shown is None else row.shown
        refused = taking.enter(request, "bundle", "zip", query=row.id, size=row.size or 0, count=count or 0)
        if refused is not None:
            return refused
    name = f"{row.id}.zip"
    answer = FileResponse(path.open("rb"), as_attachment=True, filename=name, content_type="application/zip")
    return answer


@page(ADMIN, AUDITOR)
def proof(request: HttpRequest, bundle_id: str) -> HttpResponse:
    """The proof (C2SP tlog-proof) that the log says who took this bundle, to keep beside the zip."""
    row = Bundle.objects.filter(pk=bundle_id, state=Bundle.READY).first()
    if row is None or row.issued_index is None:
        return _no_bundle(request)
    try:
        text = proofs.proof_for(row.issued_index)
    except NotPublished:
        why = "The entry that says who took it is written, and sealed with the next checkpoint. Ask again in a moment."
        return refuse(request, 404, "Not published yet", why)
    except (TileError, OSError):
        why = "The files of the published log are damaged or away. Tell whoever operates this installation."
        return refuse(request, 503, "The proof cannot be read", why)
    return _attached(text.encode("utf-8"), f"bundle-{row.id}.tlog-proof", "text/plain; charset=utf-8")


@page(ADMIN, AUDITOR)
def issued(request: HttpRequest, bundle_id: str) -> HttpResponse:
    """The exact bytes of the entry that says who took this bundle: what the proof proves."""
    row = Bundle.objects.filter(pk=bundle_id, state=Bundle.READY).first()
    entry = Entry.objects.filter(index=row.issued_index).first() if row and row.issued_index is not None else None
    if entry is None:
        return _no_bundle(request)
    return _attached(bytes(entry.envelope), f"bundle-{bundle_id}.entry.json", "application/json")


def _attached(raw: bytes, name: str, content_type: str) -> HttpResponse:
    answer = HttpResponse(raw, content_type=content_type)
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


@page(ADMIN, AUDITOR)
def trust(request: HttpRequest) -> HttpResponse:
    """A copy of the trust anchors. The page that offers it says that they must come another way."""
    raw = json.dumps(anchors.document(), indent=2, ensure_ascii=False)
    answer = HttpResponse(f"{raw}\n", content_type="application/json")
    answer["Content-Disposition"] = 'attachment; filename="trust.json"'
    return answer


@page(ADMIN, AUDITOR)
def summary(request: HttpRequest) -> HttpResponse:
    """The newest bundle as a report of one page: claim, verdict, evidence, limits."""
    newest = selectors.bundles().filter(state=Bundle.READY).order_by("-ready_at").first()
    context: dict[str, Any] = {"bundle": newest, "realm": settings.REALM, "why_not": ""}
    if newest is not None:
        try:
            report = reading.report_of(newest)
            context |= {
                "report": report,
                "claims": _in_order(report.claims),
                "open": _count(report.claims, CANNOT_TELL),
            }
        except reading.CannotSummarise as error:
            context["why_not"] = str(error)
    return render(request, "audit/summary.html", context)


def _in_order(claims: list[Claim]) -> list[dict[str, Any]]:
    """What is broken first, then as a report answers."""
    places = {name: place for place, name in enumerate(reading.TITLES)}
    found = sorted(claims, key=lambda claim: (claim.verdict != INVALID, places.get(claim.name, len(places))))
    return [_claim(claim) for claim in found]


def _count(claims: list[Claim], verdict: str) -> int:
    return sum(claim.verdict == verdict for claim in claims)


def _claim(claim: Claim) -> dict[str, Any]:
    shown = {VALID: ("valid", "Holds"), INVALID: ("invalid", "Broken")}
    style, word = shown.get(claim.verdict, ("unknown", "Cannot tell"))
    first, _, rest = claim.detail.partition(" ")
    # A sentence begins with a capital, except where it begins with the name of a file.
    detail = f"{first if '.' in first else first[:1].upper() + first[1:]} {rest}".strip()
    return {
        "detail": detail,
        "style": style,
        "word": word,
        "claim": claim,
        "title": reading.TITLES.get(claim.name, claim.name),
    }


def _shown(row: Bundle) -> dict[str, Any]:
    underway = row.state in UNDERWAY
    return {
        "row": row,
        "chosen": words.chosen(row.filters, agent=lambda id: kinds.name("agent", id)),
        "proved": row.issued_index is not None and row.issued_index < published_size(),
        "underway": underway,
        "progress": jobs.progress(row.id) if underway else None,
        "mine": lambda user: underway and row.asked_by_id == user.pk,
        "there": row.state == Bundle.READY and jobs.path_of(row.id).is_file(),
    }


def _worker() -> str:
    """How the worker is: "ready", "none" when nobody takes jobs, "down" when Redis does not answer."""
    try:
        return "ready" if Worker.count(connection=django_rq.get_connection()) else "none"
    except (RedisError, OSError):
        return "down"


def _no_bundle(request: HttpRequest) -> HttpResponse:
    return refuse(request, 404, "There is no such bundle", "It may still be in the making. The list shows all bundles.")
