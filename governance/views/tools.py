from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse


def index(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404


def register(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404


def one(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404


def retire(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404

