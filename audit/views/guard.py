"""Who may open a page: one decorator that every view of the admin's and auditor's pages wears.

GET only reads (invariant 10). Whoever lacks the role is told so in words, and nothing of the page is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import wraps
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from audit.errors import LogError

ADMIN, REVIEWER, AUDITOR = "admin", "reviewer", "auditor"

View = Callable[..., HttpResponseBase]


def page(*readers: str, act: Collection[str] = (), methods: Collection[str] = ("GET",)) -> Callable[[View], View]:
    """Let ``readers`` see the page, and only those in ``act`` send to it. Without ``act``, readers may send too."""

    def wear(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            allowed = readers if request.method in ("GET", "HEAD") or not act else tuple(act)
            held = roles_at_desk(request)
            if not held & set(allowed):
                return refuse(request, 403, "This page is not for you", _not_allowed(allowed, held))
            try:
                return view(request, *args, **kwargs)
            except LogError as error:
                return refuse(request, 503, "Nothing was changed", str(error))

        # "HEAD" goes with "GET": Django answers it by the same view, without the body.
        wanted = [*methods, *(["HEAD"] if "GET" in methods else [])]
        return never_cache(require_http_methods(wanted)(login_required(guarded)))

    return wear


def roles_at_desk(request: HttpRequest) -> frozenset[str]:
    """The roles of who is at the desk, as the database has them now; none for somebody who was switched off."""
    user = request.user
    if not user.is_authenticated or not user.is_active:
        return frozenset()
    return frozenset(user.groups.values_list("name", flat=True))


def refuse(request: HttpRequest, status: int, title: str, message: str) -> HttpResponse:
    """A page that says in words why there is nothing here, and where to go on."""
    return render(request, "audit/refused.html", {"title": title, "message": message}, status=status)


def _not_allowed(allowed: Collection[str], held: Collection[str]) -> str:
    wanted = " or ".join(sorted(allowed))
    have = " and ".join(sorted(held)) or "no role"
    return f"It is for people with the role {wanted}. You have {have}. An admin can give you the role you need."
