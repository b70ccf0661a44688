from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse


def post(request: HttpRequest, **where: object) -> HttpResponse:
    raise Http404

