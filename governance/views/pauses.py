from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse


def index(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404


def lift(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404

