"""``POST /terminal/card`` and ``/terminal/answer``: reading and answering a request in a terminal, without a session.

The authority is the signature itself: of the person's own SSH signing key, over a statement that says they want to read
this request, and then over the decision. A session adds nothing, so none is read, and there is nothing for a forged
cross-site request to borrow. The installed client renders the card from the openings and compares its digest with the
one to be signed: the answer to a desk whose pages lie.

Whoever cannot sign learns nothing: neither who exists, nor who holds which key, nor what is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from approvals import eligibility, openings, statements
from approvals.access import access_request
from approvals.actions import cast_vote, use_nonce
from approvals.models import ActionRequest, Vote
from approvals.openings import LONGEST_TEXT
from approvals.views.card import answers
from approvals.views.why import why_not
from audit import log
from audit.errors import LogError
from audit.log import utc_now
from audit.models import Opening
from governance import registry, signing_keys
from governance.actors import roles_of
from governance.errors import Refused
from governance.models import Ceremony, Person, PersonKey
from governance.views.signed import MOST_A_MINUTE, MOST_ADDRESSES, Limit, problem, read_json
from imprimatur.formats import canonical, entries, shapes, signing
from imprimatur.formats.timestamps import format_time, parse_time

SKEW = timedelta(seconds=60)
"""How far ahead a terminal's clock may be."""

CARD = shapes.Obj(
    {
        "statement": shapes.Text(max=4096),
        "evidence": entries.EVIDENCE,
        "decision": shapes.OneOf("approve", "confirm", "deny"),
    },
    {"reason": shapes.Text(max=LONGEST_TEXT)},
)
ANSWER = shapes.Obj(
    {"ceremony": shapes.Id("cer"), "value": shapes.Text(max=4096)},
    {"typed": shapes.Text(min=0, max=10_000)},
)

limit = Limit(MOST_A_MINUTE, MOST_ADDRESSES)

View = Callable[[dict[str, Any]], dict[str, Any]]


def _endpoint(shape: shapes.Obj) -> Callable[[View], Callable[[HttpRequest], HttpResponse]]:
    """Read one JSON body of this shape, answer with JSON; refusals are problem documents (RFC 9457)."""

    def wear(view: View) -> Callable[[HttpRequest], HttpResponse]:
        @csrf_exempt
        @require_POST
        @wraps(view)
        def endpoint(request: HttpRequest) -> HttpResponse:
            try:
                if limit.exceeded(request.META.get("REMOTE_ADDR", "")):
                    raise Refused("rate-limited", f"At most {MOST_A_MINUTE} a minute from one address. Wait a moment.")
                answer: HttpResponse = JsonResponse(view(read_json(request, shape)))
            except Refused as error:
                answer = problem(error.status, error.code, error.message)
            except LogError as error:
                answer = problem(503, "log-frozen", f"{error} Nothing was decided; silence still denies.")
            answer["Cache-Control"] = "no-store"
            return answer

        return endpoint

    return wear


@_endpoint(CARD)
def card(body: dict[str, Any]) -> dict[str, Any]:
    """Everything a client needs to render the card itself, and the decision to sign when it is as expected."""
    person, key, wanted = _reader(body["statement"], body["evidence"])
    row = access_request(person, wanted)
    decision = body["decision"]
    may = answers(person, row, utc_now())
    allowed = may.may_deny if decision == "deny" else may.may_approve and may.stage == decision
    if not allowed:
        raise Refused("not-allowed" if may.open else "wrong-state", why_not(row, may))
    chosen = statements.choose_key(row, person, decision, key.fingerprint)
    draft = statements.draft(row, person, decision, reason=body.get("reason", ""), credential=chosen.fingerprint)
    ceremony = statements.open_ceremony(person, draft)
    return {
        **_shown(row),
        "stage": draft.document["stage"],
        "role": draft.document["role"],
        "ceremony": ceremony.id,
        "statement": bytes(ceremony.statement).decode("utf-8"),
        **{opening.name: openings.shown(opening) for opening in draft.openings},
    }


@_endpoint(ANSWER)
def answer(body: dict[str, Any]) -> dict[str, Any]:
    """Count what was signed. Everything is checked again, under the lock."""
    ceremony = Ceremony.objects.select_related("person__user").filter(pk=body["ceremony"]).first()
    if ceremony is None:
        raise Refused("not-found", "There is no such signing in progress. Read the request again, then sign.")
    said = statements.by_ssh(ceremony.person, ceremony.id, body["value"])
    document = said.document
    command = cast_vote.Command(
        ceremony.person_id, document["request"], document["decision"], said, body.get("typed", "")
    )
    done = log.commit(cast_vote.apply, command)
    return {"request": done.request.id, "state": done.request.state, "vote": done.vote}


def _reader(text: str, evidence: dict[str, Any]) -> tuple[Person, PersonKey, str]:
    """Who signed that they want to read which request, with which key. The statement is used up.

    Raises Refused: malformed, clock-skew, signature, replayed, not-allowed.
    """
    raw = text.encode("utf-8")
    try:
        document = signing.parse(raw, signing.READ)
    except (canonical.CanonicalError, shapes.ShapeError) as error:
        raise Refused("malformed", f"This is no statement that asks to read a request: {error}.") from None
    now, until = utc_now(), parse_time(document["expires_at"])
    if document["realm"] != settings.REALM:
        raise Refused("signature", "This was signed for another installation. Check the address and the realm.")
    if not parse_time(document["issued_at"]) - SKEW <= now < until:
        raise Refused("clock-skew", "This was signed for another time. Compare this machine's clock, then sign again.")
    key = _signer(document, raw, evidence)
    log.commit(use_nonce.apply, use_nonce.Nonce(key.thumbprint, document["nonce"], until))
    person = eligibility.person_of(document["person"])
    if person is None or not roles_of(person):
        raise Refused(
            "not-allowed", "You hold no role here, so there is nothing for you to read. An admin gives roles."
        )
    return person, key, document["request"]


def _signer(document: dict[str, Any], raw: bytes, evidence: dict[str, Any]) -> PersonKey:
    """The signing key in force that signed this. One answer for everything else: who cannot sign learns nothing."""
    unknown = Refused(
        "signature",
        "This is not signed by an SSH signing key in force of the person it names. A key counts once somebody has "
        "vouched for it, until it is revoked: look under Your keys at the desk.",
    )
    if evidence["kind"] != signing.SSH or evidence["key"] != document["credential"]:
        raise unknown
    keys = PersonKey.objects.filter(kind=PersonKey.SSH, person=document["person"])
    key = keys.filter(fingerprint=document["credential"]).first()
    if key is None or not key.signs_decisions:
        raise unknown
    try:
        signing_keys.check(signing_keys.material(key), signing.READ, raw, evidence)
    except Refused:
        raise unknown from None
    return key


def _shown(row: ActionRequest) -> dict[str, Any]:
    """The request as the card is made from it: with the parameters that are at hand."""
    binding = canonical.loads(bytes(row.binding))
    known = openings.of(row.id)
    tool = registry.by_digest(row.tool_digest).document if row.tool_digest else None
    committed = binding["parameters"].values()
    shown = [openings.shown(known[commitment]) for commitment in committed if commitment in known]
    found: dict[str, Any] = {
        "realm": settings.REALM,
        "request": row.id,
        "state": row.state,
        "version": row.version,
        "agent": {"id": row.agent_id, "name": row.agent.name},
        "binding": binding,
        "openings": shown,
        "tool": tool,
        "action_digest": row.action_digest,
        "display_digest": row.display_digest,
        "risk": row.risk,
        "reversibility": row.reversibility,
        "stages": row.stages,
        "votes": [_vote(vote, known) for vote in eligibility.live_votes(row)],
        "policy": row.policy,
        "delegation": row.delegation_claimed,
        "target": row.target,
        "expires_at": format_time(row.expires_at),
    }
    if row.justification in known:
        found["justification"] = openings.shown(known[row.justification])
    return found


def _vote(vote: Vote, known: dict[str, Opening]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "person": vote.person_id,
        "name": vote.person.name,
        "decision": vote.decision,
        "assurance": vote.assurance,
        "statement": bytes(vote.statement).decode("utf-8"),
    }
    if vote.reason in known:
        found["reason"] = openings.shown(known[vote.reason])
    return found
