from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse


def index(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404


def integrity(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404


def checkpoint(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404


def export(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404


def entry(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404


def envelope(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404


def proof(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404
