from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse


def index(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404


def ask(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404


def summary(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404


def trust(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404


def progress(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404


def download(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404
