from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse


def index(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404


def invite(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404


def one(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404


def suspend(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404


def resume(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404


def revoke_key(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404

