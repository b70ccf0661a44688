"""A person answers: approve, confirm or deny. The decision is what the votes add up to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from approvals import eligibility, statements, transitions
from approvals.actions import recall_vote
from approvals.models import ActionRequest, Vote
from approvals.notifications import topics
from audit.log import Actor, Writer, commit
from governance import judgement
from governance.errors import Refused
from governance.models import Person
from imprimatur.rules import states
from imprimatur.rules.quorum import vote_event

DECISIONS = ("approve", "confirm", "deny")


@dataclass(frozen=True)
class Command:
    """One answer. ``version`` is what the person saw; ``typed`` the target's name, for a confirmation."""

    person: str
    request: str
    version: int
    decision: str
    draft: statements.Draft
    evidence: dict[str, Any]
    proof: statements.Proof
    typed: str = ""


@dataclass(frozen=True)
class Result:
    """The request as the answer left it, and the index of the vote's entry."""

    request: ActionRequest
    vote: int


def answer(
    person: Person,
    request: str,
    *,
    version: int,
    decision: str,
    reason: str = "",
    typed: str = "",
    evidence: dict[str, Any] | None = None,
    draft: statements.Draft | None = None,
) -> Result:
    """What a page calls: build the statement (unless the person signed ``draft``), check the evidence, commit.

    Raises Refused: not-found, not-allowed, wrong-state, approval-expired, invalid.
    """
    row = transitions.load(request)
    made = draft if draft is not None else statements.draft(row, person, decision, reason=reason)
    shown = evidence if evidence is not None else statements.SESSION
    proof = statements.prove(person, made.raw, shown)
    return commit(apply, Command(person.id, request, version, decision, made, shown, proof, typed))


def apply(writer: Writer, command: Command) -> Result:
    """Count one answer under the head lock: everything it depends on is read again here.

    Raises Refused: not-found, not-allowed, wrong-state, approval-expired, invalid.
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
    if request.version != command.version:
        raise Refused("wrong-state", "This request changed while you were reading it. Read it again, then answer.")

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
    against = eligibility.reasons_against(request, person, counted=others, stage=stage, key=command.proof.key)
    if against:
        raise Refused("not-allowed", " ".join(reason.you for reason in against))
    if command.decision == "deny":
        if not command.draft.reason:
            raise Refused("invalid", "Say why you deny this: the agent and the auditors will read it.")
    else:
        _may_allow(request, command, stage.kind)
        ends = _authority_ends(writer, request)
    statements.check_against(command.draft, request, person, command.decision, number)
    if command.decision == "confirm":
        confirmed = eligibility.votes_that_still_count(request, others)
        expected = statements.vote_digest(confirmed[-1]) if confirmed else None
        if command.draft.document.get("prev_vote") != expected:
            raise Refused("wrong-state", "The answer you confirm has changed. Read the request again, then answer.")

    for earlier in mine:
        recall_vote.write(writer, request, earlier, person, "")
    vote = _write(writer, command, request, person, number)
    _resolve(writer, request, [*others, vote], command, ends)
    return Result(request, vote.index)


def _may_allow(request: ActionRequest, command: Command, kind: str) -> None:
    if command.decision != kind:
        wanted = "a confirmation by a second person" if kind == "confirm" else "an approval first"
        raise Refused("wrong-state", f"This request waits for {wanted}.")
    if command.proof.assurance < request.assurance:
        raise Refused(
            "not-allowed",
            f"This request needs an answer signed with a key of your own (assurance {request.assurance}); "
            f"a click is {command.proof.assurance}. You can always deny it here.",
        )
    if kind == "confirm" and command.typed != request.target:
        raise Refused("invalid", "The name you typed is not the name of the target. Type it exactly as shown.")


def _write(writer: Writer, command: Command, request: ActionRequest, person: Person, stage: int) -> Vote:
    body: dict[str, Any] = {
        "request": request.id,
        "version": request.version,
        "statement": command.draft.raw.decode("utf-8"),
        "evidence": command.evidence,
    }
    if command.draft.reason:
        body["reason"] = command.draft.reason
    refs = [("request", request.requested_index)] if request.requested_index is not None else []
    actor = Actor("person", person.id, key=command.proof.key or "", assurance=command.proof.assurance)
    entry = writer.append("vote.cast", subject=request.id, actor=actor, body=body, refs=refs, agent=request.agent_id)
    if command.draft.opening is not None:
        writer.keep_opening(command.draft.opening)
    return Vote.objects.create(
        request=request,
        person=person,
        key=command.proof.key,
        decision=command.decision,
        stage=stage,
        assurance=command.proof.assurance,
        statement=command.draft.raw,
        evidence=command.evidence,
        reason=command.draft.reason,
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
        transitions.end_pending(writer, request, "deny", "reviewer-denied", votes=counted, note=command.draft.reason)
    elif event == "stage_met":
        transitions.step(request, "stage_met")
        request.expires_at = min(writer.now + topics.CONFIRMATION_WINDOW, ends)
        request.reminded_at = request.escalated_at = None
        transitions.save(writer, request)
        topics.asked(writer, request)
    elif event is None:
        transitions.save(writer, request)
    else:
        transitions.approve(writer, request, event)
        transitions.write_decision(writer, request, votes=counted, note=command.draft.reason)
        transitions.save(writer, request)
    if request.state not in states.PENDING_STATES:
        topics.answered(writer, request)
