"""What every page of this room does the same way: know who acts, commit one command, say in words what was refused."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import wraps
from typing import Any, TypeVar

from django import forms
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import render

from audit import log
from audit.errors import LogError
from audit.log import Writer
from audit.views import guard
from governance.errors import Refused
from governance.models import Person

C = TypeVar("C")
R = TypeVar("R")

TITLES = {"not-found": "There is nothing here", "not-allowed": "This is not yours to do"}


def page(
    *readers: str, act: Collection[str] = (), methods: Collection[str] = ("GET",)
) -> Callable[[guard.View], guard.View]:
    """As ``guard.page``, and a refusal of the domain becomes a page that says it in words."""

    def wear(view: guard.View) -> guard.View:
        @wraps(view)
        def told(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            try:
                return view(request, *args, **kwargs)
            except Refused as error:
                return guard.refuse(request, error.status, TITLES.get(error.code, "This was refused"), error.message)

        return guard.page(*readers, act=act, methods=methods)(told)

    return wear


def for_script(view: guard.View) -> guard.View:
    """For a script in the middle of a signing: a refusal becomes JSON, ``{"code", "detail"}``.

    Never with 401, by which a script on our pages knows that the session ended. Wear it inside `page`.
    """

    @wraps(view)
    def told(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return view(request, *args, **kwargs)
        except Refused as error:
            status = 403 if error.status == 401 else error.status
            return JsonResponse({"code": error.code, "detail": error.message}, status=status)
        except LogError as error:
            return JsonResponse({"code": "log-frozen", "detail": f"Nothing was changed. {error}"}, status=503)

    return told


def person_at(request: HttpRequest) -> Person:
    """The person at the desk. Raises Refused(not-allowed) for a login that is nobody."""
    person = getattr(request.user, "person", None)
    if not isinstance(person, Person):
        raise Refused("not-allowed", "This login belongs to no person, so the log could not name you.")
    return person


def act(form: forms.Form, apply: Callable[[Writer, C], R], command: C) -> R | None:
    """Commit one command and return its result; None when it was refused, and then the form says why."""
    try:
        return log.commit(apply, command)
    except Refused as error:
        form.add_error(None, error.message)
    except LogError as error:
        form.add_error(None, f"Nothing was changed. {error}")
    return None


def sheet(request: HttpRequest, form: forms.Form, **words: Any) -> HttpResponse:
    """A sheet that asks once more, in words, before something is done.

    ``title``, ``lead`` (what will happen), ``button``, ``back`` (an address); ``facts`` are pairs to show; ``danger``
    marks what ends something.
    """
    return render(request, "governance/sheet.html", {"form": form, **words}, status=422 if form.errors else 200)
