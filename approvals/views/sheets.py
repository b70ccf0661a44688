"""The sheets on which people answer. GET shows one; only POST, with what was seen, does anything (invariant 10)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from approvals import forms
from approvals.access import access_request
from approvals.actions import add_comment, cast_vote, look_over, recall_vote
from approvals.models import ActionRequest
from approvals.views import words
from approvals.views.card import CardPage, card_page
from approvals.views.guards import for_people_with_a_role
from audit import log
from audit.errors import LogError
from audit.log import utc_now
from governance.errors import Refused
from governance.models import Person

CHANGED = "This changed after you opened it, so nothing was sent. Here is how it stands now; read it again."

Form = type[forms.SheetForm]


@dataclass(frozen=True)
class Act:
    """One thing a person may do about a request. ``allowed`` reads the page; ``do`` calls the action, which decides."""

    title: str
    button: str
    look: str
    form: Form
    label: str
    done: str
    allowed: Callable[[CardPage], bool]
    do: Callable[[Person, ActionRequest, dict[str, Any]], object]


def _answer(decision: str) -> Callable[[Person, ActionRequest, dict[str, Any]], object]:
    def do(person: Person, request: ActionRequest, said: dict[str, Any]) -> object:
        return cast_vote.answer(
            person,
            request.id,
            version=said["version"],
            decision=decision,
            reason=said["reason"],
            typed=said.get("typed", ""),
        )

    return do


def _ask(person: Person, request: ActionRequest, said: dict[str, Any]) -> object:
    return log.commit(add_comment.apply, add_comment.command(request.id, said["reason"], person=person))


def _recall(person: Person, request: ActionRequest, said: dict[str, Any]) -> object:
    return log.commit(recall_vote.apply, recall_vote.command(person, request.id, said["reason"]))


def _look(verdict: str) -> Callable[[Person, ActionRequest, dict[str, Any]], object]:
    def do(person: Person, request: ActionRequest, said: dict[str, Any]) -> object:
        return look_over.look_over(person, request.id, verdict, reason=said["reason"])

    return do


ACTS = {
    "approve": Act(
        "Approve",
        "Approve",
        "approve",
        forms.SheetForm,
        "A word for the log, if you like",
        "You approved it.",
        lambda page: page.answers.may_approve and page.answers.stage == "approve",
        _answer("approve"),
    ),
    "confirm": Act(
        "Confirm",
        "Confirm",
        "approve",
        forms.ConfirmForm,
        "A word for the log, if you like",
        "You confirmed it.",
        lambda page: page.answers.may_approve and page.answers.stage == "confirm",
        _answer("confirm"),
    ),
    "deny": Act(
        "Deny",
        "Deny",
        "deny",
        forms.ReasonForm,
        "Why? The agent and the auditors will read it.",
        "You denied it. It does not run.",
        lambda page: page.answers.may_deny,
        _answer("deny"),
    ),
    "ask": Act(
        "Ask",
        "Send",
        "approve",
        forms.ReasonForm,
        "Your question. The agent and the other reviewers will read it. The clock keeps running.",
        "Your question is in the timeline.",
        lambda page: not page.answers.frozen,
        _ask,
    ),
    "recall": Act(
        "Take your answer back",
        "Take it back",
        "deny",
        forms.SheetForm,
        "Why, if you like",
        "You took your answer back.",
        lambda page: page.answers.may_recall,
        _recall,
    ),
    "acknowledge": Act(
        "Looked over",
        "Acknowledge",
        "approve",
        forms.SheetForm,
        "A word for the log, if you like",
        "You looked it over.",
        lambda page: page.answers.may_look_over,
        _look("acknowledged"),
    ),
    "flag": Act(
        "Flag",
        "Flag",
        "deny",
        forms.ReasonForm,
        "What is wrong with it? The agent’s owner and the auditors will read it.",
        "You flagged it.",
        lambda page: page.answers.may_look_over,
        _look("flagged"),
    ),
}


@require_http_methods(["GET", "HEAD", "POST"])
@for_people_with_a_role
def sheet(request: HttpRequest, person: Person, request_id: str, act: str) -> HttpResponse:
    """One sheet. A POST that saw something else than what is there now is refused, and the sheet says what happened."""
    if act not in ACTS:
        raise Http404("There is no such sheet.")
    chosen = ACTS[act]
    row = access_request(person, request_id)
    form = chosen.form(request.POST or None)
    if request.method != "POST":
        form = chosen.form(initial={"version": row.version, "display_digest": row.display_digest})
        return _show(request, person, row, act, form, status=200)
    if not form.is_valid():
        return _show(request, person, row, act, form, status=422)
    said = form.cleaned_data
    if act != "ask" and (said["version"], said["display_digest"]) != (row.version, row.display_digest):
        return _show(request, person, row, act, _fresh(chosen, row, said), status=409, problem=CHANGED)
    try:
        chosen.do(person, row, said)
    except Refused as error:
        if error.code == "not-found":
            raise
        row = access_request(person, request_id)
        problem = error.message if error.code != "wrong-state" else _what_happened(row, error.message)
        return _show(request, person, row, act, _fresh(chosen, row, said), status=error.status, problem=problem)
    except LogError as error:
        problem = f"{error} Nothing was decided. An operator has to look at it; silence still denies."
        return _show(request, person, row, act, form, status=503, problem=problem)
    messages.success(request, chosen.done)
    return redirect("request", request_id)


def _fresh(chosen: Act, row: ActionRequest, said: dict[str, Any]) -> forms.SheetForm:
    """The same sheet over what is there now; the words a person wrote are kept, what they typed to confirm is not."""
    kept = {"version": row.version, "display_digest": row.display_digest, "reason": said.get("reason", "")}
    return chosen.form(initial=kept)


def _what_happened(row: ActionRequest, otherwise: str) -> str:
    """Who was faster, and when; the sheet shows the rest."""
    votes = [vote for vote in row.votes.all() if vote.recalled_at is None]
    if row.verdict == "pending" or not votes:
        return otherwise
    last = max(votes, key=lambda vote: vote.index)
    did = words.DECISION.get(last.decision, last.decision)
    return f"{last.person.name} was faster: {did} at {last.cast_at:%H:%M:%S} UTC. Nothing was sent from here."


def _show(
    request: HttpRequest,
    person: Person,
    row: ActionRequest,
    act: str,
    form: forms.SheetForm,
    *,
    status: int,
    problem: str = "",
) -> HttpResponse:
    page = card_page(person, row)
    chosen = ACTS[act]
    context = {
        "page": page,
        "act": act,
        "chosen": chosen,
        "form": form,
        "allowed": chosen.allowed(page),
        "problem": problem,
        "now": utc_now(),
        "steps": [1, 2] if len(row.stages) > 1 else [],
    }
    return render(request, "approvals/sheet.html", context, status=status)
