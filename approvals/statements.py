"""What a person states when they answer: built by the server from the row, shown, and signed or clicked.

The words of a reason and the values of a suggestion stay beside the log: the statement commits to them. How it is
signed is governance's (``governance.ceremonies``); what it has to say is decided here, twice: when it is drafted, and
under the lock against the row as it is then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from approvals import eligibility, openings
from approvals.models import ActionRequest, Vote
from audit.models import Opening
from governance import ceremonies
from governance.ceremonies import Signed
from governance.errors import Refused
from governance.models import Ceremony, Person, PersonKey
from imprimatur.formats import digests, statement

REVIEWER_ROLE = "reviewer"
ALLOWING = frozenset({"approve", "confirm"})


@dataclass(frozen=True)
class Draft:
    """A statement ready to be signed or clicked, and the openings of what it commits to."""

    document: dict[str, Any]
    openings: tuple[Opening, ...] = ()


@dataclass(frozen=True)
class Said:
    """A statement that was signed or clicked, its evidence checked, with the openings of what it commits to."""

    signed: Signed
    openings: tuple[Opening, ...] = field(default=(), repr=False)

    @property
    def document(self) -> dict[str, Any]:
        """What was stated."""
        return self.signed.document

    @property
    def reason(self) -> str:
        """The commitment to the person's reason, or nothing."""
        return str(self.document.get("reason_commitment", ""))

    @property
    def suggestion(self) -> str:
        """The commitment to what the person suggests instead, or nothing."""
        return str(self.document.get("suggestion_commitment", ""))


def draft(
    request: ActionRequest,
    person: Person,
    decision: str,
    *,
    reason: str = "",
    credential: str = "",
    suggestion: Mapping[str, Any] | None = None,
) -> Draft:
    """Build what this person states about this request now. Good for 120 seconds.

    ``decision`` is approve, confirm, deny, recall, acknowledge or flag; ``credential`` the fingerprint of the key that
    is going to sign, none for a click. Raises Refused: invalid (too many words), wrong-state (nothing to recall).
    """
    votes = eligibility.live_votes(request)
    mine = [vote for vote in votes if vote.person_id == person.id]
    number, role = _place(request, votes, mine, decision)
    document: dict[str, Any] = {
        **ceremonies.common(person, credential=credential or None),
        "typ": statement.TYP,
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
    }
    del document["person"]  # a decision calls its person the reviewer
    if request.delegation_id:
        on_behalf_of = eligibility.origin_of(request.delegation_id).on_behalf_of
        if on_behalf_of:
            document["on_behalf_of"] = on_behalf_of
    before = mine if decision == "recall" else []
    if decision == "confirm":
        before = eligibility.votes_that_still_count(request, votes)
    if before:
        document["prev_vote"] = vote_digest(before[-1])
    kept: list[Opening] = []
    if reason.strip():
        kept.append(_commit(document, "reason", reason.strip(), request.id))
    if suggestion is not None:
        kept.append(_commit(document, "suggestion", dict(suggestion), request.id))
    return Draft(document, tuple(kept))


def choose_key(request: ActionRequest, person: Person, decision: str, credential: str = "") -> PersonKey:
    """The key with which this person is going to sign: the one they chose, or the only one that will do.

    Raises Refused: not-allowed (no such key, or too weak for an approval), invalid (several, none chosen).
    """
    allowing = decision in ALLOWING and eligibility.needs_key(request)
    held = eligibility.keys_of(person)
    fitting = [key for key in held if not allowing or eligibility.fits(request, key)]
    if credential:
        chosen = next((key for key in held if key.fingerprint == credential), None)
        if chosen in fitting and chosen is not None:
            return chosen
        if chosen is None:
            why = "This key signs no answers of yours: it was revoked, is for delegations only, or waits for a voucher."
        else:
            why = "To approve this you need a key that is more than this one: device-bound, or attested."
        raise Refused("not-allowed", f"{why} Choose another key, or look under Your keys.")
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise Refused("invalid", "You hold several keys. Choose the one to sign with.")
    lacking = eligibility.lacks(request, person) if allowing else None
    raise Refused(
        "not-allowed",
        lacking.you if lacking else "You hold no signing key in force. Send this without one, or enrol one first.",
    )


def by_click(person: Person, draft_: Draft) -> Said:
    """The statement made by a click in the person's session: assurance H0, an operator's assertion."""
    return Said(ceremonies.session(person, draft_.document), draft_.openings)


def open_ceremony(person: Person, draft_: Draft) -> Ceremony:
    """Fix the statement for the key that it names. What it commits to waits with it."""
    return ceremonies.open(person, draft_.document, kept={"openings": [openings.pack(row) for row in draft_.openings]})


def by_passkey(person: Person, ceremony: str, response: str) -> Said:
    """The statement that a passkey signed in the browser. Raises Refused as ``ceremonies.finish`` does."""
    return _said(ceremonies.finish(person, ceremony, response, typ=statement.TYP))


def by_ssh(person: Person, ceremony: str, armored: str) -> Said:
    """The statement that an SSH key signed in a terminal. Raises Refused as ``ceremonies.finish_ssh`` does."""
    return _said(ceremonies.finish_ssh(person, ceremony, armored, typ=statement.TYP))


def vote_digest(vote: Vote) -> str:
    """The digest a confirmation names: of the statement of the vote before it."""
    return digests.sha256(bytes(vote.statement))


def check(said: Said, request: ActionRequest, person: Person, decision: str, stage: int) -> None:
    """Refuse a statement that does not say, word for word, what is being done to the row as it is now.

    Raises Refused ``invalid`` for one about something else, ``wrong-state`` for one about an earlier version.
    """
    document = said.document
    if (document["typ"], document["request"], document["decision"], document["reviewer"]) != (
        statement.TYP,
        request.id,
        decision,
        person.id,
    ):
        raise Refused("invalid", "What was signed is an answer to something else. Open the sheet again, and sign.")
    expected = {
        "version": request.version,
        "agent": request.agent_id,
        "stage": stage,
        "risk": request.risk,
        "reversibility": request.reversibility,
        "action_digest": request.action_digest,
        "display_digest": request.display_digest,
        "delegation": request.delegation_claimed,
        "policy": request.policy,
    }
    if any(document[name] != value for name, value in expected.items()):
        raise Refused("wrong-state", "This request changed while you were reading it. Read it again, then answer.")
    if {row.commitment for row in said.openings} != {text for text in (said.reason, said.suggestion) if text}:
        raise Refused("invalid", "The words that go with this answer are not those it was made with. Answer again.")


def _said(signed: Signed) -> Said:
    assert signed.ceremony is not None
    kept = ceremonies.kept_of(signed.person, signed.ceremony).get("openings", [])
    return Said(signed, tuple(openings.unpack(row) for row in kept))


def _place(request: ActionRequest, votes: Sequence[Vote], mine: Sequence[Vote], decision: str) -> tuple[int, str]:
    """The stage that the answer is for, and the role it is given in."""
    if decision == "recall":
        if not mine:
            raise Refused("not-found", "You have no answer here to take back.")
        stages = eligibility.stages_of(request)
        number = mine[-1].stage
        return number, stages[number].role if number < len(stages) else REVIEWER_ROLE
    if decision == "deny":
        found = eligibility.deniable_stage(request, [vote for vote in votes if vote not in mine])
    else:
        found = eligibility.open_stage(request, votes)
    return (found[0], found[1].role) if found else (0, REVIEWER_ROLE)


def _commit(document: dict[str, Any], name: str, value: Any, request: str) -> Opening:
    commitment, opening = openings.said(name, value, request)
    document[f"{name}_commitment"] = commitment
    return opening
