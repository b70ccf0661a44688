"""How the entries of this room read, for people, and what its ids are called."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from audit import kinds
from audit.kinds import Names, actor
from governance.models import Agent, Delegation, Person
from imprimatur.formats.digests import fingerprint

Entry = Mapping[str, Any]
_Say = Callable[[str, dict[str, Any], Names], str]


def _person_added(who: str, body: dict[str, Any], names: Names) -> str:
    roles = f"as {_and(body['roles'])}" if body["roles"] else "without a role"
    return f"{who} added {body['name']} {roles}"


def _person_changed(who: str, body: dict[str, Any], names: Names) -> str:
    changes = []
    if "roles" in body:
        changes.append(f"gave them the roles {_and(body['roles'])}" if body["roles"] else "took away their roles")
    if "active" in body:
        changes.append("switched them on" if body["active"] else "switched them off")
    if "name" in body:
        changes.append(f"named them {body['name']}")
    if not changes:
        return f"{who} gave {names('person', body['person'])} a new one-time password"
    return f"{who} changed {names('person', body['person'])}: {_and(changes)}{_because(body)}"


def _person_key_added(who: str, body: dict[str, Any], names: Names) -> str:
    return f"{who} registered the key {body['fingerprint']} of {names('person', body['person'])}"


def _person_key_revoked(who: str, body: dict[str, Any], names: Names) -> str:
    name = names("person", body["person"])
    return f"{who} revoked the key {body['fingerprint']} of {name} from {body['since']} on{_because(body)}"


def _agent_invited(who: str, body: dict[str, Any], names: Names) -> str:
    return f"{who} invited an agent called {body['name']}, owned by {names('person', body['owner'])}"


def _agent_enrolled(who: str, body: dict[str, Any], names: Names) -> str:
    return f"The agent {body['name']} enrolled with the key {body['thumbprint']}; it has no authority yet"


def _agent_key_rotated(who: str, body: dict[str, Any], names: Names) -> str:
    return f"{names('agent', body['agent'])} replaced its key {body['old']} by {body['new']}"


def _agent_key_revoked(who: str, body: dict[str, Any], names: Names) -> str:
    name = names("agent", body["agent"])
    return f"{who} revoked the key {body['thumbprint']} of {name} from {body['since']} on{_because(body)}"


def _agent_suspended(who: str, body: dict[str, Any], names: Names) -> str:
    return f"{who} suspended {names('agent', body['agent'])}{_because(body)}"


def _agent_resumed(who: str, body: dict[str, Any], names: Names) -> str:
    return f"{who} resumed {names('agent', body['agent'])}{_because(body)}"


def _delegation_issued(who: str, body: dict[str, Any], names: Names) -> str:
    document = body["document"]
    subject = names("agent", document["subject"])
    scope = ", ".join(document["scope"])
    if "parent" in document:
        return f"{who} passed a part of its authority on to {subject}: {scope}, until {document['not_after']}"
    return f"{who} delegated {scope} to {subject}, until {document['not_after']}"


def _delegation_revoked(who: str, body: dict[str, Any], names: Names) -> str:
    return f"{who} revoked the delegation {names('delegation', body['delegation'])}{_because(body)}"


def _tool_registered(who: str, body: dict[str, Any], names: Names) -> str:
    verb = "changed" if "replaces" in body else "registered"
    return f"{who} {verb} the tool {body['tool']} ({fingerprint(body['digest'])})"


def _tool_retired(who: str, body: dict[str, Any], names: Names) -> str:
    return f"{who} took the tool {body['tool']} out of the registry{_because(body)}"


def _policy_activated(who: str, body: dict[str, Any], names: Names) -> str:
    name = body["document"].get("name", "")
    return f"{who} activated policy {body['number']}, “{name}” ({fingerprint(body['policy'])})"


def _pause_set(who: str, body: dict[str, Any], names: Names) -> str:
    return f"{who} paused {_paused(body, names)}{_because(body)}"


def _pause_lifted(who: str, body: dict[str, Any], names: Names) -> str:
    return f"{who} lifted the pause of {_paused(body, names)}{_because(body)}"


def _spend_corrected(who: str, body: dict[str, Any], names: Names) -> str:
    delegation = names("delegation", body["delegation"])
    return f"{who} gave {body['amount']} {body['unit']} back to the delegation {delegation}{_because(body)}"


def _paused(body: dict[str, Any], names: Names) -> str:
    if body["scope"] == "everything":
        return "everything"
    return names("agent", body["target"]) if body["scope"] == "agent" else f"the tool {body['target']}"


def _because(body: dict[str, Any]) -> str:
    return f": {body['reason']}" if body.get("reason") else ""


def _and(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


SENTENCES: dict[str, _Say] = {
    "person.added": _person_added,
    "person.changed": _person_changed,
    "person.key_added": _person_key_added,
    "person.key_revoked": _person_key_revoked,
    "agent.invited": _agent_invited,
    "agent.enrolled": _agent_enrolled,
    "agent.key_rotated": _agent_key_rotated,
    "agent.key_revoked": _agent_key_revoked,
    "agent.suspended": _agent_suspended,
    "agent.resumed": _agent_resumed,
    "delegation.issued": _delegation_issued,
    "delegation.revoked": _delegation_revoked,
    "tool.registered": _tool_registered,
    "tool.retired": _tool_retired,
    "policy.activated": _policy_activated,
    "pause.set": _pause_set,
    "pause.lifted": _pause_lifted,
    "spend.corrected": _spend_corrected,
}


def register() -> None:
    """Hand sentences, names and searches to the log. Called once, when the app is ready."""
    for kind, say in SENTENCES.items():
        kinds.register(kind, _sentence(say))
    kinds.register_names("agent", lambda id: Agent.objects.filter(pk=id).values_list("name", flat=True).first())
    kinds.register_names("person", lambda id: Person.objects.filter(pk=id).values_list("name", flat=True).first())
    kinds.register_names("delegation", _delegation_name)
    kinds.register_search(_search)


def _sentence(say: _Say) -> Callable[[Entry, Names], str]:
    return lambda entry, names: say(actor(entry, names), entry["body"], names)


def _delegation_name(id: str) -> str | None:
    subject = Delegation.objects.filter(pk=id).values_list("subject__name", flat=True).first()
    return None if subject is None else f"{fingerprint(id)} of {subject}"


def _search(text: str) -> Iterable[str]:
    yield from Agent.objects.filter(name__icontains=text).values_list("id", flat=True)[:50]
    yield from Person.objects.filter(name__icontains=text).values_list("id", flat=True)[:50]
