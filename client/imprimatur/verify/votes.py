"""Votes: what a person said, whether they signed it, whether they may, and what the votes add up to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from imprimatur.formats import digests, statement
from imprimatur.formats.timestamps import format_time, parse_time
from imprimatur.rules import quorum, states
from imprimatur.rules.risk import Risk
from imprimatur.verify import authority, rulebook, signatures
from imprimatur.verify.facts import Ballot, Facts, Request

CONFIRMATION_WINDOW = timedelta(minutes=15)

_FINAL = ("acknowledge", "flag")


def vote_digest(statement_bytes: bytes) -> str:
    """What a confirmation names as the vote before it: the digest of that vote's statement."""
    return digests.sha256(statement_bytes)


def _cast(facts: Facts, entry: Mapping[str, Any]) -> None:
    body, actor = entry["body"], entry["actor"]
    request = facts.requests.get(body["request"])
    facts.hold(actor["type"] == "person", rulebook.ACTOR, "only people vote")
    if request is None or request.state not in states.PENDING_STATES:
        facts.hold(False, rulebook.STATE, "there is no pending request to vote on")
        return
    facts.hold(entry["subject"] == body["request"], rulebook.REFERENCE, "its subject is another request")
    raw = body["statement"].encode("utf-8")
    said = signatures.read(facts, raw, statement.TYP)
    _check_statement(facts, said, request, body["request"])
    facts.hold(said["version"] == body["version"], rulebook.STATEMENT, "its version is not the entry's")
    facts.hold(said.get("suggestion_commitment") == body.get("suggestion"), rulebook.STATEMENT, "it suggests otherwise")
    facts.hold(
        all(ballot.decision != "deny" for ballot in request.ballots), rulebook.STATE, "somebody denied it already"
    )
    proven = _stated(facts, entry, raw, said, body)
    counting = _counting(facts, request)
    tally = _tally(facts, request, counting)
    key, assurance = proven.key, proven.assurance
    decision = said["decision"]
    if decision in quorum.KINDS:
        facts.hold(facts.now <= request.expires_at, rulebook.WINDOW, "the time to answer was over")
        facts.hold(tally.stage < len(request.stages), rulebook.STATE, "every stage has its votes already")
        facts.hold(said["stage"] == tally.stage, rulebook.STATEMENT, "it answers another stage than the open one")
        stage = quorum.Stage(**request.stages[tally.stage])
        facts.hold(decision == stage.kind, rulebook.STATEMENT, f"the open stage asks to {stage.kind}")
        facts.hold(said["role"] == stage.role, rulebook.STATEMENT, f"the open stage is answered as {stage.role}")
        check_sure(facts, request.policy, request.risk, assurance, proven.device_bound)
        facts.hold("suggestion" not in body, rulebook.STATEMENT, "whoever suggests something else denies this")
        if decision == "confirm":
            counted = {ballot.digest for ballot in counting if ballot.decision == "approve"}
            facts.hold(
                said.get("prev_vote") in counted, rulebook.STATEMENT, "a confirmation signs the vote that it confirms"
            )
    else:
        facts.hold(decision == "deny", rulebook.STATEMENT, f"{decision} is not an answer to a request")
        stage = quorum.Stage(**request.stages[min(tally.stage, len(request.stages) - 1)])
    check_eligible(facts, request, request.ballots, person=actor["id"], key=key, stage=stage)
    facts.hold(
        all(ballot.person != actor["id"] for ballot in request.ballots) or _policy(facts, request)["single_human"],
        rulebook.ELIGIBLE,
        "this person's vote stands already",
    )
    request.ballots.append(
        Ballot(
            index=facts.index,
            person=actor["id"],
            key=key,
            decision=decision,
            stage=said["stage"],
            assurance=assurance,
            digest=vote_digest(raw),
            cast=facts.now,
            suggestion=body.get("suggestion", ""),
        )
    )
    after = _tally(facts, request, _counting(facts, request))
    if quorum.vote_event(request.state, after) == "stage_met":
        request.state = states.next_state(request.state, "stage_met")
        request.expires_at = format_time(parse_time(facts.now) + CONFIRMATION_WINDOW)
    if decision == "deny":
        facts.totals.denials += 1
    else:
        facts.totals.assurance[assurance] = facts.totals.assurance.get(assurance, 0) + 1


def _counting(facts: Facts, request: Request) -> list[Ballot]:
    """The standing votes that still count: each by somebody who might cast it now, next to the others."""
    return [
        ballot
        for ballot in request.ballots
        if not against(
            facts,
            request,
            [other for other in request.ballots if other is not ballot],
            person=ballot.person,
            key=ballot.key,
            stage=quorum.Stage(**request.stages[min(ballot.stage, len(request.stages) - 1)]),
        )
    ]


def _recalled(facts: Facts, entry: Mapping[str, Any]) -> None:
    body = entry["body"]
    request = facts.requests.get(body["request"])
    facts.hold(
        request is not None and request.state in (*states.PENDING_STATES, "APPROVED"),
        rulebook.STATE,
        "there is nothing left to recall a vote from",
    )
    if request is None:
        return
    ballot = next((known for known in request.ballots if known.index == body["vote"]), None)
    if ballot is None:
        facts.hold(False, rulebook.REFERENCE, "no such vote stands")
        return
    facts.hold(ballot.person == entry["actor"]["id"], rulebook.ACTOR, "a vote is recalled by whoever cast it")
    if "signed" in body:
        _check_recall(facts, entry, request, ballot)
    request.ballots.remove(ballot)
    # An approval that rested on the vote cannot be redeemed any more, whatever is written next.
    request.swept = request.swept or request.state == "APPROVED"
    if request.state == "AWAITING_CONFIRMATION" and _tally(facts, request, request.ballots).stage == 0:
        request.state = "PENDING"


def _check_recall(facts: Facts, entry: Mapping[str, Any], request: Request, ballot: Ballot) -> None:
    """The signature on a recall: by the same person, over this very vote. A click recalls as well."""
    body, rule = entry["body"], rulebook.STATEMENT
    raw = body["signed"]["statement"].encode("utf-8")
    said = signatures.read(facts, raw, statement.TYP)
    facts.hold(said["decision"] == "recall", rule, "it recalls nothing")
    _check_statement(facts, said, request, body["request"])
    facts.hold(said.get("prev_vote") == ballot.digest, rule, "it recalls another vote")
    facts.hold("suggestion_commitment" not in said, rule, "it suggests something")
    _stated(facts, entry, raw, said, body["signed"])


def _looked_over(facts: Facts, entry: Mapping[str, Any]) -> None:
    body, rule = entry["body"], rulebook.STATEMENT
    facts.hold(entry["actor"]["type"] == "person", rulebook.ACTOR, "only people look things over")
    raw = body["statement"].encode("utf-8")
    said = signatures.read(facts, raw, statement.TYP)
    facts.hold(said["request"] == body["request"], rule, "the statement is about another request")
    request = facts.requests.get(body["request"])
    if request is not None:  # what has ended is forgotten, and looking at it gives nobody anything
        same = (said["agent"], said["action_digest"]) == (request.agent, request.action_digest)
        facts.hold(same, rule, "the statement is about another action")
    facts.hold(said["decision"] in _FINAL, rule, "looking over ends in acknowledge or flag")
    facts.hold(
        (said["decision"] == "flag") == (body["verdict"] == "flagged"),
        rule,
        "the entry says something else than the statement",
    )
    _stated(facts, entry, raw, said, body)


def check_quorum(facts: Facts, request: Request, indexes: list[int]) -> None:
    """The votes an approval names stand, are by people who may vote now, and are enough."""
    standing = {ballot.index: ballot for ballot in request.ballots}
    facts.hold(all(index in standing for index in indexes), rulebook.REFERENCE, "it names votes that do not stand")
    named = [standing[index] for index in sorted(indexes)]
    facts.hold(all(ballot.decision != "deny" for ballot in request.ballots), rulebook.QUORUM, "one denial ends it")
    for ballot in named:
        facts.hold(ballot.stage < len(request.stages), rulebook.QUORUM, "a vote is for a stage that does not exist")
        stage = quorum.Stage(**request.stages[ballot.stage])
        others = [other for other in named if other is not ballot]
        check_eligible(facts, request, others, person=ballot.person, key=ballot.key, stage=stage)
    tally = _tally(facts, request, named)
    missing = ", ".join(f"{stage.count} x {stage.role} to {stage.kind}" for stage in tally.needs)
    facts.hold(tally.outcome == "approved", rulebook.QUORUM, f"too few people: {missing} missing")
    if _policy(facts, request)["single_human"]:
        facts.totals.single_human += 1
    request.rests_on = list(indexes)


def check_still_stands(facts: Facts, request: Request) -> None:
    """An approval is redeemed only while every vote that it rests on counts: none by a key revoked from before it."""
    for ballot in request.ballots:
        if ballot.index in request.rests_on:
            facts.hold(
                signatures.key_counts_then(facts, ballot.person, ballot.key, ballot.cast),
                rulebook.QUORUM,
                "a vote that it rests on was signed with a key that was revoked from before that time",
            )


def check_sure(facts: Facts, policy: str, risk: str, assurance: str, device_bound: bool) -> None:
    """An approval is as sure as the policy asks for this risk."""
    asked = facts.policies[policy]
    least = asked.get("assurance", "H2")
    facts.hold(assurance >= least, rulebook.EVIDENCE, f"an approval needs {least}, and this is {assurance}")
    facts.hold(
        device_bound or risk not in asked.get("device_bound", ()),
        rulebook.EVIDENCE,
        f"an approval of {risk} needs a key that never leaves its device",
    )


def _check_statement(facts: Facts, said: Mapping[str, Any], request: Request, name: str) -> None:
    """The statement is about this request as it is."""
    rule = rulebook.STATEMENT
    wanted = {
        "request": name,
        "agent": request.agent,
        "risk": request.risk,
        "reversibility": request.reversibility,
        "action_digest": request.action_digest,
        "display_digest": request.display_digest,
        "delegation": request.delegation,
    }
    for field, value in wanted.items():
        facts.hold(said[field] == value, rule, f"its {field} is not the request's")
    facts.hold(said["policy"] in (request.policy, facts.policy), rule, "its policy is not the request's")
    facts.hold("constraints" not in said, rule, "it names conditions, and nobody holds an action to them")
    links = authority.chain_of(facts, request.delegation)
    document = links[-1][1].document if links else {}
    facts.hold(
        said.get("on_behalf_of") == document.get("on_behalf_of"), rule, "it acts for somebody else than the action"
    )


def _stated(
    facts: Facts, entry: Mapping[str, Any], raw: bytes, said: Mapping[str, Any], part: Mapping[str, Any]
) -> signatures.Proven:
    """Hold that the actor stated this, now and once; `part` holds the evidence. Returns what that evidence gives."""
    actor, rule = entry["actor"], rulebook.STATEMENT
    facts.hold(said["reviewer"] == actor["id"], rule, "it is somebody else's statement")
    facts.hold(said.get("reason_commitment") == entry["body"].get("reason"), rule, "its reason is another one")
    proven = signatures.check(
        facts,
        person=actor["id"],
        typ=statement.TYP,
        raw=raw,
        evidence=part["evidence"],
        named=said.get("credential"),
        session=True,
    )
    signatures.check_actor(facts, entry, proven, exactly=True)
    signatures.use(facts, raw, said)
    return replace(proven, assurance=actor.get("assurance", signatures.SESSION))


def check_eligible(
    facts: Facts, request: Request, counted: list[Ballot], *, person: str, key: str, stage: quorum.Stage
) -> None:
    found = against(facts, request, counted, person=person, key=key, stage=stage)
    facts.hold(not found, rulebook.ELIGIBLE, "; ".join(found))


def against(
    facts: Facts, request: Request, counted: list[Ballot], *, person: str, key: str, stage: quorum.Stage
) -> list[str]:
    """Why this person may not answer this stage, given the votes of others that count."""
    known = facts.people.get(person)
    if known is None:
        return ["there is no such person"]
    candidate = quorum.Candidate(
        person=person,
        roles=known.roles,
        human=True,
        active=known.active,
        keys=[name for name, item in known.keys.items() if item.signs_decisions],
        name=known.name,
    )
    links = authority.chain_of(facts, request.delegation) or []
    others = [ballot for ballot in counted if ballot.decision in quorum.KINDS]
    circumstances = quorum.Circumstances(
        agent_owner=facts.agents[request.agent].owner,
        on_behalf_of=links[-1][1].document.get("on_behalf_of") if links else None,
        issuer=links[0][1].document["issuer"] if links else None,
        launch_signers=frozenset(request.launch_signers),
        counted_people=[ballot.person for ballot in others],
        counted_keys=[ballot.key for ballot in others if ballot.key],
        risk=Risk(request.risk),
        single_human=bool(_policy(facts, request)["single_human"]),
    )
    found = quorum.ineligible(candidate, circumstances, key or None, stage)
    return [reason.sentence for reason in found]


def missing(facts: Facts, request: Request) -> tuple[quorum.Stage, ...]:
    """The stages that still wait for answers, the open one first."""
    return _tally(facts, request, _counting(facts, request)).needs


def _policy(facts: Facts, request: Request) -> dict[str, Any]:
    return facts.policies[request.policy]


def _tally(facts: Facts, request: Request, ballots: list[Ballot]) -> quorum.Tally:
    cast = [quorum.CastVote(ballot.person, ballot.key or None, ballot.decision, ballot.stage) for ballot in ballots]
    stages = [quorum.Stage(**stage) for stage in request.stages]
    return quorum.tally(stages, cast, single_human=bool(_policy(facts, request)["single_human"]))


HANDLERS: dict[str, Callable[[Facts, Mapping[str, Any]], None]] = {
    "vote.cast": _cast,
    "vote.recalled": _recalled,
    "action.looked_over": _looked_over,
}
