"""Votes in advance: who gave one, what it covers, and that every use of it is within all that it says.

Predicates over parameters need the parameters themselves: a bundle that discloses them has those checked as well
(`disclosed`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from imprimatur.formats import signing
from imprimatur.formats.timestamps import format_time, parse_time
from imprimatur.rules import grants as rules
from imprimatur.rules import money
from imprimatur.rules.quorum import REVIEWER, Stage
from imprimatur.verify import authority, people, rulebook, signatures, votes
from imprimatur.verify.facts import Facts, Grant, Request

_KEEP = timedelta(days=1)


def _issued(facts: Facts, entry: Mapping[str, Any]) -> None:
    body, actor, rule = entry["body"], entry["actor"], rulebook.GRANT
    raw = body["statement"].encode("utf-8")
    name = signing.grant_id(raw)
    facts.hold(body["grant"] == name, rule, "it is not the grant that the statement makes")
    facts.hold(name not in facts.grants, rulebook.REPLAY, "this grant was issued before")
    said = signatures.read(facts, raw, signing.GRANT)
    facts.hold(said["person"] == actor["id"], rulebook.STATEMENT, "it is somebody else's statement")
    facts.hold(said["not_after"] > facts.now, rule, "it is over before it begins")
    facts.hold(said["policy"] == facts.policy, rulebook.POLICY, "it is for another policy than the one in force")
    facts.hold(facts.policies[facts.policy].get("grants", True), rule, "the policy lets nobody approve in advance")
    request = facts.requests.get(said["request"])
    if request is None or request.state != "PENDING":
        facts.hold(False, rule, "there is no pending request that it was made from")
        return
    problem = rules.against_action(said, _action(request))
    facts.hold(not problem, rule, f"it would not cover the request that it was made from: {problem}")
    facts.hold(rules.seat(_stages(request.stages)) is not None, rule, "that request takes more than one approval")
    links = authority.chain_of(facts, said["delegation"])
    gone = f"the delegation {said['delegation']} is not in the log"
    dead = authority.dead_link(facts, links) if links is not None else gone
    facts.hold(dead is None, rulebook.AUTHORITY, dead or "")
    proven = signatures.check(
        facts,
        person=actor["id"],
        typ=signing.GRANT,
        raw=raw,
        evidence=body["evidence"],
        named=said.get("credential"),
        session=True,
    )
    signatures.check_actor(facts, entry, proven, exactly=True)
    signatures.use(facts, raw, said)
    assurance = actor.get("assurance", signatures.SESSION)
    votes.check_sure(facts, request.policy, request.risk, assurance, proven.device_bound)
    stage = _stages(request.stages)[0]
    votes.check_eligible(facts, request, [], person=actor["id"], key=proven.key, stage=stage)
    facts.grants[name] = Grant(
        statement=said,
        reviewer=actor["id"],
        role=stage.role,
        key=proven.key,
        assurance=assurance,
        device_bound=proven.device_bound,
        issued=facts.now,
        index=facts.index,
    )
    facts.totals.grants += 1


def _revoked(facts: Facts, entry: Mapping[str, Any]) -> None:
    body, actor, rule = entry["body"], entry["actor"], rulebook.REVOCATION
    grant = facts.grants.get(body["grant"])
    if grant is None:
        # What has expired is forgotten, and taking away from it gives nobody anything.
        facts.hold(facts.forgotten_grants, rule, "there is no such grant")
    else:
        facts.hold(not grant.revoked, rule, "it was revoked before")
    if actor["type"] == "person":
        roles = facts.people[actor["id"]].roles
        may = not {people.ADMIN, REVIEWER}.isdisjoint(roles) or (grant is not None and grant.reviewer == actor["id"])
        facts.hold(may, rulebook.ACTOR, "only its author, a reviewer or an admin revokes a grant")
    signatures.act(facts, entry, "grant")
    if grant is not None:
        grant.revoked = True
    facts.revocations[str(facts.index)] = entry["kind"]


def use(facts: Facts, request: Request, name: str, rule_name: str) -> None:
    """Hold that this grant answers for this new request, and count the use. One grant is one person's one approval."""
    rule = rulebook.GRANT
    grant = facts.grants.get(name)
    if grant is None:
        facts.hold(False, rule, "there is no such grant")
        return
    said = grant.statement
    facts.hold(not grant.revoked, rule, "the grant was revoked")
    facts.hold(facts.now <= said["not_after"], rule, "the grant is over")
    facts.hold(grant.uses < said["max_uses"], rule, "every use of the grant was made")
    problem = rules.against_action(said, _action(request))
    facts.hold(not problem, rule, f"the grant does not cover it: {problem}")
    cap = said.get("max_total")
    within = cap is None or grant.total + request.amount <= money.parse_amount(cap["amount"])
    facts.hold(within, rule, "it would pass the sum that was agreed to")
    votes.check_sure(facts, request.policy, request.risk, grant.assurance, grant.device_bound)
    _check_reviewer(facts, request, grant, rule_name)
    grant.uses += 1
    grant.total += request.amount
    request.grant = name
    facts.totals.by_grants += 1
    facts.totals.assurance[grant.assurance] = facts.totals.assurance.get(grant.assurance, 0) + 1
    if facts.policies[request.policy]["single_human"]:
        facts.totals.single_human += 1


def check_still_stands(facts: Facts, request: Request) -> None:
    """What was approved by a grant is redeemed only while no key it rests on is revoked from before it was signed."""
    grant = facts.grants.get(request.grant)
    if grant is not None:
        facts.hold(
            signatures.key_counts_then(facts, grant.reviewer, grant.key, grant.issued),
            rulebook.GRANT,
            "the grant it rests on was signed with a key that was revoked from before that time",
        )


def _action(request: Request) -> rules.Action:
    return rules.Action(
        agent=request.agent,
        delegation=request.delegation,
        tool=request.tool,
        tool_digest=request.tool_digest,
        policy=request.policy,
        risk=request.risk,
        reversibility=request.reversibility,
        effects=request.effects,
        parameters=request.parameters,
        cost=request.amount,
        unit=request.unit,
    )


def _stages(stages: list[dict[str, Any]]) -> list[Stage]:
    return [Stage(stage["role"], stage["count"], stage["kind"]) for stage in stages]


def _check_reviewer(facts: Facts, request: Request, grant: Grant, rule_name: str) -> None:
    """The reviewer could approve this very request now, in the role that the rule asks for.

    Conditions are not run again: where the named rule leaves it open, another one that matched may have said the role.
    """
    policy = facts.policies[request.policy]
    staged = policy["rules"].get(rule_name, {}).get("stages")
    if staged:
        seat = rules.seat([Stage(stage["role"], stage["count"]) for stage in staged])
        facts.hold(seat is not None, rulebook.QUORUM, "the policy asks for more than one approval of this")
        stages = [seat] if seat is not None else []
    else:
        others = {stage["role"] for rule in policy["rules"].values() for stage in rule.get("stages", ())}
        stages = [Stage(role, 1) for role in dict.fromkeys((grant.role, REVIEWER, *sorted(others)))]
    found = [votes.against(facts, request, [], person=grant.reviewer, key=grant.key, stage=stage) for stage in stages]
    facts.hold(any(not reasons for reasons in found), rulebook.ELIGIBLE, "; ".join(found[0]))


def forget(facts: Facts) -> None:
    """Forget grants that ended more than a day ago and that nothing rests on."""
    before = format_time(parse_time(facts.now) - _KEEP)
    needed = {request.grant for request in facts.requests.values()}
    ended = [
        name for name, grant in facts.grants.items() if grant.statement["not_after"] < before and name not in needed
    ]
    for name in ended:
        del facts.grants[name]
    facts.forgotten_grants += len(ended)


HANDLERS: dict[str, Callable[[Facts, Mapping[str, Any]], None]] = {
    "grant.issued": _issued,
    "grant.revoked": _revoked,
}
