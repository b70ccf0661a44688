"""What people see when a page cannot be shown: in plain words, with the next step."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string

from governance.models import ADMIN, Person


def _page(request: HttpRequest, status: int, title: str, *lines: str) -> HttpResponse:
    context = {"status": status, "title": title, "lines": lines}
    return render(request, "errors/page.html", context, status=status)


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """400."""
    return _page(request, 400, "That request made no sense", "Go back, load the page again, and try once more.")


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """403: signed in, but without a role that may see this."""
    admins = Person.objects.filter(user__groups__name=ADMIN, user__is_active=True).order_by("name")
    names = ", ".join(admins.values_list("name", flat=True)) if request.user.is_authenticated else ""
    return _page(
        request,
        403,
        "You have no role that opens this page",
        "You are signed in, but what is here needs a role that you do not have.",
        f"An admin can give you one: {names}." if names else "An admin can give you one.",
    )


def forged(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403: a form came without the token that proves it was ours. Nothing was done."""
    return _page(
        request,
        403,
        "Nothing was sent",
        "The form was too old, or did not come from this desk. Load the page again and send it once more.",
    )


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """404."""
    return _page(
        request, 404, "There is nothing here", "It does not exist, or it is not yours to see. Check the address."
    )


def broken(request: HttpRequest) -> HttpResponse:
    """500: as little as possible, so that it works when the rest does not."""
    return HttpResponse(render_to_string("errors/broken.html"), status=500)
