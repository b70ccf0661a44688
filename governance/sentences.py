"""How the entries of this room read, for people, and what its ids are called."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from audit import kinds
from audit.kinds import Names, actor
from governance.models import Agent, Delegation, Person
from governance.runtime.models import Service
from imprimatur.formats import signing
from imprimatur.formats.digests import fingerprint

Entry = Mapping[str, Any]
_ROLES = {"orchestrator": "orchestrator", "monitor": "monitor", "canary": "canary runner"}
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
    if not changes:  # as logs from before person.login_reset have it
        return f"{who} gave {names('person', body['person'])} a new one-time password"
    return f"{who} changed {names('person', body['person'])}: {_and(changes)}{_because(body)}"


def _person_key_added(who: str, body: dict[str, Any], names: Names) -> str:
    return f"{who} registered the key {body['fingerprint']} of {names('person', body['person'])}"


def _person_login_reset(who: str, body: dict[str, Any], names: Names) -> str:
    what = "a new one-time password" if body["what"] == "password" else "a login without the second factor they had"
    return f"{who} gave {names('person', body['person'])} {what}"


def _person_away(who: str, body: dict[str, Any], names: Names) -> str:
    instead = f"; {names('person', body['delegate'])} is asked instead" if "delegate" in body else ""
    return f"{names('person', body['person'])} is away from {body['from']} until {body['until']}{instead}"


def _person_back(who: str, body: dict[str, Any], names: Names) -> str:
    return f"{names('person', body['person'])} is back"


def _person_key_enrolled(who: str, body: dict[str, Any], names: Names) -> str:
    try:
        said = signing.parse(body["statement"].encode("utf-8"), signing.ENROLMENT)
    except ValueError:
        return f"{who} enrolled a key that cannot be read"
    sort = "an SSH key" if said["kind"] == signing.SSH else "a passkey"
    where = "bound to one device" if said["device_bound"] else "that may be copied between devices"
    return f"{who} enrolled {sort} {where}, {said['key']}, called “{said['label']}”; it waits for a voucher"


def _person_key_vouched(who: str, body: dict[str, Any], names: Names) -> str:
    if "signed" not in body and body.get("first"):
        return f"{who} put their own key {body['fingerprint']} in force, as the first one here"
    flag = ", before three people could take part" if body.get("first") else ""
    return f"{who} vouched for the key {body['fingerprint']} of {names('person', body['person'])}{flag}"


def _person_key_revoked(who: str, body: dict[str, Any], names: Names) -> str:
    name, how = names("person", body["person"]), " as stolen" if body.get("stolen") else ""
    return f"{who} revoked the key {body['fingerprint']} of {name}{how} from {body['since']} on{_because(body)}"


def _change_proposed(who: str, body: dict[str, Any], names: Names) -> str:
    kept = ", to be kept ready for an emergency" if body.get("hold") else ""
    return f"{who} proposed {_change(body, names)}{kept}; it takes a second person"


def _change_seconded(who: str, body: dict[str, Any], names: Names) -> str:
    return f"{who} seconded the change {body['change']}"


def _change_withdrawn(who: str, body: dict[str, Any], names: Names) -> str:
    return f"{who} withdrew the change {body['change']}{_because(body)}"


def _change(body: dict[str, Any], names: Names) -> str:
    document = body["document"]
    if body["act"] == "person.added":
        return f"to add {document.get('name', 'somebody')}"
    if body["act"] == "person.changed":
        return f"to change {names('person', body['subject'])}"
    if body["act"] == "tool.registered":
        return f"{'a new version of' if 'replaces' in document else 'to register'} the tool {body['subject']}"
    return "a new policy"


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


def _service_registered(who: str, body: dict[str, Any], names: Names) -> str:
    said = f"{who} registered the {_ROLES[body['role']]} {body['name']} ({body['thumbprint'][:12]})"
    agents = [names("agent", agent) for agent in body.get("agents", [])]
    return f"{said} with the agents {', '.join(agents)}" if agents else said


def _service_retired(who: str, body: dict[str, Any], names: Names) -> str:
    return f"{who} retired the service {names('service', body['service'])}{_because(body)}"


def _launch_attested(who: str, body: dict[str, Any], names: Names) -> str:
    return f"{who} attested the launch of {names('agent', body['agent'])}"


def _launch_refused(who: str, body: dict[str, Any], names: Names) -> str:
    return f"A launch by {who} was refused: {'; '.join(reason['message'] for reason in body['reasons'][:3])}"


def _launch_ended(who: str, body: dict[str, Any], names: Names) -> str:
    code = f" with status {body['code']}" if "code" in body else ""
    return f"{who} says that the launch {body['launch']} ended{code} ({body['how']})"


def _observation_recorded(who: str, body: dict[str, Any], names: Names) -> str:
    if not body["matched"]:
        return f"{who} saw processes that belong to no launch"
    found = sorted({finding["code"] for finding in body["findings"]})
    return f"{who} saw drift: {', '.join(found)}" if found else f"{who} saw a launch running as it was attested"


def _canary_reported(who: str, body: dict[str, Any], names: Names) -> str:
    told = {
        "PASSED": "every attack was refused for its own reason",
        "WARNED": "the positive control failed, so the run proves nothing",
        "FAILED": "an attack was not refused as it must be",
    }
    return f"{who} ran the canaries: {told[body['result']]}"


def _server_started(who: str, body: dict[str, Any], names: Names) -> str:
    wrong = len(body["packages"]["wrong"])
    damaged = f"; {wrong} installed files are not what was installed" if wrong else ""
    return f"{body['software']} started ({body['process']}){damaged}"


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
    "person.login_reset": _person_login_reset,
    "person.away": _person_away,
    "person.back": _person_back,
    "person.key_added": _person_key_added,
    "person.key_enrolled": _person_key_enrolled,
    "person.key_vouched": _person_key_vouched,
    "person.key_revoked": _person_key_revoked,
    "change.proposed": _change_proposed,
    "change.seconded": _change_seconded,
    "change.withdrawn": _change_withdrawn,
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
    "service.registered": _service_registered,
    "service.retired": _service_retired,
    "launch.attested": _launch_attested,
    "launch.refused": _launch_refused,
    "launch.ended": _launch_ended,
    "observation.recorded": _observation_recorded,
    "canary.reported": _canary_reported,
    "server.started": _server_started,
}


def register() -> None:
    """Hand sentences, names and searches to the log. Called once, when the app is ready."""
    for kind, say in SENTENCES.items():
        kinds.register(kind, _sentence(say))
    kinds.register_names("agent", lambda id: Agent.objects.filter(pk=id).values_list("name", flat=True).first())
    kinds.register_names("person", lambda id: Person.objects.filter(pk=id).values_list("name", flat=True).first())
    kinds.register_names("service", lambda id: Service.objects.filter(pk=id).values_list("name", flat=True).first())
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
