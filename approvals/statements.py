"""What a person states when they answer: built by the server, shown, and (with a key) signed.

The evidence that they stated it is checked by a function registered for its kind. Here that is ``session`` (a click in
an authenticated session, assurance H0); kinds that sign with a key register themselves.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from approvals import eligibility, openings
from approvals.models import ActionRequest, Vote
from audit.log import utc_now
from audit.models import Checkpoint, Opening
from governance.errors import Refused
from governance.models import Person
from imprimatur.formats import digests, merkle, statement
from imprimatur.formats.encoding import b64u
from imprimatur.formats.timestamps import format_time

LIFE = statement.MAX_LIFE
SESSION: dict[str, Any] = {"kind": "session"}
REVIEWER_ROLE = "reviewer"


@dataclass(frozen=True)
class Draft:
    """A statement ready to be signed or clicked, and the opening of the reason it commits to."""

    document: dict[str, Any]
    raw: bytes
    reason: str = ""
    opening: Opening | None = None


@dataclass(frozen=True)
class Proof:
    """What checked evidence amounts to: which key signed (none for a session) and how sure we are it was the person."""

    key: str | None
    assurance: str


Verifier = Callable[[Person, bytes, dict[str, Any]], Proof]
_verifiers: dict[str, Verifier] = {}


def register_evidence(kind: str, verifier: Verifier) -> None:
    """Name the function that checks evidence of this kind. It raises Refused ``not-allowed`` when it does not hold."""
    _verifiers[kind] = verifier


def prove(person: Person, raw: bytes, evidence: dict[str, Any]) -> Proof:
    """Check evidence, outside any lock. Raises Refused ``not-allowed`` for a kind nobody registered."""
    verifier = _verifiers.get(str(evidence.get("kind")))
    if verifier is None:
        raise Refused("not-allowed", "This kind of signature is not accepted here.")
    return verifier(person, raw, evidence)


def _session(person: Person, raw: bytes, evidence: dict[str, Any]) -> Proof:
    if evidence != SESSION:
        raise Refused("invalid", "A session vote carries no further evidence.")
    return Proof(None, "H0")


register_evidence("session", _session)


def draft(request: ActionRequest, person: Person, decision: str, *, reason: str = "", credential: str = "") -> Draft:
    """Build what this person states about this request now. Good for 120 seconds.

    ``decision`` is approve, confirm, deny, recall, acknowledge or flag. Reads the last published checkpoint, so that a
    statement cannot be dated back before the log it follows.
    """
    votes = eligibility.live_votes(request)
    if decision == "deny":
        stage = eligibility.deniable_stage(request, [vote for vote in votes if vote.person_id != person.id])
    else:
        stage = eligibility.open_stage(request, votes)
    number, role = (stage[0], stage[1].role) if stage else (0, REVIEWER_ROLE)
    published = Checkpoint.objects.order_by("-size").first()
    now = utc_now()
    document: dict[str, Any] = {
        "typ": statement.TYP,
        "realm": settings.REALM,
        "request": request.id,
        "version": request.version,
        "agent": request.agent_id,
        "decision": decision,
        "stage": number,
        "role": role,
        "risk": request.risk,
        "reversibility": request.reversibility,
        "action_digest": request.action_digest,
        "display_digest": request.display_digest,
        "delegation": request.delegation_claimed,
        "policy": request.policy,
        "reviewer": person.id,
        "log_size": published.size if published else 0,
        "log_root": f"sha256:{published.root if published else merkle.EMPTY_ROOT.hex()}",
        "nonce": b64u(secrets.token_bytes(16)),
        "issued_at": format_time(now),
        "expires_at": format_time(now + LIFE),
    }
    if credential:
        document["credential"] = credential
    if request.delegation_id:
        on_behalf_of = eligibility.origin_of(request.delegation_id).on_behalf_of
        if on_behalf_of:
            document["on_behalf_of"] = on_behalf_of
    confirmed = eligibility.votes_that_still_count(request, votes) if decision == "confirm" else []
    if confirmed:
        document["prev_vote"] = vote_digest(confirmed[-1])
    reason = reason.strip()
    if len(reason) > openings.LONGEST_TEXT:
        raise Refused("invalid", f"A reason has at most {openings.LONGEST_TEXT} characters.")
    commitment, opening = openings.said("reason", reason, request.id) if reason else ("", None)
    if commitment:
        document["reason_commitment"] = commitment
    return Draft(document, statement.encode(document), commitment, opening)


def vote_digest(vote: Vote) -> str:
    """The digest a confirmation names: of the statement of the vote before it."""
    return digests.sha256(bytes(vote.statement))


def check_against(draft_: Draft, request: ActionRequest, person: Person, decision: str, stage: int) -> None:
    """Refuse a statement that does not say, word for word, what is being done to the row as it is now."""
    document = statement.parse(draft_.raw)
    expected = {
        "request": request.id,
        "version": request.version,
        "agent": request.agent_id,
        "decision": decision,
        "stage": stage,
        "risk": request.risk,
        "reversibility": request.reversibility,
        "action_digest": request.action_digest,
        "display_digest": request.display_digest,
        "delegation": request.delegation_claimed,
        "policy": request.policy,
        "reviewer": person.id,
        "realm": settings.REALM,
    }
    wrong = [name for name, value in expected.items() if document[name] != value]
    if document.get("reason_commitment", "") != draft_.reason:
        wrong.append("reason_commitment")
    if wrong:
        raise Refused("wrong-state", "This request changed while you were reading it. Read it again, then answer.")
    if document["expires_at"] <= format_time(utc_now()):
        raise Refused("wrong-state", "This answer waited longer than two minutes to be sent. Please answer again.")
