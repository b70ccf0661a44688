"""Launches: what an orchestrator attests before it starts an agent, what was refused, and how each launch ended.

Whether a launch may be is worked out again from its statement and from all that the log says up to there. What rests
on signatures, digests and the state of the log is so for ever. What is judged by tables that grow (which flags are
unsafe, how a sandbox is built) is held to where the launch was merged by this very program; where another release did,
a difference is counted and told, so that an old log stays as good as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from imprimatur.formats import attestation, digests, sshsig
from imprimatur.formats.timestamps import format_time, parse_time
from imprimatur.rules import configuration
from imprimatur.rules import launches as rules
from imprimatur.rules.configuration import Problem
from imprimatur.verify import authority, people, rulebook, services
from imprimatur.verify.facts import Facts, Launch

LASTING = frozenset(
    {
        "wrong-realm",
        "unsigned-layer",
        "layer-signature",
        "layer-digest",
        "digest-mismatch",
        "grants-changed",
        "policy-changed",
        "agent-unknown",
        "agent-suspended",
    }
)
"""What does not change with a release of the rules."""

_KEEP = timedelta(days=1)
_NOT_OF_THE_RUN = ("layers", "own", "realm", "service")


def signer_of(facts: Facts, raw: bytes, signature: str) -> str | None:
    """The active admin whose key in force now made this SSH signature over these bytes, or None."""
    try:
        key = sshsig.parse(signature).key
        person = facts.person_keys.get(key.fingerprint)
        if person is None or not people.is_admin(facts, person):
            return None
        if not facts.people[person].keys[key.fingerprint].in_force:
            return None
        return person if sshsig.verify(signature, raw, rules.SSH_NAMESPACE, key) else None
    except sshsig.SshSigError:
        return None


def layer_keys(facts: Facts, entry: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Who signed the layers of an attested launch, each with the fingerprint of the key. The rules have held for it."""
    statement = attestation.open_statement(entry["body"]["statement"].encode("utf-8"), attestation.LAUNCH)
    signatures = [layer["signature"] for layer in statement.predicate["layers"] if "signature" in layer]
    found = [sshsig.parse(signature).key.fingerprint for signature in signatures]
    return [(facts.person_keys[key], key) for key in dict.fromkeys(found) if key in facts.person_keys]


def judge(facts: Facts, statement: attestation.Statement) -> list[Problem]:
    """Every reason to refuse this launch at this moment."""
    agent = facts.agents.get(statement.predicate["agent"])
    return rules.problems(
        statement.predicate,
        statement.subjects,
        realm=facts.realm,
        agent_state=None if agent is None else "suspended" if agent.suspended else "active",
        delegations=authority.granted(facts, statement.predicate["agent"]),
        policy=facts.policy,
        signer_of=lambda raw, signature: signer_of(facts, raw, signature),
    )


def _attested(facts: Facts, entry: Mapping[str, Any]) -> None:
    body, rule = entry["body"], rulebook.LAUNCH
    statement = services.signed(facts, entry, attestation.LAUNCH)
    predicate = statement.predicate
    name, agent = predicate["launch"], predicate["agent"]
    facts.hold((body["launch"], body["agent"]) == (name, agent), rule, "the statement is of another launch or agent")
    facts.hold(name not in facts.launches and name not in facts.ended_launches, rule, "this launch was attested before")
    against = judge(facts, statement)
    for problem in against:
        lasting = problem.code in LASTING or _judged_here(predicate)
        facts.hold(not lasting, rule, f"it should have been refused ({problem.code}): {problem.message}")
    if against:
        facts.totals.judged_elsewhere += 1
        facts.example("judged elsewhere", launch=name, codes=sorted({problem.code for problem in against}))
    signers = rules.signers(predicate, lambda raw, signature: signer_of(facts, raw, signature))
    kept = {field: value for field, value in predicate.items() if field not in _NOT_OF_THE_RUN}
    facts.launches[name] = Launch(entry["actor"]["id"], agent, facts.index, facts.now, signers, kept)
    facts.totals.launches += 1
    facts.totals.declared += not predicate["runtime"]["launched"]


def _refused(facts: Facts, entry: Mapping[str, Any]) -> None:
    body, rule = entry["body"], rulebook.LAUNCH
    facts.totals.launches_refused += 1
    if "statement" not in body:
        services.acting(facts, entry, attestation.ORCHESTRATOR)
        facts.totals.refused_unshown += 1
        return
    statement = services.signed(facts, entry, attestation.LAUNCH)
    own = digests.sha256(body["statement"].encode("utf-8"))
    facts.hold(body["digest"] == own, rule, "the digest is of another statement")
    against = rules.reasons(judge(facts, statement))
    said, found = _codes(body["reasons"]), _codes(against)
    if said == found:
        return
    wrong = f"it was refused for {', '.join(said)}, and what the statement says gives {', '.join(found) or 'no reason'}"
    facts.hold(not _judged_here(statement.predicate), rule, wrong)
    whole = "more" not in (*said, *found)
    lasting = [code for code in said if code in LASTING] == [code for code in found if code in LASTING]
    facts.hold(lasting or not whole, rule, wrong)
    facts.totals.judged_elsewhere += 1
    facts.example("judged elsewhere", codes=sorted(set(said) ^ set(found)))


def _codes(reasons: list[dict[str, str]]) -> list[str]:
    """Codes alone: in which words a release tells them is its own matter."""
    return [reason["code"] for reason in reasons]


def _judged_here(predicate: Mapping[str, Any]) -> bool:
    """Whether the layers were merged by the program that is at hand, and so judged by these tables."""
    merge = predicate["merge"]
    return bool(merge["program"] != configuration.MERGE_PROGRAM or merge["digest"] == configuration.merge_digest())


def _ended(facts: Facts, entry: Mapping[str, Any]) -> None:
    body, actor, rule = entry["body"], entry["actor"], rulebook.LAUNCH
    launch = facts.launches.get(body["launch"])
    if launch is None:
        facts.hold(False, rule, "there is no such launch, or it has ended")
        return
    if actor["type"] == "system":
        facts.hold(body["how"] == "lost", rulebook.ACTOR, "the server knows of no end but that a launch is lost")
    else:
        services.acting(facts, entry, attestation.ORCHESTRATOR)
        facts.hold(actor["id"] == launch.service, rulebook.ACTOR, "another orchestrator attested this launch")
    facts.totals.launches_ended += 1
    facts.totals.launches_lost += body["how"] == "lost"
    facts.totals.never_observed += not launch.observations
    del facts.launches[body["launch"]]
    facts.ended_launches[body["launch"]] = facts.now


def forget(facts: Facts) -> None:
    """Forget the names of launches that ended more than a day ago."""
    before = format_time(parse_time(facts.now) - _KEEP)
    for name in [name for name, at in facts.ended_launches.items() if at < before]:
        del facts.ended_launches[name]


HANDLERS: dict[str, Callable[[Facts, Mapping[str, Any]], None]] = {
    "launch.attested": _attested,
    "launch.refused": _refused,
    "launch.ended": _ended,
}
