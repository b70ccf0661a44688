"""What every page carries: a strict content policy, the one-time password rule, and no session on agents' addresses."""

from __future__ import annotations

from collections.abc import Callable

from allauth.account.authentication import get_authentication_records
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "manifest-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)


def permissions_policy(webauthn: str) -> str:
    """The ``Permissions-Policy`` of a page marked with ``webauthn`` (``get``, ``get create``; unmarked: neither)."""
    marks = webauthn.split()
    allowed = {mark: "(self)" if mark in marks else "()" for mark in ("get", "create")}
    return (
        f"publickey-credentials-get={allowed['get']}, publickey-credentials-create={allowed['create']}, "
        "camera=(), microphone=(), geolocation=()"
    )


# Here programs sign every request. `server.urls` mounts nothing else below them.
OF_AGENTS = ("/api/", "/.well-known/imprimatur")


class NoSessionForAgents:
    """Drop cookies on the addresses of agents and services, before anything can look at them.

    Invariant: there is no session where a request signature counts, so neither can stand in for the other. A session
    is no reason to answer a program, and a program never gets one.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith(OF_AGENTS):
            return self.get_response(request)
        request.META.pop("HTTP_COOKIE", None)
        request.COOKIES = {}
        response = self.get_response(request)
        response.cookies.clear()
        return response


class SecurityHeaders:
    """Send the same strict policy with every response. WebAuthn is off, and on only where a view marked its page."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        response.setdefault("Permissions-Policy", permissions_policy(getattr(response, "webauthn", "")))
        response.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        return response


class OneTimePassword:
    """A person whose password was printed by us can do nothing but choose their own, then goes on.

    Whoever came by single sign-on used no password, and may never have seen the printed one.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.user.is_authenticated:
            person = getattr(request.user, "person", None)
            change, leave = reverse("account_change_password"), reverse("account_logout")
            static = request.path.startswith("/static/")
            if (
                person is not None
                and person.must_change_password
                and request.path not in {change, leave}
                and not static
                and not _signed_on(request)
            ):
                return redirect(change)
        return self.get_response(request)


def _signed_on(request: HttpRequest) -> bool:
    ways = {record.get("method") for record in get_authentication_records(request, request.user)}
    return "socialaccount" in ways and "password" not in ways
