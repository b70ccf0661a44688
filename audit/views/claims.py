"""What the log shows, for whoever decides: the claims page, and each control with its evidence."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from django.db.models import Max
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from audit import selectors
from audit.evidence import assessment, claims_page
from audit.evidence.words import moment
from audit.log import utc_now
from audit.models import Entry, LogHead
from audit.views.guard import ADMIN, AUDITOR, page, refuse
from imprimatur.formats.timestamps import format_time
from imprimatur.rules.canaries import ATTEMPTS
from imprimatur.verify import assessment as rules
from imprimatur.verify.controls import AISVS, CATALOG, CONTROLS, FAMILIES, NEEDS, Control
from imprimatur.verify.rulebook import RULES

_STATES = {rules.SHOWN: ("valid", "Shown"), rules.NOT_SHOWN: ("invalid", "Not shown")}
_UNSURE = ("unknown", "Cannot tell")
_RUN = "canary.reported"


@page(ADMIN, AUDITOR)
def index(request: HttpRequest) -> HttpResponse:
    """Each claim as one plain sentence, with its verdict, its evidence and its limits."""
    document, context = _now()
    if document is not None:
        shown = claims_page.shown(document, _link, lambda id: reverse("control", args=[id]))
        context |= {"statements": shown, "counted": claims_page.counted(document)}
    return render(request, "audit/claims.html", context)


@page(ADMIN, AUDITOR)
def controls(request: HttpRequest) -> HttpResponse:
    """Every control by family, and how it stands by the claims that it rests on."""
    document, context = _now()
    rows = [_row(control, document) for control in CONTROLS.values()]
    families = [
        (family, FAMILIES[family], list(found)) for family, found in groupby(rows, lambda row: row["control"].family)
    ]
    context |= {"families": families, "count": len(rows), "catalog": CATALOG, "aisvs": AISVS}
    return render(request, "audit/controls.html", context)


@page(ADMIN, AUDITOR)
def control(request: HttpRequest, control_id: str) -> HttpResponse:
    """One control: what it asks, what answers it, what the log shows now, and how somebody else checks that."""
    found = CONTROLS.get(control_id)
    if found is None:
        return refuse(request, 404, "There is no such control here", "The page of controls lists those that there are.")
    document, context = _now()
    need = NEEDS[found.need]
    statements = []
    if document is not None:
        all_shown = claims_page.shown(document, _link, lambda id: "")
        statements = [item for item in all_shown if item["name"] in need.rests_on]
    wanted = (*need.kinds, _RUN)
    newest = dict(Entry.objects.filter(kind__in=wanted).order_by().values_list("kind").annotate(Max("index")))
    numbered = {rule.number: rule for rule in RULES}
    context |= {
        **_row(found, document),
        "family": FAMILIES[found.family],
        "catalog": CATALOG,
        "aisvs": AISVS,
        "statements": statements,
        "kinds": [(kind, newest.get(kind)) for kind in need.kinds],
        "canaries": [ATTEMPTS[name].words for name in need.canaries],
        "newest_run": newest.get(_RUN),
        "rules": [numbered[number] for number in need.rules],
    }
    return render(request, "audit/control.html", context)


def _now() -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """The newest assessment as of now, and what every page says of it."""
    document, head = assessment.current(), selectors.head()
    if document is not None:
        document = rules.overdue(document, format_time(utc_now()))
    size = document["size"] if document is not None else 0
    return document, {
        "document": document,
        "time": moment(document["time"]) if document is not None else "",
        "head": head,
        "frozen": head is not None and head.state != LogHead.OPEN,
        "behind": max(head.size - size, 0) if head is not None and document is not None else 0,
    }


def _row(control: Control, document: Mapping[str, Any] | None) -> dict[str, Any]:
    state = rules.state_of(control, document) if document is not None else rules.UNSURE
    style, word = _STATES.get(state, _UNSURE)
    return {"control": control, "need": NEEDS[control.need], "style": style, "word": word}


def _link(evidence: Mapping[str, Any]) -> str:
    """The entries that a number counts, where the log can be asked for them."""
    return f"{reverse('log')}?kind={evidence['kind']}" if "kind" in evidence else ""
