from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse


def index(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404


def new(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404


def sign(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404


def one(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404


def document(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404


def revoke(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404


def correct(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404

