"""The files of the published log for mirrors: witnesses that keep the entries too. They bring a token, no session."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from audit import publisher

LEAST_OF_A_TOKEN = 32


@never_cache
@require_safe
def tile(request: HttpRequest, path: str) -> HttpResponse:
    """A hash tile or an entry bundle (C2SP tlog-tiles). Without a configured token nobody gets any."""
    token = settings.MIRROR_TOKEN
    given = request.headers.get("Authorization", "")
    if len(token) < LEAST_OF_A_TOKEN or not constant_time_compare(given, f"Bearer {token}"):
        answer = HttpResponse("Mirrors bring their token.\n", content_type="text/plain", status=401)
        answer["WWW-Authenticate"] = "Bearer"
        return answer
    try:
        raw = publisher.read_tile(f"tile/{path}")
    except FileNotFoundError:
        return HttpResponse("There is no such file.\n", content_type="text/plain", status=404)
    return HttpResponse(raw, content_type="application/octet-stream")
