"""Votes: what a person said, whether they signed it, whether they may, and what the votes add up to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from imprimatur.formats import canonical, digests, shapes, sshsig, statement
from imprimatur.formats.timestamps import format_time, parse_time
from imprimatur.rules import quorum, states
from imprimatur.rules.risk import Risk
from imprimatur.verify import authority, people, rulebook
from imprimatur.verify.facts import Ballot, Facts, Request

CONFIRMATION_WINDOW = timedelta(minutes=15)
GRACE = timedelta(seconds=5)
"""For clocks that differ a little, and a statement that waited for its batch."""

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
    said = _parse(facts, raw)
    _check_statement(facts, entry, said, request)
    counting = _counting(facts, request)
    tally = _tally(facts, request, counting)
    key, assurance = _check_evidence(facts, entry, raw, said)
    decision = said["decision"]
    if decision in quorum.KINDS:
        facts.hold(facts.now <= request.expires_at, rulebook.WINDOW, "the time to answer was over")
        facts.hold(tally.stage < len(request.stages), rulebook.STATE, "every stage has its votes already")
        facts.hold(said["stage"] == tally.stage, rulebook.STATEMENT, "it answers another stage than the open one")
        stage = quorum.Stage(**request.stages[tally.stage])
        facts.hold(decision == stage.kind, rulebook.STATEMENT, f"the open stage asks to {stage.kind}")
        facts.hold(said["role"] == stage.role, rulebook.STATEMENT, f"the open stage is answered as {stage.role}")
        least = facts.policies[request.policy].get("assurance", "H2")
        facts.hold(assurance >= least, rulebook.EVIDENCE, f"an approval needs {least}, and this is {assurance}")
        if decision == "confirm":
            counted = {ballot.digest for ballot in counting if ballot.decision == "approve"}
            facts.hold(
                said.get("prev_vote") in counted, rulebook.STATEMENT, "a confirmation signs the vote that it confirms"
            )
    else:
        facts.hold(decision == "deny", rulebook.STATEMENT, f"{decision} is not an answer to a request")
        stage = quorum.Stage(**request.stages[min(tally.stage, len(request.stages) - 1)])
    _check_eligible(facts, request, request.ballots, person=actor["id"], key=key, stage=stage)
    facts.hold(
        all(ballot.person != actor["id"] for ballot in request.ballots) or _policy(facts, request)["single_human"],
        rulebook.ELIGIBLE,
        "this person's vote stands already",
    )
    request.ballots.append(Ballot(facts.index, actor["id"], key, decision, said["stage"], assurance, vote_digest(raw)))
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
        if not _against(
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
    request.ballots.remove(ballot)
    # An approval that rested on the vote cannot be redeemed any more, whatever is written next.
    request.swept = request.swept or request.state == "APPROVED"
    if request.state == "AWAITING_CONFIRMATION" and _tally(facts, request, request.ballots).stage == 0:
        request.state = "PENDING"


def _looked_over(facts: Facts, entry: Mapping[str, Any]) -> None:
    body, actor = entry["body"], entry["actor"]
    facts.hold(actor["type"] == "person", rulebook.ACTOR, "only people look things over")
    raw = body["statement"].encode("utf-8")
    said = _parse(facts, raw)
    facts.hold(said["request"] == body["request"], rulebook.STATEMENT, "the statement is about another request")
    facts.hold(said["realm"] == facts.realm, rulebook.REALM, "the statement is of another realm")
    facts.hold(said["decision"] in _FINAL, rulebook.STATEMENT, "looking over ends in acknowledge or flag")
    facts.hold(
        (said["decision"] == "flag") == (body["verdict"] == "flagged"),
        rulebook.STATEMENT,
        "the entry says something else than the statement",
    )
    _check_author(facts, entry, said)
    _check_evidence(facts, entry, raw, said)


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
        _check_eligible(facts, request, others, person=ballot.person, key=ballot.key, stage=stage)
    tally = _tally(facts, request, named)
    missing = ", ".join(f"{stage.count} x {stage.role} to {stage.kind}" for stage in tally.needs)
    facts.hold(tally.outcome == "approved", rulebook.QUORUM, f"too few people: {missing} missing")
    if _policy(facts, request)["single_human"]:
        facts.totals.single_human += 1


def _parse(facts: Facts, raw: bytes) -> dict[str, Any]:
    try:
        return statement.parse(raw)
    except (canonical.CanonicalError, shapes.ShapeError) as error:
        facts.hold(False, rulebook.STATEMENT, f"the statement is malformed: {error}")
        raise AssertionError from error  # hold has raised


def _check_statement(facts: Facts, entry: Mapping[str, Any], said: Mapping[str, Any], request: Request) -> None:
    body, rule = entry["body"], rulebook.STATEMENT
    facts.hold(said["realm"] == facts.realm, rulebook.REALM, "the statement is of another realm")
    wanted = {
        "request": body["request"],
        "version": body["version"],
        "agent": request.agent,
        "risk": request.risk,
        "reversibility": request.reversibility,
        "action_digest": request.action_digest,
        "display_digest": request.display_digest,
        "delegation": request.delegation,
    }
    for name, value in wanted.items():
        facts.hold(said[name] == value, rule, f"its {name} is not the request's")
    facts.hold(said["policy"] in (request.policy, facts.policy), rule, "its policy is not the request's")
    links = authority.chain_of(facts, request.delegation)
    document = links[-1][1].document if links else {}
    facts.hold(
        said.get("on_behalf_of") == document.get("on_behalf_of"), rule, "it acts for somebody else than the action"
    )
    facts.hold(said["log_size"] <= facts.index, rule, "it has seen a log that did not exist yet")
    _check_author(facts, entry, said)


def _check_author(facts: Facts, entry: Mapping[str, Any], said: Mapping[str, Any]) -> None:
    body, rule = entry["body"], rulebook.STATEMENT
    facts.hold(said["reviewer"] == entry["actor"]["id"], rule, "it is somebody else's statement")
    facts.hold(said.get("reason_commitment") == body.get("reason"), rule, "its reason is another one")
    facts.hold(
        said["issued_at"] <= format_time(parse_time(facts.now) + GRACE)
        and facts.now <= format_time(parse_time(said["expires_at"]) + GRACE),
        rule,
        "the statement is of another time",
    )


def _check_evidence(facts: Facts, entry: Mapping[str, Any], raw: bytes, said: Mapping[str, Any]) -> tuple[str, str]:
    """The key ("" for a session) and the assurance that the evidence really gives."""
    evidence, actor, rule = entry["body"]["evidence"], entry["actor"], rulebook.EVIDENCE
    key, assurance = "", "H0"
    if evidence["kind"] == "ssh":
        known = people.key_in_force(facts, actor["id"], evidence["key"])
        facts.hold(known is not None, rule, "the key is not the reviewer's, or no longer")
        try:
            good = known is not None and sshsig.verify(
                evidence["value"], raw, statement.SSH_NAMESPACE, sshsig.parse_public_key(known.line)
            )
        except sshsig.SshSigError as error:
            facts.hold(False, rule, str(error))
        facts.hold(good, rule, "the reviewer's key did not sign the statement")
        key, assurance = evidence["key"], "H2"
        facts.hold(said.get("credential", key) == key, rule, "the statement names another key")
    elif evidence["kind"] == "webauthn":
        facts.hold(False, rule, "no entry ties this passkey to a person, so it shows nothing")
    facts.hold(actor.get("assurance", "H0") == assurance, rule, f"the evidence gives {assurance}, not what is stated")
    facts.hold(actor.get("key", key) == key, rule, "the entry names another key than the evidence")
    return key, assurance


def _check_eligible(
    facts: Facts, request: Request, counted: list[Ballot], *, person: str, key: str, stage: quorum.Stage
) -> None:
    found = _against(facts, request, counted, person=person, key=key, stage=stage)
    facts.hold(not found, rulebook.ELIGIBLE, "; ".join(found))


def _against(
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
        keys=[name for name, item in known.keys.items() if not item.revoked_since],
        name=known.name,
    )
    links = authority.chain_of(facts, request.delegation) or []
    others = [ballot for ballot in counted if ballot.decision in quorum.KINDS]
    circumstances = quorum.Circumstances(
        agent_owner=facts.agents[request.agent].owner,
        on_behalf_of=links[-1][1].document.get("on_behalf_of") if links else None,
        issuer=links[0][1].document["issuer"] if links else None,
        counted_people=[ballot.person for ballot in others],
        counted_keys=[ballot.key for ballot in others if ballot.key],
        risk=Risk(request.risk),
        single_human=bool(_policy(facts, request)["single_human"]),
    )
    found = quorum.ineligible(candidate, circumstances, key or None, stage)
    return [reason.sentence for reason in found]


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
