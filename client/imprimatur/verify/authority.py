"""Authority: delegations and their chains, the tool registry, policy, pauses, and corrections of money by a person."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from imprimatur.formats import delegation as delegations
from imprimatur.formats import shapes
from imprimatur.formats.encoding import un_b64u
from imprimatur.formats.timestamps import format_time, parse_time
from imprimatur.rules import chain as chains
from imprimatur.rules import freeze, money, narrowing, policy, tools
from imprimatur.verify import changes, people, responses, rulebook, signatures
from imprimatur.verify.facts import Delegation, Facts

_KEEP = timedelta(days=1)
_CHECKED_AGAIN = ("assurance", "single_human", "default_risk", "floors", "device_bound", "freeze", "grants", "respond")
_OF_RULES = ("tool", "action", "risk", "stages")


def chain_of(facts: Facts, delegation: str) -> list[tuple[str, Delegation]] | None:
    """The links from the root to this delegation, or None when one is not there."""
    links: list[tuple[str, Delegation]] = []
    at: str | None = delegation
    while at is not None:
        link = facts.delegations.get(at)
        if link is None or len(links) == narrowing.MAX_CHAIN:
            return None
        links.append((at, link))
        at = link.document.get("parent")
    links.reverse()
    return links


def dead_link(facts: Facts, links: list[tuple[str, Delegation]]) -> str | None:
    """Why a chain counts no longer, or None: a revoked link, a key dead when it signed, an issuer or agent stopped."""
    for _, link in links:
        if link.revoked_since:
            return "a delegation of the chain is revoked"
        issuer = link.document["issuer"]
        if issuer in facts.agents:
            agent = facts.agents[issuer]
            if agent.suspended:
                return "an agent of the chain is suspended"
            since = agent.keys[link.signed_with].revoked_since
            counts = not since or since > link.issued
        else:
            if not facts.people[issuer].active:
                return "the person at the root is no longer active"
            counts = signatures.key_counts_then(facts, issuer, link.signed_with, link.issued)
        if not counts:
            return "a delegation of the chain was signed with a key that was revoked from that time"
    return None


def refusal(
    facts: Facts,
    *,
    delegation: str,
    agent: str,
    effects: list[dict[str, str]],
    amount: int,
    unit: str,
    tool: str,
    size: int = 0,
) -> str | None:
    """Why the delegation does not allow this agent to do this now, or None.

    Sizes are not in a binding, so a history alone passes 0; bundles pass the size where parameters are disclosed.
    """
    links = chain_of(facts, delegation)
    if links is None:
        return f"the delegation {delegation} is not in the log"
    if links[-1][1].document["subject"] != agent:
        return "the delegation is another agent's"
    if facts.agents[agent].suspended:
        return "the agent is suspended"
    dead = dead_link(facts, links)
    if dead is not None:
        return dead
    prepared = facts.prepared.get(delegation)
    if prepared is None:
        found = chains.prepare([link.document for _, link in links])
        if isinstance(found, chains.Refusal):
            return found.message
        prepared = facts.prepared[delegation] = found
    said = prepared.refusal(
        effects=effects, cost_micro=amount, unit=unit, tool=tool, size=size, at=parse_time(facts.now)
    )
    return None if said is None else said.message


def _issued(facts: Facts, entry: Mapping[str, Any]) -> None:
    body = entry["body"]
    document, signature, identifier = body["document"], body["signature"], body["delegation"]
    issuer = document["issuer"]
    facts.hold(document["realm"] == facts.realm, rulebook.REALM, "the delegation is of another realm")
    facts.hold(identifier not in facts.delegations, rulebook.DELEGATION_ISSUER, "this delegation was issued before")
    facts.hold(entry["actor"]["id"] == issuer, rulebook.DELEGATION_ISSUER, "somebody else brings it in than its issuer")
    facts.hold(document["subject"] in facts.agents, rulebook.DELEGATION_ISSUER, "its subject is not an enrolled agent")
    facts.hold(document["not_after"] > facts.now, rulebook.DELEGATION_ISSUER, "it is over before it begins")
    if "parent" in document:
        _check_child(facts, document, signature)
    else:
        signatures.check_actor(facts, entry, _check_root(facts, document, signature))
    facts.delegations[identifier] = Delegation(document, signature["key"], facts.now)


def _check_root(facts: Facts, document: Mapping[str, Any], signature: Mapping[str, Any]) -> signatures.Proven:
    issuer = document["issuer"]
    facts.hold(
        people.is_admin(facts, issuer), rulebook.DELEGATION_ISSUER, "only an active admin grants authority from nothing"
    )
    own = signature["kind"] in ("ssh", "webauthn")
    facts.hold(own, rulebook.DELEGATION_SIGNATURE, "a person signs with a key of their own")
    try:
        narrowing.read(document)
    except narrowing.LinkError as error:
        facts.hold(False, rulebook.NARROWING, str(error))
    return signatures.check_delegation(facts, document, signature)


def _check_child(facts: Facts, document: Mapping[str, Any], signature: Mapping[str, Any]) -> None:
    issuer = document["issuer"]
    agent = facts.agents.get(issuer)
    key = agent.keys.get(signature["key"]) if agent is not None else None
    if agent is None or key is None:
        facts.hold(False, rulebook.DELEGATION_SIGNATURE, "the key is not the issuer's")
        return
    facts.hold(
        not key.revoked_since and not key.retired, rulebook.DELEGATION_SIGNATURE, "the issuer's key is not in force"
    )
    facts.hold(
        delegations.verify_agent_signature(document, signature, un_b64u(key.public_key)),
        rulebook.DELEGATION_SIGNATURE,
        "the agent named as issuer did not sign it",
    )
    links = chain_of(facts, document["parent"])
    if links is None:
        facts.hold(False, rulebook.NARROWING, f"its parent {document['parent']} is not in the log")
        return
    facts.hold(len(links) < narrowing.MAX_CHAIN, rulebook.NARROWING, "the chain would be too long")
    facts.hold(not agent.suspended, rulebook.NARROWING, "its issuer is suspended")
    dead = dead_link(facts, links)
    facts.hold(dead is None, rulebook.NARROWING, dead or "")
    parent = links[-1][1].document
    facts.hold(parent["subject"] == issuer, rulebook.DELEGATION_ISSUER, "the parent is not the issuer's to pass on")
    facts.hold(parent["not_after"] > facts.now, rulebook.NARROWING, "its parent has expired")
    found = narrowing.problems(parent, document)
    facts.hold(not found, rulebook.NARROWING, "; ".join(problem.message for problem in found))


def _revoked(facts: Facts, entry: Mapping[str, Any]) -> None:
    body, rule, actor = entry["body"], rulebook.REVOCATION, entry["actor"]
    facts.hold(body["since"] <= facts.now, rule, "a revocation cannot begin in the future")
    links = chain_of(facts, body["delegation"])
    if links is None:
        # What has expired is forgotten, and taking away from it gives nobody anything.
        facts.hold(facts.forgotten_delegations, rule, "there is no such delegation")
        signatures.act(facts, entry, "delegation")
        return
    link = links[-1][1]
    facts.hold(not link.revoked_since, rule, "it was revoked before")
    if actor["type"] != "system":
        # Whoever stands above may take back, and a subject may give up; the system only ends what a cause ended.
        above = {known.document["subject"] for _, known in links} | {links[0][1].document["issuer"]}
        above.add(facts.agents[link.document["subject"]].owner)
        facts.hold(
            actor["id"] in above or people.is_admin(facts, actor["id"]),
            rulebook.ACTOR,
            "it is not for this principal to revoke",
        )
    signatures.act(facts, entry, "delegation")
    link.revoked_since = body["since"]
    facts.revocations[str(facts.index)] = entry["kind"]


def _corrected(facts: Facts, entry: Mapping[str, Any]) -> None:
    body = entry["body"]
    links = chain_of(facts, body["delegation"])
    if links is None:
        facts.hold(facts.forgotten_delegations, rulebook.SPEND, "there is no such delegation")
        return
    amount = money.read_amount(body["amount"])
    # One entry for each delegation of the chain: each speaks of itself alone.
    link = links[-1][1]
    spend = link.document.get("spend", {})
    facts.hold(spend.get("unit") == body["unit"], rulebook.SPEND, "the delegation's money is in another unit")
    # Of entries that were left out no money is known: what is counted is the least that was spent.
    facts.hold(amount <= link.spent or facts.left_out, rulebook.SPEND, "more is given back than was spent")
    link.spent = max(0, link.spent - amount)


def _registered(facts: Facts, entry: Mapping[str, Any]) -> None:
    body, rule = entry["body"], rulebook.TOOL
    document = body["document"]
    try:
        shapes.check(document, tools.SHAPE)
    except shapes.ShapeError as error:
        facts.hold(False, rule, f"the tool document is malformed: {error}")
    # The shape alone, and not `tools.check`: what that refuses may grow, and an old log must stay as good as it was.
    facts.hold(type(document["schema"]) is dict, rule, "the tool document has no schema")
    facts.hold(tools.digest(document) == body["digest"], rule, "the digest is of another document")
    facts.hold(document["name"] == body["tool"], rule, "the document is of another tool")
    facts.hold(
        facts.tool_digests.get(body["tool"]) == body.get("replaces"), rule, "it does not say which version it replaces"
    )
    facts.totals.tools_alone += not changes.put_in_force(facts, entry)
    facts.tools[body["tool"]] = document
    facts.tool_digests[body["tool"]] = body["digest"]


def _retired(facts: Facts, entry: Mapping[str, Any]) -> None:
    body = entry["body"]
    facts.hold(facts.tool_digests.get(body["tool"]) == body["digest"], rulebook.TOOL, "this version is not in force")
    facts.totals.tools_alone += 1
    del facts.tools[body["tool"]], facts.tool_digests[body["tool"]]


def _activated(facts: Facts, entry: Mapping[str, Any]) -> None:
    body, rule = entry["body"], rulebook.POLICY
    document = body["document"]
    try:
        shapes.check(document, policy.SHAPE)
    except shapes.ShapeError as error:
        facts.hold(False, rule, f"the policy document is malformed: {error}")
    facts.hold(policy.digest(document) == body["policy"], rule, "the digest is of another document")
    facts.hold(body["number"] == facts.policy_number + 1, rule, f"policy {facts.policy_number + 1} comes next")
    facts.hold(
        facts.policy_number or body["policy"] == facts.founding_policy,
        rulebook.FOUNDING,
        "the first policy is not the one of entry 0",
    )
    facts.hold(body.get("replaces", "") == facts.policy, rule, "it does not say which policy it replaces")
    odd = [message for _, message in freeze.faults(document.get("freeze", ()))]
    facts.hold(not odd, rule, f"its freeze calendar says nothing: {odd[:1]}")
    changes.put_in_force(facts, entry)
    facts.policy, facts.policy_number = body["policy"], body["number"]
    # Conditions are not run again, and a policy may be long: only what verdicts are checked against is kept.
    kept = {name: document[name] for name in _CHECKED_AGAIN if name in document}
    rules = {rule["name"]: {name: rule[name] for name in _OF_RULES if name in rule} for rule in document["rules"]}
    facts.policies[body["policy"]] = {**kept, "rules": rules}


def granted(facts: Facts, agent: str) -> frozenset[str]:
    """The ids of all delegations to this agent that count at this moment: the whole chain is live, and in its time.

    A suspended agent holds nothing.
    """
    found: set[str] = set()
    if agent not in facts.agents or facts.agents[agent].suspended:
        return frozenset()
    for name, link in facts.delegations.items():
        if link.document["subject"] != agent:
            continue
        links = chain_of(facts, name)
        if links is None or dead_link(facts, links) is not None:
            continue
        if all(above.document["not_before"] <= facts.now < above.document["not_after"] for _, above in links):
            found.add(name)
    return frozenset(found)


def paused(facts: Facts, *, agent: str, tool: str) -> bool:
    """Whether a standing pause covers this agent or this tool."""
    return any(name in facts.pauses for name in ("everything:", f"agent:{agent}", f"tool:{tool}"))


def _paused(facts: Facts, entry: Mapping[str, Any]) -> None:
    if not responses.over_canary(facts, entry):
        person = facts.people[entry["actor"]["id"]]
        facts.hold(
            not {people.ADMIN, people.REVIEWER}.isdisjoint(person.roles),
            rulebook.ACTOR,
            "a pause takes an admin or reviewer",
        )
    name = _pause_name(entry["body"])
    facts.hold(name not in facts.pauses, rulebook.PAUSE, "this pause stands already")
    signatures.act(facts, entry)
    facts.pauses[name] = facts.now


def _lifted(facts: Facts, entry: Mapping[str, Any]) -> None:
    name = _pause_name(entry["body"])
    facts.hold(name in facts.pauses, rulebook.PAUSE, "there is no such pause to lift")
    signatures.act(facts, entry)
    del facts.pauses[name]
    if name == "everything:":
        responses.forget_canaries(facts)


def _pause_name(body: Mapping[str, Any]) -> str:
    return "everything:" if body["scope"] == "everything" else f"{body['scope']}:{body['target']}"


def forget(facts: Facts) -> None:
    """Forget delegations that an agent issued and that ended more than a day ago, and open requests do not stand on."""
    before = format_time(parse_time(facts.now) - _KEEP)
    needed: set[str] = set()
    for request in facts.requests.values():
        needed.update(name for name, _ in chain_of(facts, request.delegation) or ())
    ended = [
        name
        for name, link in facts.delegations.items()
        if link.document["not_after"] < before and "parent" in link.document and name not in needed
    ]
    for name in ended:
        del facts.delegations[name]
        facts.prepared.pop(name, None)
    facts.forgotten_delegations += len(ended)


HANDLERS: dict[str, Callable[[Facts, Mapping[str, Any]], None]] = {
    "delegation.issued": _issued,
    "delegation.revoked": _revoked,
    "spend.corrected": _corrected,
    "tool.registered": _registered,
    "tool.retired": _retired,
    "policy.activated": _activated,
    "pause.set": _paused,
    "pause.lifted": _lifted,
}
