"""Pages that ask who you are once more: what they do outlives a session that somebody else may be sitting at."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from typing import Any

from allauth.account.authentication import get_authentication_records
from allauth.core.exceptions import ReauthenticationRequired
from django.http import HttpRequest, HttpResponseBase

from audit.views.guard import refuse

RECENT = 300
"""Seconds for which a proof of who somebody is counts as recent."""
SIGNED_ON_AT = "single_sign_on_at"
"""In the session: when the identity provider says it last saw the person (OpenID Connect Core, ``auth_time``)."""

View = Callable[..., HttpResponseBase]


def recently_authenticated(request: HttpRequest) -> bool:
    """Whether this session's person proved who they are within the last five minutes, by signing in or by being asked.

    A single sign-on counts from the time the identity provider states; one that states none does not count, since
    the provider may have let an old session through.
    """
    now = time.time()
    return any(0 <= now - at < RECENT for at in _proofs(request))


def _proofs(request: HttpRequest) -> list[float]:
    if not request.user.is_authenticated:
        return []
    signed_on = float(request.session.get(SIGNED_ON_AT, 0))
    return [
        min(record["at"], signed_on) if record.get("method") == "socialaccount" else record["at"]
        for record in get_authentication_records(request, request.user)
    ]


def recent_login(view: View) -> View:
    """Let only somebody in who proved who they are within five minutes; others are asked, and come back to the page.

    What is sent too late is refused rather than kept and replayed. Wear it inside ``audit.views.guard.page``.
    """

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if recently_authenticated(request):
            return view(request, *args, **kwargs)
        if request.method in ("GET", "HEAD"):
            raise ReauthenticationRequired  # allauth's middleware asks, then leads back here
        message = "You signed in too long ago for this. Open the page again: it asks who you are, then go on."
        return refuse(request, 403, "Nothing was changed", message)

    return guarded
