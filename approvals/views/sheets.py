"""The sheets on which people answer. GET shows one; only POST, with what was seen, does anything (invariant 10).

A sheet is sent by a click, or signed: the page then first asks :func:`sign` for the statement, has a key of the person
sign it, and sends the sheet with the signature. Either way one command goes through the writer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from approvals import forms, statements, suggestions
from approvals.access import access_request
from approvals.actions import add_comment, cast_vote, look_over, recall_vote
from approvals.models import ActionRequest
from approvals.views import guards, words
from approvals.views.card import Answers, answers, card_page
from approvals.views.guards import for_people_with_a_role
from approvals.views.why import why_not
from audit import log
from audit.errors import LogError
from audit.log import Writer, utc_now
from audit.views.webauthn import signing_page
from governance import ceremonies
from governance.errors import Refused
from governance.models import Person

CHANGED = "This changed after you opened it, so nothing was sent. Here is how it stands now; read it again."

Form = type[forms.SheetForm]
Deed = tuple[Callable[[Writer, Any], object], Any]
"""An action and its command."""
Stated = Callable[[], statements.Said]
Do = Callable[[Person, ActionRequest, Stated, dict[str, Any]], Deed]


@dataclass(frozen=True)
class Act:
    """One thing a person may do about a request.

    ``decision`` is what a statement calls it, empty for what is not stated. ``allowed`` reads what the person may do,
    for the page; ``deed`` names the action, which decides again. ``form`` carries the words.
    """

    title: str
    button: str
    look: str
    form: Form
    label: str
    done: str
    allowed: Callable[[Answers], bool]
    deed: Do
    decision: str = ""

    def fill(self, request: ActionRequest, data: Any = None, initial: dict[str, Any] | None = None) -> forms.SheetForm:
        """The form over this request. Raises Refused ``invalid`` where there is nothing to fill in."""
        if issubclass(self.form, forms.SuggestForm):
            return self.form(data, initial=initial, proposal=suggestions.of(request))
        return self.form(data, initial=initial)


def _answer(decision: str) -> Do:
    def deed(person: Person, request: ActionRequest, stated: Stated, sent: dict[str, Any]) -> Deed:
        return cast_vote.apply, cast_vote.Command(person.id, request.id, decision, stated(), sent.get("typed", ""))

    return deed


def _recall(person: Person, request: ActionRequest, stated: Stated, sent: dict[str, Any]) -> Deed:
    return recall_vote.apply, recall_vote.Command(person.id, request.id, stated())


def _look(verdict: str) -> Do:
    def deed(person: Person, request: ActionRequest, stated: Stated, sent: dict[str, Any]) -> Deed:
        return look_over.apply, look_over.Command(person.id, request.id, verdict, stated())

    return deed


def _ask(person: Person, request: ActionRequest, stated: Stated, sent: dict[str, Any]) -> Deed:
    return add_comment.apply, add_comment.command(request.id, sent["reason"], person=person)


ACTS = {
    "approve": Act(
        "Approve",
        "Approve",
        "approve",
        forms.SheetForm,
        "A word for the log, if you like",
        "You approved it.",
        lambda may: may.may_approve and may.stage == "approve",
        _answer("approve"),
        "approve",
    ),
    "confirm": Act(
        "Confirm",
        "Confirm",
        "approve",
        forms.ConfirmForm,
        "A word for the log, if you like",
        "You confirmed it.",
        lambda may: may.may_approve and may.stage == "confirm",
        _answer("confirm"),
        "confirm",
    ),
    "deny": Act(
        "Deny",
        "Deny",
        "deny",
        forms.ReasonForm,
        "Why? The agent and the auditors will read it.",
        "You denied it. It does not run.",
        lambda may: may.may_deny,
        _answer("deny"),
        "deny",
    ),
    "suggest": Act(
        "Suggest a change",
        "Deny and suggest this",
        "deny",
        forms.SuggestForm,
        "Why? The agent and the auditors will read it.",
        "You denied it and suggested a change. The agent may ask again; what it asks then is a new request.",
        lambda may: may.may_deny,
        _answer("deny"),
        "deny",
    ),
    "ask": Act(
        "Ask",
        "Send",
        "approve",
        forms.ReasonForm,
        "Your question. The agent and the other reviewers will read it. The clock keeps running.",
        "Your question is in the timeline.",
        lambda may: not may.frozen,
        _ask,
    ),
    "recall": Act(
        "Take your answer back",
        "Take it back",
        "deny",
        forms.SheetForm,
        "Why, if you like",
        "You took your answer back.",
        lambda may: may.may_recall,
        _recall,
        "recall",
    ),
    "acknowledge": Act(
        "Looked over",
        "Acknowledge",
        "approve",
        forms.SheetForm,
        "A word for the log, if you like",
        "You looked it over.",
        lambda may: may.may_look_over,
        _look("acknowledged"),
        "acknowledge",
    ),
    "flag": Act(
        "Flag",
        "Flag",
        "deny",
        forms.ReasonForm,
        "What is wrong with it? The agent’s owner and the auditors will read it.",
        "You flagged it.",
        lambda may: may.may_look_over,
        _look("flagged"),
        "flag",
    ),
}


@require_http_methods(["GET", "HEAD", "POST"])
@signing_page()
@for_people_with_a_role
def sheet(request: HttpRequest, person: Person, request_id: str, act: str) -> HttpResponse:
    """One sheet. A POST that saw something else than what is there now is refused, and the sheet says what happened."""
    chosen = _act(act)
    row = access_request(person, request_id)
    shown = {"version": row.version, "display_digest": row.display_digest}
    try:
        form = chosen.fill(row, request.POST or None, shown if request.method != "POST" else None)
    except Refused as error:
        # Nothing here can be proposed anew; the sheet that says no in words can always be shown.
        return _show(
            request, person, row, "deny", _act("deny").fill(row, None, shown), status=200, problem=error.message
        )
    if request.method != "POST":
        return _show(request, person, row, act, form, status=200)
    if not form.is_valid():
        return _show(request, person, row, act, form, status=422, problem=_words(form.non_field_errors()))
    sent = form.cleaned_data
    if act != "ask" and (sent["version"], sent["display_digest"]) != (row.version, row.display_digest):
        return _show(request, person, row, act, _fresh(chosen, row, sent), status=409, problem=CHANGED)
    try:
        log.commit(*chosen.deed(person, row, lambda: _said(chosen, person, row, sent), sent))
    except Refused as error:
        if error.code == "not-found" and not sent["ceremony"]:
            raise
        row = access_request(person, request_id)
        told = error.message if error.code != "wrong-state" else _what_happened(row, error.message)
        return _show(request, person, row, act, _fresh(chosen, row, sent), status=error.status, problem=told)
    except LogError as error:
        told = f"{error} Nothing was decided. An operator has to look at it; silence still denies."
        return _show(request, person, row, act, form, status=503, problem=told)
    messages.success(request, chosen.done)
    return redirect("request", request_id)


@require_POST
@for_people_with_a_role
def sign(request: HttpRequest, person: Person, request_id: str, act: str) -> HttpResponse:
    """The statement that this sheet amounts to, drafted from the row as it is, and what the browser needs to have it
    signed. Decides nothing: whatever is refused here early, so that nobody signs in vain, is refused again later.
    """
    chosen = _act(act)
    if not chosen.decision:
        raise Http404("There is nothing to sign on this sheet.")
    row = access_request(person, request_id)
    try:
        form = chosen.fill(row, request.POST)
        if not form.is_valid():
            return guards.problem("invalid", _wrong(form), 422)
        sent = form.cleaned_data
        if (sent["version"], sent["display_digest"]) != (row.version, row.display_digest):
            return guards.problem("wrong-state", CHANGED, 409)
        may = answers(person, row, utc_now())
        if not chosen.allowed(may):
            return guards.problem(
                "not-allowed" if may.open else "wrong-state", why_not(row, may), 403 if may.open else 409
            )
        if chosen.decision == "confirm" and sent["typed"] != row.target:
            return guards.problem("invalid", "The name you typed is not the target's. Type it exactly as shown.", 422)
        key = statements.choose_key(row, person, chosen.decision, sent["credential"])
        draft = statements.draft(
            row,
            person,
            chosen.decision,
            reason=sent["reason"],
            credential=key.fingerprint,
            suggestion=sent.get("suggestion"),
        )
        return JsonResponse(ceremonies.for_browser(statements.open_ceremony(person, draft)))
    except Refused as error:
        return guards.problem(error.code, error.message, error.status)


def _act(name: str) -> Act:
    if name not in ACTS:
        raise Http404("There is no such sheet.")
    return ACTS[name]


def _said(chosen: Act, person: Person, row: ActionRequest, sent: dict[str, Any]) -> statements.Said:
    """What was stated: signed, when a signature came along, else by this very click."""
    if sent["ceremony"]:
        return statements.by_passkey(person, sent["ceremony"], sent["response"])
    draft = statements.draft(row, person, chosen.decision, reason=sent["reason"], suggestion=sent.get("suggestion"))
    return statements.by_click(person, draft)


def _wrong(form: forms.SheetForm) -> str:
    """What is wrong with a form, in words."""
    if "version" in form.errors or "display_digest" in form.errors:
        return "This form did not say which version you saw. Reload the page."
    said = {"reason": "Write down why first.", "typed": "Type the name of the target, exactly as shown."}
    return " ".join(said.get(name) or _words(errors) for name, errors in form.errors.items())


def _words(errors: Iterable[object]) -> str:
    return " ".join(str(error) for error in errors)


def _fresh(chosen: Act, row: ActionRequest, said: dict[str, Any]) -> forms.SheetForm:
    """The same sheet over what is there now; the words a person wrote are kept, what they typed to confirm is not."""
    kept = {name: value for name, value in said.items() if name.startswith(forms.SuggestForm.PREFIX)}
    kept |= {"version": row.version, "display_digest": row.display_digest, "reason": said.get("reason", "")}
    return chosen.fill(row, None, kept)


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
        "allowed": chosen.allowed(page.answers),
        "person": person,
        "problem": problem,
        "now": utc_now(),
        "steps": [1, 2] if len(row.stages) > 1 else [],
    }
    return render(request, "approvals/sheet.html", context, status=status)
