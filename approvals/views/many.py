"""Denying several requests at once: a sheet with all of them and one reason. There is no such sheet to approve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from approvals import eligibility, queue, transitions
from approvals.actions import deny_many as action
from approvals.models import ActionRequest
from approvals.openings import LONGEST_TEXT
from approvals.views import lists, words
from approvals.views.guards import for_people_with_a_role
from audit.errors import LogError
from audit.log import utc_now
from governance.errors import Refused
from governance.models import Person
from imprimatur.rules import states

CHANGED = "It changed after you chose it. Read it again before you deny it."


class ManyForm(forms.Form):
    """One reason for all of them."""

    reason = forms.CharField(max_length=LONGEST_TEXT, widget=forms.Textarea(attrs={"rows": 3, "autocomplete": "off"}))


@dataclass(frozen=True)
class Line:
    """One request on the sheet. ``problem`` says why it is not among those that would be denied."""

    pick: str
    request: ActionRequest | None
    spans: list[dict[str, Any]]
    problem: str = ""


@require_POST
@for_people_with_a_role
def deny_many(request: HttpRequest, person: Person) -> HttpResponse:
    """First the sheet over what was picked, then, with ``sure`` and a reason, the denials, each on its own."""
    picked = list(dict.fromkeys(request.POST.getlist("pick")))
    chosen = [_chosen(text) for text in picked[: action.MOST + 1]]
    if not chosen or None in chosen:
        messages.error(request, "Choose the requests to deny in the list first.")
        return redirect("desk")
    if len(chosen) > action.MOST:
        messages.error(request, f"At most {action.MOST} at once. Nothing was denied.")
        return redirect("desk")
    known = [one for one in chosen if one is not None]
    lines = _lines(person, known)
    form = ManyForm(request.POST if "sure" in request.POST else None)
    if "sure" not in request.POST or not form.is_valid():
        return _show(request, lines, form, status=422 if form.errors else 200)
    good = [one for one, line in zip(known, lines, strict=True) if not line.problem]
    if not good:
        return _show(request, lines, form, problem="None of these can be denied by you any more.", status=409)
    try:
        outcomes = action.deny(person, good, form.cleaned_data["reason"])
    except Refused as error:
        return _show(request, lines, form, problem=error.message, status=error.status)
    except LogError as error:
        return _show(request, lines, form, problem=f"{error} Nothing was denied; silence still does.", status=503)
    failed = {one.chosen.request: one.problem for one in outcomes if one.problem}
    denied = len(outcomes) - len(failed)
    left = [line for line in lines if line.problem] + [
        Line(line.pick, line.request, line.spans, failed[line.request.id])
        for line in lines
        if line.request is not None and line.request.id in failed
    ]
    if left:
        return render(
            request, "approvals/denied_many.html", {"denied": denied, "left": left}, status=200 if denied else 409
        )
    messages.success(request, f"You denied {denied} request{'' if denied == 1 else 's'}. None of them runs.")
    return redirect("desk")


def _chosen(text: str) -> action.Chosen | None:
    request_id, colon, version = text.partition(":")
    if not colon or not version.isascii() or not version.isdigit() or len(version) > 9:
        return None
    return action.Chosen(request_id, int(version))


def _lines(person: Person, chosen: list[action.Chosen]) -> list[Line]:
    """What was picked, as it stands now, each with why it cannot be denied by this person, if so."""
    now = utc_now()
    rows = queue.rows().in_bulk([one.request for one in chosen])
    me = eligibility.person_of(person.pk) or person
    found = []
    for one in chosen:
        pick, row = f"{one.request}:{one.version}", rows.get(one.request)
        if row is None:
            found.append(Line(pick, None, [], "There is no such action request."))
            continue
        problem = ""
        others = [vote for vote in eligibility.live_votes(row) if vote.person_id != me.pk]
        if row.state not in states.PENDING_STATES or transitions.expired(row, now):
            problem = words.sentence(row, now)
        elif row.version != one.version:
            problem = CHANGED
        else:
            reasons = lists.telling(eligibility.reasons_against(row, me, counted=others))
            problem = str(reasons[0].you) if reasons else ""
        found.append(Line(pick, row, lists.spans(row), problem))
    return found


def _show(
    request: HttpRequest, lines: list[Line], form: ManyForm, *, problem: str = "", status: int = 200
) -> HttpResponse:
    context = {
        "lines": [line for line in lines if not line.problem],
        "left": [line for line in lines if line.problem],
        "form": form,
        "problem": problem,
    }
    return render(request, "approvals/deny_many.html", context, status=status)
