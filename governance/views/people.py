from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse


def index(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404


def add(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404


def one(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404


def change(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404


def switch_off(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404


def switch_on(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404


def add_key(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404


def revoke_key(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404

