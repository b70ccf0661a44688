"""The canaries: which time their runs cover, and what the newest one tried and was told."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from audit import log
from governance.models import ADMIN, AUDITOR
from governance.runtime import canary_page
from governance.views.edge import page


@page(ADMIN, AUDITOR)
def index(request: HttpRequest) -> HttpResponse:
    """Coverage over the last thirty days, the newest run, and what voids which period."""
    shown = canary_page.shown(log.utc_now())
    return render(request, "governance/canaries.html", {"shown": shown, "off": settings.CANARY_EVERY is None})
