"""Saved views: the filters of the log explorer under a name, each person's own."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.urls import reverse

from audit import log
from audit.actions import delete_view, rename_view, save_view
from audit.forms import LogFilterForm, ViewNameForm
from audit.views.guard import ADMIN, AUDITOR, REVIEWER, page, refuse
from audit.views.taking import LONGEST_QUERY


@page(ADMIN, REVIEWER, AUDITOR, methods=("POST",))
def save(request: HttpRequest) -> HttpResponse:
    """Keep the filters that were sent along, under a name."""
    form, filters = ViewNameForm(request.POST), LogFilterForm(QueryDict(request.POST.get("query", "")))
    if not form.is_valid():
        return refuse(request, 400, "A view needs a name", "Give it one of at most 80 characters, then save it again.")
    if not filters.is_valid() or not filters.query:
        return refuse(request, 400, "There is nothing to save", "Filter the log first, then save that as a view.")
    if len(filters.query) > LONGEST_QUERY:
        return refuse(request, 400, "The filter is too long", "It could not be kept. Use fewer or shorter words.")
    assert request.user.pk is not None
    try:
        saved = log.commit(
            save_view.apply, save_view.Command(request.user.pk, form.cleaned_data["name"], filters.query)
        )
    except save_view.TooManyError:
        return refuse(
            request, 409, "You keep many views", f"{save_view.MOST} is the most. Delete one that you do not use."
        )
    messages.success(request, f"Saved as “{saved.name}”.")
    return redirect(f"{reverse('log')}?{saved.query}")


@page(ADMIN, REVIEWER, AUDITOR, methods=("POST",))
def rename(request: HttpRequest, view: int) -> HttpResponse:
    """Give one of one's own views another name."""
    form = ViewNameForm(request.POST)
    if not form.is_valid():
        return refuse(request, 400, "A view needs a name", "Give it one of at most 80 characters.")
    assert request.user.pk is not None
    try:
        found = log.commit(rename_view.apply, rename_view.Command(request.user.pk, view, form.cleaned_data["name"]))
    except rename_view.NameTakenError:
        return refuse(request, 409, "You have a view of that name", "Choose another name, or delete the other view.")
    return _back(request) if found else _not_yours(request)


@page(ADMIN, REVIEWER, AUDITOR, methods=("POST",))
def delete(request: HttpRequest, view: int) -> HttpResponse:
    """Forget one of one's own views."""
    assert request.user.pk is not None
    found = log.commit(delete_view.apply, delete_view.Command(request.user.pk, view))
    return _back(request) if found else _not_yours(request)


def _back(request: HttpRequest) -> HttpResponse:
    """To the log as it was shown, with filters that are ours and nothing else."""
    filters = LogFilterForm(QueryDict(request.POST.get("query", "")))
    query = filters.query if filters.is_valid() else ""
    return redirect(f"{reverse('log')}?{query}" if query else reverse("log"))


def _not_yours(request: HttpRequest) -> HttpResponse:
    return refuse(request, 404, "You have no such view", "It may be deleted already.")
