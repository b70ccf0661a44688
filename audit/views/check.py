"""The page on which a browser verifies a receipt or a proof by itself. Nothing of it comes back to this server."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'none'",
        "form-action 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)
"""Stricter than that of other pages: the browser itself forbids this one to send anything."""


@never_cache
@require_safe
@login_required
def index(request: HttpRequest) -> HttpResponse:
    """For everybody who is signed in, whatever their role: what they check is their own."""
    answer = render(request, "audit/check.html")
    answer["Content-Security-Policy"] = POLICY
    return answer
