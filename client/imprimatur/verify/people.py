"""Who there is: the founding roster, people, their roles and keys, and who may write which kind of entry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from imprimatur.formats import canonical, digests, note, sshsig
from imprimatur.formats.encoding import un_b64u
from imprimatur.verify import rulebook
from imprimatur.verify.facts import Facts, Person, PersonKey

ROSTER_TAG = "imprimatur/roster/v1"
ADMIN = "admin"
REVIEWER = "reviewer"
CONSOLE = "console"

FOUNDING = frozenset({"log.genesis", "person.added"})
"""What the system may write of its own accord, and only before anything else has happened."""

_ADMIN_ONLY = frozenset(
    {
        "person.added",
        "person.changed",
        "agent.invited",
        "agent.resumed",
        "tool.registered",
        "tool.retired",
        "policy.activated",
        "pause.lifted",
        "spend.corrected",
    }
)
_CONSOLE_MAY = frozenset(
    {
        "person.added",
        "person.changed",
        "person.key_added",
        "person.key_revoked",
        "agent.key_revoked",
        "agent.suspended",
        "agent.resumed",
    }
)
"""What the operator may do at the console of the machine, where no admin is at hand. Counted, and said in reports."""

_PEOPLE_ONLY = frozenset(
    {
        "person.key_added",
        "person.key_revoked",
        "agent.suspended",
        "pause.set",
        "vote.cast",
        "vote.recalled",
        "action.looked_over",
    }
)
_AGENTS_MAY = frozenset(
    {
        "agent.enrolled",
        "agent.key_rotated",
        "agent.key_revoked",
        "delegation.issued",
        "delegation.revoked",
        "action.requested",
        "action.decided",
        "action.withdrawn",
        "action.redeemed",
        "action.reported",
        "comment.added",
    }
)
_SERVER_NEVER = frozenset({"agent.key_rotated", "delegation.issued", "action.requested"})


def end_founding(facts: Facts, entry: Mapping[str, Any]) -> None:
    """The founding ends with the first entry that is not part of it; then the people must be those promised.

    Until then only the system acts, so that nobody's authority is older than the roster that entry 0 commits to.
    """
    if not facts.founding or (entry["kind"] in FOUNDING and entry["actor"]["type"] == "system"):
        return
    facts.founding = False
    roster = [{"person": person, "name": known.name, "roles": known.roles} for person, known in facts.people.items()]
    found = digests.tagged(ROSTER_TAG, canonical.dumps(roster))
    facts.hold(found == facts.roster, rulebook.FOUNDING, "the first people are not those that entry 0 commits to")


def check_actor(facts: Facts, entry: Mapping[str, Any]) -> None:
    """The actor exists, is active, and is of the sort that may write this kind. No agent ever widens authority."""
    kind, actor = entry["kind"], entry["actor"]
    rule = rulebook.ACTOR
    if facts.founding:
        return
    if actor["type"] == "agent":
        facts.hold(kind in _AGENTS_MAY, rule, f"an agent may not write {kind}")
        if kind != "agent.enrolled":
            facts.hold(actor["id"] in facts.agents, rule, "this agent is not enrolled")
    elif actor["type"] == "person":
        person = facts.people.get(actor["id"])
        facts.hold(person is not None and person.active, rule, "this person is not there, or no longer active")
        facts.hold(
            kind not in _ADMIN_ONLY or (person is not None and ADMIN in person.roles), rule, f"{kind} needs an admin"
        )
        facts.hold(kind not in ("agent.key_rotated", "action.requested"), rule, f"nobody writes {kind} for an agent")
    elif actor["type"] == "system" and actor["id"] == CONSOLE and kind in _CONSOLE_MAY:
        facts.totals.by_console += 1
    else:
        facts.hold(
            kind not in _ADMIN_ONLY and kind not in _PEOPLE_ONLY and kind not in _SERVER_NEVER,
            rule,
            f"the server itself may not write {kind}: it takes a person or an agent with a key",
        )


def is_admin(facts: Facts, person: str) -> bool:
    """Whether this is an active admin now."""
    known = facts.people.get(person)
    return known is not None and known.active and ADMIN in known.roles


def may_act_for(facts: Facts, actor: Mapping[str, Any], *people: str) -> bool:
    """Whether the actor is one of these, an admin, or the operator at the console."""
    if actor["type"] == "system":
        return bool(actor["id"] == CONSOLE)
    return actor["id"] in people or is_admin(facts, actor["id"])


def key_in_force(facts: Facts, person: str, fingerprint: str) -> PersonKey | None:
    """A person's key that is not revoked now, or None."""
    known = facts.people.get(person)
    key = known.keys.get(fingerprint) if known is not None else None
    return key if key is not None and not key.revoked_since else None


def _genesis(facts: Facts, entry: Mapping[str, Any]) -> None:
    body = entry["body"]
    facts.hold(entry["actor"]["type"] == "system", rulebook.GENESIS, "only the system begins a log")
    try:
        vkey = note.Vkey.parse(body["log_vkey"])
    except note.NoteError as error:
        facts.hold(False, rulebook.GENESIS, f"the log's verifier key cannot be read: {error}")
        return
    facts.hold(vkey.name == facts.realm, rulebook.REALM, "the log key is named after another realm")
    facts.hold(
        vkey.algorithm == note.ED25519 and vkey.public_key != un_b64u(body["decision_key"]["public"]),
        rulebook.GENESIS,
        "the log key is the decision key: one key never has two purposes",
    )
    facts.roster, facts.founding_policy = body["roster"], body["policy"]


def _added(facts: Facts, entry: Mapping[str, Any]) -> None:
    body = entry["body"]
    facts.hold(body["person"] not in facts.people, rulebook.PEOPLE, "this person was added before")
    facts.hold(
        body["person"] not in facts.agents and not body["person"].startswith("ag_"),
        rulebook.PEOPLE,
        "an agent is not a person",
    )
    facts.people[body["person"]] = Person(body["name"], list(body["roles"]))


def _changed(facts: Facts, entry: Mapping[str, Any]) -> None:
    body = entry["body"]
    person = facts.people.get(body["person"])
    if person is None:
        facts.hold(False, rulebook.PEOPLE, "there is no such person")
        return
    if (person.active and body.get("active") is False) or ("roles" in body and set(person.roles) - set(body["roles"])):
        facts.revocations[str(facts.index)] = entry["kind"]
    person.roles = list(body.get("roles", person.roles))
    person.active = body.get("active", person.active)
    person.name = body.get("name", person.name)


def _key_added(facts: Facts, entry: Mapping[str, Any]) -> None:
    body, rule = entry["body"], rulebook.PERSON_KEY
    person = facts.people.get(body["person"])
    if person is None:
        facts.hold(False, rulebook.PEOPLE, "there is no such person")
        return
    try:
        key = sshsig.parse_public_key(body["key"])
    except sshsig.SshSigError as error:
        facts.hold(False, rule, str(error))
        return
    facts.hold(key.fingerprint == body["fingerprint"], rule, "the fingerprint is of another key")
    facts.hold(body["fingerprint"] not in facts.person_keys, rule, "this key was registered before")
    actor = entry["actor"]
    # Whoever registers a key can sign with it: not even another admin does it for them.
    facts.hold(
        actor["id"] == (CONSOLE if actor["type"] == "system" else body["person"]),
        rulebook.ACTOR,
        "only the person, or the operator at the console, registers a key of theirs",
    )
    person.keys[body["fingerprint"]] = PersonKey(body["key"])
    facts.person_keys[body["fingerprint"]] = body["person"]


def _key_revoked(facts: Facts, entry: Mapping[str, Any]) -> None:
    body, rule = entry["body"], rulebook.PERSON_KEY
    person = facts.people.get(body["person"])
    key = person.keys.get(body["fingerprint"]) if person is not None else None
    if key is None:
        facts.hold(False, rule, "this person has no such key")
        return
    facts.hold(
        not key.revoked_since or body["since"] < key.revoked_since, rule, "the key is revoked from an earlier time"
    )
    facts.hold(body["since"] <= facts.now, rule, "a revocation cannot begin in the future")
    actor = entry["actor"]
    facts.hold(
        may_act_for(facts, actor, body["person"]),
        rulebook.ACTOR,
        "only the person or an admin revokes a key",
    )
    key.revoked_since = body["since"]
    facts.revocations[str(facts.index)] = entry["kind"]


HANDLERS: dict[str, Callable[[Facts, Mapping[str, Any]], None]] = {
    "log.genesis": _genesis,
    "person.added": _added,
    "person.changed": _changed,
    "person.key_added": _key_added,
    "person.key_revoked": _key_revoked,
}
