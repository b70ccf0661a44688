"""A person answers: approve, confirm or deny. The decision is what the votes add up to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from approvals import claims, eligibility, statements, transitions
from approvals.actions import ask_people, recall_vote
from approvals.models import ActionRequest, Vote
from approvals.notifications import topics
from audit.log import Actor, Writer, commit
from governance import ceremonies, judgement
from governance.errors import Refused
from governance.models import Person
from imprimatur.rules import states
from imprimatur.rules.quorum import vote_event

DECISIONS = ("approve", "confirm", "deny")


@dataclass(frozen=True)
class Command:
    """One answer: what was stated, and by whom. ``typed`` is the target's name, for a confirmation."""

    person: str
    request: str
    decision: str
    said: statements.Said
    typed: str = ""


@dataclass(frozen=True)
class Result:
    """The request as the answer left it, and the index of the vote's entry."""

    request: ActionRequest
    vote: int


def clicked(
    person: Person, request: ActionRequest, *, version: int, decision: str, reason: str = "", typed: str = ""
) -> Command:
    """The command for an answer by a click in this person's session (H0). Raises Refused ``wrong-state`` for another
    version than the one they saw."""
    if request.version != version:
        raise Refused("wrong-state", "This request changed while you were reading it. Read it again, then answer.")
    said = statements.by_click(person, statements.draft(request, person, decision, reason=reason))
    return Command(person.id, request.id, decision, said, typed)


def answer(person: Person, request: str, *, version: int, decision: str, reason: str = "", typed: str = "") -> Result:
    """Answer by a click in a session, and commit. Raises Refused as :func:`apply` does."""
    row = transitions.load(request)
    command = clicked(person, row, version=version, decision=decision, reason=reason, typed=typed)
    return commit(apply, command)


def apply(writer: Writer, command: Command) -> Result:
    """Count one answer under the head lock: everything it depends on is read again here.

    The signature was checked before; its ceremony is used up in this transaction, and with it the one chance to count.
    Raises Refused: not-found, not-allowed, wrong-state, approval-expired, invalid, key-revoked, signature, and as
    ``judgement.standing_chain`` when the authority behind the request has ended.
    """
    request = transitions.load(command.request)
    person = eligibility.person_of(command.person)
    if person is None:
        raise Refused("not-found", "There is no such person.")
    if command.decision not in DECISIONS:
        raise Refused("invalid", "An answer is approve, confirm or deny.")
    if request.state not in states.PENDING_STATES:
        raise Refused("wrong-state", transitions.wrong_state(request.state, "be answered"))
    if transitions.expired(request, writer.now):
        raise Refused("approval-expired", "The time for an answer is over; silence counts as no.")

    votes = eligibility.live_votes(request)
    others = votes
    ends = request.expires_at
    mine: list[Vote] = []
    if command.decision == "deny":
        # Whoever approved may still change their mind to no: the earlier answer is recalled in the same breath.
        mine = [vote for vote in votes if vote.person_id == person.id]
        others = [vote for vote in votes if vote.person_id != person.id]
        opened = eligibility.deniable_stage(request, others)
    else:
        opened = eligibility.open_stage(request, others)
    if opened is None:
        raise Refused("wrong-state", "Nothing of this request is open for an answer.")
    number, stage = opened
    signed = command.said.signed
    against = eligibility.reasons_against(request, person, counted=others, place=opened, key=signed.key)
    if against:
        raise Refused("not-allowed", " ".join(reason.you for reason in against))
    statements.check(command.said, request, person, command.decision, number)
    if command.decision == "deny":
        if not command.said.reason:
            raise Refused("invalid", "Say why you deny this: the agent and the auditors will read it.")
    else:
        _may_allow(request, command, stage.kind)
        ends = _authority_ends(writer, request)
    if command.decision == "confirm":
        confirmed = eligibility.votes_that_still_count(request, others)
        expected = statements.vote_digest(confirmed[-1]) if confirmed else None
        if command.said.document.get("prev_vote") != expected:
            raise Refused("wrong-state", "The answer you confirm has changed. Read the request again, then answer.")
    ceremonies.use(writer, signed, by=person)

    for earlier in mine:
        # Nothing was signed for this itself; the denial that follows at once says it again, with its evidence.
        actor = Actor("person", person.id, assurance="H0")
        recall_vote.write(writer, request, earlier, actor, {"request": request.id, "vote": earlier.index})
    vote = _write(writer, command, request, person, number)
    claims.end(request, person.id)
    _resolve(writer, request, [*others, vote], command, ends)
    return Result(request, vote.index)


def _may_allow(request: ActionRequest, command: Command, kind: str) -> None:
    if command.decision != kind:
        wanted = "a confirmation by a second person" if kind == "confirm" else "an approval first"
        raise Refused("wrong-state", f"This request waits for {wanted}.")
    if command.said.suggestion:
        raise Refused("invalid", "A suggestion goes with a no: what runs is never edited here.")
    signed = command.said.signed
    if signed.assurance < request.assurance or (request.device_bound and not signed.device_bound):
        raise Refused("not-allowed", _too_weak(request, signed))
    if kind == "confirm" and command.typed != request.target:
        raise Refused("invalid", "The name you typed is not the name of the target. Type it exactly as shown.")


def _too_weak(request: ActionRequest, signed: ceremonies.Signed) -> str:
    """Why this evidence is too little for an approval, and what to do instead."""
    if signed.key is None:
        least = max(request.assurance, "H2")
        return (
            f"To approve this you sign with a key of your own ({least}); a click is H0. Choose your key and sign, or "
            "enrol one under Your keys. You can always deny it here, without one."
        )
    if request.assurance == eligibility.ATTESTED:
        kind = f"a device-bound key of an attested model (H3); this one gives {signed.assurance}"
    else:
        kind = "a key that never leaves its device; this one is synced"
    return f"To approve this you need {kind}. Sign with such a key, or leave it to somebody who holds one."


def _write(writer: Writer, command: Command, request: ActionRequest, person: Person, stage: int) -> Vote:
    said, signed = command.said, command.said.signed
    body: dict[str, Any] = {"request": request.id, "version": request.version, **signed.entry}
    if said.reason:
        body["reason"] = said.reason
    if said.suggestion:
        body["suggestion"] = said.suggestion
    refs = [("request", request.requested_index)] if request.requested_index is not None else []
    actor = Actor("person", person.id, key=signed.key or "", assurance=signed.assurance)
    entry = writer.append("vote.cast", subject=request.id, actor=actor, body=body, refs=refs, agent=request.agent_id)
    for opening in said.openings:
        writer.keep_opening(opening)
    return Vote.objects.create(
        request=request,
        person=person,
        key=signed.key,
        decision=command.decision,
        stage=stage,
        assurance=signed.assurance,
        statement=signed.raw,
        evidence=signed.evidence,
        reason=said.reason,
        suggestion=said.suggestion,
        cast_at=writer.now,
        index=entry.index,
    )


def _authority_ends(writer: Writer, request: ActionRequest) -> datetime:
    """When the authority that the request rests on ends. Raises Refused when it has ended: then there is nothing to
    approve, whoever says so."""
    if request.delegation is None:
        raise Refused("out-of-scope", "This request rests on no delegation, so it cannot be approved.")
    return min(link.not_after for link in judgement.standing_chain(writer, request.delegation))


def _resolve(writer: Writer, request: ActionRequest, votes: list[Vote], command: Command, ends: datetime) -> None:
    counted = eligibility.votes_that_still_count(request, votes)
    event = vote_event(request.state, eligibility.count(request, counted))
    if event == "deny":
        request.suggestion = command.said.suggestion
        transitions.end_pending(writer, request, "deny", "reviewer-denied", votes=counted, note=command.said.reason)
    elif event == "stage_met":
        transitions.step(request, "stage_met")
        request.expires_at = min(writer.now + topics.CONFIRMATION_WINDOW, ends)
        request.reminded_at = request.escalated_at = None
        transitions.save(writer, request)
        ask_people.begin(writer, request)
    elif event is None:
        transitions.save(writer, request)
    else:
        transitions.approve(writer, request, event)
        transitions.write_decision(writer, request, votes=counted, note=command.said.reason)
        transitions.save(writer, request)
    if request.state not in states.PENDING_STATES:
        topics.answered(writer, request)
