"""Pages that may call WebAuthn. Everywhere else the browser itself refuses, whatever a script on the page tries."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponseBase

View = Callable[..., HttpResponseBase]

GET, GET_AND_CREATE = "get", "get create"


def signing_page(*, create: bool = False) -> Callable[[View], View]:
    """Let this page ask for an assertion, with ``create`` also make a credential; its own origin only, never frames.

    Marks the response; ``server.middleware.SecurityHeaders`` turns the mark into the ``Permissions-Policy`` header
    (W3C Web Authentication Level 3, section 5.9), and denies both wherever no mark is.
    """

    mark = GET_AND_CREATE if create else GET

    def wear(view: View) -> View:
        @wraps(view)
        def marked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            response = view(request, *args, **kwargs)
            response.webauthn = mark  # type: ignore[attr-defined]  # what the middleware looks for
            return response

        marked.webauthn = mark  # type: ignore[attr-defined]  # so that a test can list these pages
        return marked

    return wear
