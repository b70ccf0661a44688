"""Who there is: the founding roster, people and their roles, and who may write which kind of entry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from imprimatur.formats import canonical, digests, note, signing
from imprimatur.formats.encoding import un_b64u
from imprimatur.rules import administration
from imprimatur.verify import changes, log_keys, rulebook, signatures
from imprimatur.verify.facts import Facts, Person

ROSTER_TAG = "imprimatur/roster/v1"
ADMIN = "admin"
REVIEWER = "reviewer"
CONSOLE = "console"

FOUNDING = frozenset({"log.genesis", "person.added"})
"""What the system may write of its own accord, and only before anything else has happened."""

SSO = "sso"
"""The service that follows what people's groups at the identity provider say of their roles."""

_LOG_KEYS = frozenset({"log.decision_key_changed", "log.key_added", "log.key_retired"})
_ADMIN_ONLY = frozenset(
    {
        "person.added",
        "person.changed",
        "person.login_reset",
        "change.proposed",
        "agent.invited",
        "agent.resumed",
        "tool.registered",
        "tool.retired",
        "policy.activated",
        "pause.lifted",
        "spend.corrected",
        "hold.placed",
        "hold.lifted",
        "service.registered",
        "service.retired",
    }
)
_CONSOLE_MAY = frozenset(
    {
        "person.added",
        "person.changed",
        "person.login_reset",
        "person.key_added",
        "person.key_vouched",
        "person.key_revoked",
        "agent.key_revoked",
        "agent.suspended",
        "agent.resumed",
        *_LOG_KEYS,
    }
)
"""What the operator may do at the console of the machine, where no admin is at hand. Counted, and said in reports."""

_PEOPLE_ONLY = frozenset(
    {
        "person.away",
        "person.back",
        "person.key_added",
        "person.key_enrolled",
        "person.key_vouched",
        "person.key_revoked",
        "change.seconded",
        "agent.suspended",
        "pause.set",
        "vote.cast",
        "vote.recalled",
        "review.claimed",
        "grant.issued",
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
SERVICES_MAY = frozenset(
    {"launch.attested", "launch.refused", "launch.ended", "observation.recorded", "canary.reported"}
)
"""What a registered service writes. Nobody else does, but for a launch that the server gives up for lost."""

RESPONSES = {"drift": "agent.suspended", "canary": "pause.set"}
"""What the server does by itself, in whose name: over what a monitor found, and over a canary that got through."""

_SERVER_NEVER = frozenset({"agent.key_rotated", "delegation.issued", "action.requested"}) | _LOG_KEYS


def end_founding(facts: Facts, entry: Mapping[str, Any]) -> None:
    """The founding ends with the first entry that is not part of it; then the people must be those promised.

    Until then only the system acts, so that nobody's authority is older than the roster that entry 0 commits to.
    """
    if facts.founding and not (entry["kind"] in FOUNDING and entry["actor"]["type"] == "system"):
        close_founding(facts)


def close_founding(facts: Facts) -> None:
    """Hold that the people of the founding are those promised, once."""
    if not facts.founding:
        return
    facts.founding = False
    roster = [{"person": person, "name": known.name, "roles": known.roles} for person, known in facts.people.items()]
    found = digests.tagged(ROSTER_TAG, canonical.dumps(roster))
    facts.hold(found == facts.roster, rulebook.FOUNDING, "the first people are not those that entry 0 commits to")


def check_actor(facts: Facts, entry: Mapping[str, Any]) -> None:
    """The actor exists, is active, and is of the sort that may write this kind. No agent ever widens authority."""
    kind, actor = entry["kind"], entry["actor"]
    rule = rulebook.ACTOR
    if kind != "delegation.issued" and signatures.signed_part(entry["body"]) is None:
        plain = actor.get("assurance", signatures.SESSION) == signatures.SESSION
        plain = plain and (actor["type"] != "person" or "key" not in actor)
        facts.hold(plain, rulebook.EVIDENCE, "it claims a person's key, and nobody signed anything")
    if facts.founding:
        return
    _check_service(facts, entry)
    if actor["type"] == "agent":
        facts.hold(kind in _AGENTS_MAY, rule, f"an agent may not write {kind}")
        if kind != "agent.enrolled":
            facts.hold(actor["id"] in facts.agents, rule, "this agent is not enrolled")
    elif actor["type"] == "person":
        person = facts.people.get(actor["id"])
        facts.hold(person is not None and person.active, rule, "this person is not there, or no longer active")
        # What two people signed, one of the two may put in force: `changes` holds that it is one of them, or an admin.
        admin = kind in _ADMIN_ONLY and not (kind in signing.CHANGES and "change" in entry["body"])
        facts.hold(not admin or (person is not None and ADMIN in person.roles), rule, f"{kind} needs an admin")
        facts.hold(kind not in ("agent.key_rotated", "action.requested"), rule, f"nobody writes {kind} for an agent")
        facts.hold(kind not in _LOG_KEYS, rule, "the log's own keys change at the console and nowhere else")
    elif actor["type"] == "system" and actor["id"] == CONSOLE and kind in _CONSOLE_MAY:
        facts.totals.by_console += 1
    elif actor["type"] == "service" and actor["id"] == SSO and kind == "person.changed":
        pass  # `_changed` holds what it may change
    elif actor["type"] == "system" and RESPONSES.get(actor["id"]) == kind:
        pass  # `responses` holds when it may
    else:
        facts.hold(
            kind not in _ADMIN_ONLY and kind not in _PEOPLE_ONLY and kind not in _SERVER_NEVER,
            rule,
            f"the server itself may not write {kind}: it takes a person or an agent with a key",
        )


def _check_service(facts: Facts, entry: Mapping[str, Any]) -> None:
    """Services write what they attest and nothing else ever, and nobody else writes that. Nor does anybody act in the
    name of the server's own responses."""
    kind, actor, rule = entry["kind"], entry["actor"], rulebook.ACTOR
    if kind in SERVICES_MAY:
        lost = kind == "launch.ended" and actor["type"] == "system"
        facts.hold(actor["type"] == "service" or lost, rule, f"only a service writes {kind}")
    elif actor["type"] == "service":
        own = actor["id"].startswith("sv_") or facts.is_services(actor.get("key", ""))
        facts.hold(not own, rule, f"a service may not write {kind}")
    if actor["type"] == "system" and actor["id"] in RESPONSES:
        does = RESPONSES[actor["id"]]
        facts.hold(kind == does, rulebook.RESPONSE, f"the server answers with {does} here, and never with {kind}")
    if kind == "server.started":
        facts.hold(actor["type"] == "system", rule, "only the server says what it is made of")


def is_admin(facts: Facts, person: str) -> bool:
    """Whether this is an active admin now."""
    known = facts.people.get(person)
    return known is not None and known.active and ADMIN in known.roles


def may_act_for(facts: Facts, actor: Mapping[str, Any], *people: str) -> bool:
    """Whether the actor is one of these, an admin, or the operator at the console."""
    if actor["type"] == "system":
        return bool(actor["id"] == CONSOLE)
    return actor["id"] in people or is_admin(facts, actor["id"])


def two_person(facts: Facts) -> bool:
    """Whether two people sign what widens authority: from the moment two have ever held signing keys."""
    return administration.two_person(facts.holders)


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
    log_keys.hold_continued(facts, body)
    facts.roster, facts.founding_policy = body["roster"], body["policy"]


def _added(facts: Facts, entry: Mapping[str, Any]) -> None:
    body, actor = entry["body"], entry["actor"]
    facts.hold(body["person"] not in facts.people, rulebook.PEOPLE, "this person was added before")
    facts.hold(
        body["person"] not in facts.agents and not body["person"].startswith("ag_"),
        rulebook.PEOPLE,
        "an agent is not a person",
    )
    proposer = changes.put_in_force(facts, entry)
    person = Person(body["name"], list(body["roles"]))
    if proposer or actor["type"] == "person":
        person.introducers = [proposer or actor["id"]]
    facts.people[body["person"]] = person


def _changed(facts: Facts, entry: Mapping[str, Any]) -> None:
    body, actor = entry["body"], entry["actor"]
    person = facts.people.get(body["person"])
    if person is None:
        facts.hold(False, rulebook.PEOPLE, "there is no such person")
        return
    if actor["type"] == "service":
        facts.hold(
            set(body) <= {"person", "roles", "reason"},
            rulebook.ACTOR,
            "single sign-on changes roles and nothing else of a person",
        )
    changes.put_in_force(facts, entry, person.roles)
    if (person.active and body.get("active") is False) or ("roles" in body and set(person.roles) - set(body["roles"])):
        facts.revocations[str(facts.index)] = entry["kind"]
    person.roles = list(body.get("roles", person.roles))
    person.active = body.get("active", person.active)
    person.name = body.get("name", person.name)


def _login_reset(facts: Facts, entry: Mapping[str, Any]) -> None:
    """Whoever resets a login could sit at it: they vouch for nothing of this person's, and what waited for a voucher
    is void."""
    person, actor = facts.people.get(entry["body"]["person"]), entry["actor"]
    if person is None:
        facts.hold(False, rulebook.PEOPLE, "there is no such person")
        return
    if actor["type"] == "person" and actor["id"] not in person.introducers:
        person.introducers.append(actor["id"])
    for key in person.keys.values():
        key.lapsed = key.lapsed or (key.purpose == "signing" and not key.vouched)


def _away(facts: Facts, entry: Mapping[str, Any]) -> None:
    body = entry["body"]
    _check_own(facts, entry)
    facts.hold(facts.now < body["until"] and body["from"] < body["until"], rulebook.PEOPLE, "it is over already")
    delegate = body.get("delegate")
    facts.hold(
        delegate is None or (delegate in facts.people and delegate != body["person"]),
        rulebook.PEOPLE,
        "who stands in is another person",
    )


def _check_own(facts: Facts, entry: Mapping[str, Any]) -> None:
    person = entry["body"]["person"]
    facts.hold(person in facts.people, rulebook.PEOPLE, "there is no such person")
    may = may_act_for(facts, entry["actor"], person)
    facts.hold(may, rulebook.ACTOR, "only the person or an admin says whether they are away")


HANDLERS: dict[str, Callable[[Facts, Mapping[str, Any]], None]] = {
    "log.genesis": _genesis,
    "person.added": _added,
    "person.changed": _changed,
    "person.login_reset": _login_reset,
    "person.away": _away,
    "person.back": _check_own,
}
