from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse


def index(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404


def edit(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404


def activate(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404


def explain(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404


def version(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404

