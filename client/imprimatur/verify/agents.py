"""Agents and their keys: how one comes in, how a key follows another, how either ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from imprimatur.formats import ed25519, ids, keys
from imprimatur.formats.encoding import un_b64u
from imprimatur.formats.rotation import rotation_preimage
from imprimatur.verify import people, responses, rulebook, signatures
from imprimatur.verify.facts import Agent, AgentKey, Facts


def _invited(facts: Facts, entry: Mapping[str, Any]) -> None:
    body, rule = entry["body"], rulebook.ENROLMENT
    facts.hold(body["token"] not in facts.invitations, rule, "this invitation was given before")
    facts.hold(body["expires_at"] > facts.now, rule, "the invitation is over before it begins")
    facts.hold(body["owner"] in facts.people, rule, "the owner is not among the people")
    for token in [token for token, known in facts.invitations.items() if known["expires_at"] <= facts.now]:
        del facts.invitations[token]
    facts.invitations[body["token"]] = {name: body[name] for name in ("name", "owner", "expires_at")}


def _enrolled(facts: Facts, entry: Mapping[str, Any]) -> None:
    body, rule = entry["body"], rulebook.ENROLMENT
    public_key = un_b64u(body["public_key"])
    try:
        ed25519.check_public_key(public_key)
    except ValueError as error:
        facts.hold(False, rule, f"the key is unusable: {error}")
    facts.hold(body["agent"] == ids.agent_id(public_key), rule, "the agent's id does not come from its key")
    facts.hold(body["thumbprint"] == keys.thumbprint(public_key), rule, "the thumbprint is of another key")
    facts.hold(body["agent"] not in facts.agents, rule, "this agent is enrolled already")
    facts.hold(body["thumbprint"] not in facts.agent_keys, rule, "this key is another agent's")
    facts.hold(body["thumbprint"] not in facts.person_thumbprints, rule, "this key is a person's")
    facts.hold(not facts.is_services(body["thumbprint"]), rule, "this key is a service's")
    facts.hold(
        entry["actor"]["type"] != "agent" or entry["actor"]["id"] == body["agent"],
        rulebook.ACTOR,
        "an agent enrols itself only",
    )
    invitation = facts.invitations.get(body["invitation"])
    if invitation is None:
        facts.hold(False, rule, "there is no such invitation, or it was used")
        return
    facts.hold(facts.now <= invitation["expires_at"], rule, "the invitation has expired")
    facts.hold(
        body["name"] == invitation["name"] and body["owner"] == invitation["owner"],
        rule,
        "the invitation is for another agent or owner",
    )
    del facts.invitations[body["invitation"]]
    key = AgentKey(body["public_key"])
    facts.agents[body["agent"]] = Agent(body["owner"], body["enforcement"], keys={body["thumbprint"]: key})
    facts.agent_keys[body["thumbprint"]] = body["agent"]


def _rotated(facts: Facts, entry: Mapping[str, Any]) -> None:
    body, rule = entry["body"], rulebook.AGENT_KEY
    agent = facts.agents.get(body["agent"])
    old = agent.keys.get(body["old"]) if agent is not None else None
    if agent is None or old is None:
        facts.hold(False, rule, "the agent has no such key")
        return
    facts.hold(entry["actor"]["id"] == body["agent"], rulebook.ACTOR, "an agent rotates its own key only")
    facts.hold(not old.retired and not old.revoked_since, rule, "the old key is not in force")
    public_key = un_b64u(body["public_key"])
    try:
        ed25519.check_public_key(public_key)
    except ValueError as error:
        facts.hold(False, rule, f"the new key is unusable: {error}")
    facts.hold(body["new"] == keys.thumbprint(public_key), rule, "the thumbprint is of another key")
    facts.hold(body["new"] not in facts.agent_keys, rule, "the new key was used before")
    facts.hold(body["new"] not in facts.person_thumbprints, rule, "the new key is a person's")
    facts.hold(not facts.is_services(body["new"]), rule, "the new key is a service's")
    signed = rotation_preimage(
        realm=facts.realm, agent=body["agent"], old=body["old"], new=body["new"], public_key=body["public_key"]
    )
    facts.hold(
        ed25519.verify(un_b64u(old.public_key), signed, un_b64u(body["signature"])),
        rule,
        "the old key did not sign the new one",
    )
    old.retired = facts.now
    agent.keys[body["new"]] = AgentKey(body["public_key"])
    facts.agent_keys[body["new"]] = body["agent"]


def _key_revoked(facts: Facts, entry: Mapping[str, Any]) -> None:
    body, rule = entry["body"], rulebook.AGENT_KEY
    agent = facts.agents.get(body["agent"])
    key = agent.keys.get(body["thumbprint"]) if agent is not None else None
    if agent is None or key is None:
        facts.hold(False, rule, "the agent has no such key")
        return
    facts.hold(
        not key.revoked_since or body["since"] < key.revoked_since, rule, "the key is revoked from an earlier time"
    )
    facts.hold(body["since"] <= facts.now, rule, "a revocation cannot begin in the future")
    facts.hold(
        people.may_act_for(facts, entry["actor"], body["agent"], agent.owner),
        rulebook.ACTOR,
        "only the agent, its owner or an admin revokes its key",
    )
    signatures.act(facts, entry, "thumbprint", "agent")
    key.revoked_since = body["since"]
    facts.revocations[str(facts.index)] = entry["kind"]


def _suspended(facts: Facts, entry: Mapping[str, Any]) -> None:
    agent = facts.agents.get(entry["body"]["agent"])
    if agent is None:
        facts.hold(False, rulebook.REVOCATION, "there is no such agent")
        return
    if not responses.over_drift(facts, entry):
        facts.hold(
            people.may_act_for(facts, entry["actor"], agent.owner),
            rulebook.ACTOR,
            "only its owner or an admin suspends an agent",
        )
    facts.hold(not agent.suspended, rulebook.REVOCATION, "the agent was suspended before")
    signatures.act(facts, entry, "agent")
    agent.suspended = True
    facts.revocations[str(facts.index)] = entry["kind"]


def _resumed(facts: Facts, entry: Mapping[str, Any]) -> None:
    agent = facts.agents.get(entry["body"]["agent"])
    if agent is None:
        facts.hold(False, rulebook.REVOCATION, "there is no such agent")
        return
    facts.hold(agent.suspended, rulebook.REVOCATION, "the agent was not suspended")
    signatures.act(facts, entry, "agent")
    agent.suspended = False
    responses.forget_drift(facts, entry["body"]["agent"])


HANDLERS: dict[str, Callable[[Facts, Mapping[str, Any]], None]] = {
    "agent.invited": _invited,
    "agent.enrolled": _enrolled,
    "agent.key_rotated": _rotated,
    "agent.key_revoked": _key_revoked,
    "agent.suspended": _suspended,
    "agent.resumed": _resumed,
}
