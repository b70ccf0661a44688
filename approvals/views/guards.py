"""Who gets past the door of a page of the desk."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, cast

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import resolve_url
from django.utils.cache import patch_vary_headers

from governance.actors import roles_of
from governance.errors import Refused
from governance.models import Person

P = ParamSpec("P")
Page = Callable[Concatenate[HttpRequest, Person, P], HttpResponse]


def is_fragment(request: HttpRequest) -> bool:
    """Whether a page that is already open asks for a part of itself."""
    return request.headers.get("HX-Request") == "true" and "HX-History-Restore-Request" not in request.headers


def wants_json(request: HttpRequest) -> bool:
    """Whether a script asks, in the middle of a signing, and can read nothing but JSON."""
    return request.headers.get("Accept", "") == "application/json"


def problem(code: str, detail: str, status: int) -> JsonResponse:
    """What went wrong, for a script on a page of ours."""
    answer = JsonResponse({"code": code, "detail": detail}, status=status)
    answer["Cache-Control"] = "no-store"
    return answer


def for_people_with_a_role(page: Page[P]) -> Callable[Concatenate[HttpRequest, P], HttpResponse]:
    """Let in active people who hold a role now; the others log in, or learn that they have none.

    A fragment gets 401 instead of the login page, so that an open page can say that its session ended; a script that
    asks for JSON gets all of it as JSON. Nothing that passes here is kept by a cache.
    """

    @wraps(page)
    def guarded(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        if not request.user.is_authenticated:
            if wants_json(request):
                return problem("signed-out", "You are signed out. Sign in again.", 401)
            if is_fragment(request):
                return HttpResponse("Please sign in again.", status=401, content_type="text/plain")
            return redirect_to_login(request.get_full_path(), resolve_url("account_login"))
        person = getattr(request.user, "person", None)
        if person is None or not roles_of(person):
            if wants_json(request):
                return problem("not-allowed", "You hold no role here, so there is nothing for you to answer.", 403)
            raise PermissionDenied
        try:
            response = page(request, person, *args, **kwargs)
        except Refused as error:
            if wants_json(request):
                return problem(error.code, error.message, error.status)
            if error.code == "not-found":
                raise Http404(error.message) from error
            raise
        response["Cache-Control"] = "no-store"
        patch_vary_headers(response, ["HX-Request"])
        return response

    # wraps() widens the signature; the decorated page is called with the request alone.
    return cast("Callable[Concatenate[HttpRequest, P], HttpResponse]", guarded)
