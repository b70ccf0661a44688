"""Two-person administration: what widens authority is proposed by one, seconded by another, and done as they signed it.

A change is put in force by the entry of the act itself, which names it. What only takes authority away needs none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from typing import Any

from imprimatur.formats import signing
from imprimatur.formats.timestamps import format_time, parse_time
from imprimatur.rules import administration
from imprimatur.verify import rulebook, signatures
from imprimatur.verify.facts import Change, Facts

OPEN_FOR = timedelta(days=7)
HELD_FOR = timedelta(days=90)
"""How long a proposal waits for its second, and how long a held one waits for its emergency."""

_ADMIN = administration.ADMIN


def put_in_force(facts: Facts, entry: Mapping[str, Any], roles_before: Collection[str] = ()) -> str:
    """Hold that what takes two people was signed by two, and use the change up. Returns who proposed it, or ""."""
    body, rule = entry["body"], rulebook.TWO_PEOPLE
    name = body.get("change")
    if name is None:
        alone = not administration.two_person(facts.holders)
        alone = alone or not administration.takes_two(entry["kind"], body, roles_before)
        facts.hold(alone, rule, "two people sign this, and no change that they signed is named")
        return ""
    change = facts.changes.get(name)
    if change is None:
        facts.hold(False, rule, "there is no such change, or it was used or withdrawn")
        raise AssertionError  # hold has raised
    facts.hold(change.seconded, rule, "nobody has seconded the change")
    facts.hold(facts.now <= change.expires_at, rule, "the change has expired")
    facts.hold(
        (change.act, change.subject) == (entry["kind"], entry["subject"]), rule, "the change is about something else"
    )
    done = {field: value for field, value in body.items() if field != "change"}
    facts.hold(done == change.document, rule, "it is not what the two people signed")
    actor = entry["actor"]
    known = facts.people.get(actor["id"]) if actor["type"] == "person" else None
    involved = not change.hold and actor["id"] in (change.proposer, change.seconder)
    facts.hold(
        known is not None and (involved or _ADMIN in known.roles),
        rulebook.ACTOR,
        "only an admin, or one of the two who signed it, puts a change in force",
    )
    for person, key, then in (
        (change.proposer, change.key, change.proposed),
        (change.seconder, change.second_key, change.seconded),
    ):
        facts.hold(
            signatures.key_counts_then(facts, person, key, then),
            rule,
            "a key that signed the change was revoked from before that time",
        )
    _end(facts, name)
    facts.totals.by_two += 1
    return change.proposer


def _proposed(facts: Facts, entry: Mapping[str, Any]) -> None:
    body, rule = entry["body"], rulebook.TWO_PEOPLE
    name, hold = body["change"], body.get("hold")
    facts.hold(name not in facts.changes and name not in facts.ended_changes, rule, "this change was proposed before")
    facts.hold(hold is not False, rulebook.ENTRY, "what is not held does not say so")
    longest = HELD_FOR if hold else OPEN_FOR
    facts.hold(
        facts.now < body["expires_at"] <= format_time(parse_time(facts.now) + longest + signatures.GRACE),
        rule,
        f"a proposal stands for {longest.days} days at most",
    )
    wanted = _wanted(body["act"], body["subject"], body["document"], hold)
    _, proven = signatures.signed(facts, entry, signing.CHANGE, {"role": "propose", "change": name, **wanted})
    facts.changes[name] = Change(
        act=body["act"],
        subject=body["subject"],
        document=dict(body["document"]),
        hold=bool(hold),
        expires_at=body["expires_at"],
        proposer=entry["actor"]["id"],
        key=proven.key,
        proposed=facts.now,
    )


def _seconded(facts: Facts, entry: Mapping[str, Any]) -> None:
    name, rule, actor = entry["body"]["change"], rulebook.TWO_PEOPLE, entry["actor"]
    change = facts.changes.get(name)
    if change is None:
        facts.hold(False, rule, "there is no such change, or it was used or withdrawn")
        return
    facts.hold(not change.seconded, rule, "the change was seconded before")
    facts.hold(facts.now <= change.expires_at, rule, "the change has expired")
    person = facts.people[actor["id"]]
    objection = administration.against_second(change.proposer, actor["id"], person.roles, person.active)
    facts.hold(objection is None, rule, objection.message if objection else "")
    wanted = _wanted(change.act, change.subject, change.document, True if change.hold else None)
    _, proven = signatures.signed(facts, entry, signing.CHANGE, {"role": "second", "change": name, **wanted})
    facts.hold(proven.key != change.key, rule, "both signatures are by the same key")
    change.seconder, change.second_key, change.seconded = actor["id"], proven.key, facts.now


def _withdrawn(facts: Facts, entry: Mapping[str, Any]) -> None:
    name, actor = entry["body"]["change"], entry["actor"]
    change = facts.changes.get(name)
    if change is None:
        facts.hold(False, rulebook.TWO_PEOPLE, "there is no such change, or it was used or withdrawn")
        return
    if actor["type"] == "person":
        facts.hold(
            actor["id"] == change.proposer or _ADMIN in facts.people[actor["id"]].roles,
            rulebook.ACTOR,
            "only an admin or whoever proposed it withdraws a change",
        )
    _end(facts, name)


def _wanted(act: str, subject: str, document: Mapping[str, Any], hold: bool | None) -> dict[str, Any]:
    return {"act": act, "subject": subject, "document": signing.document_digest(document), "hold": hold}


def _end(facts: Facts, name: str) -> None:
    facts.ended_changes[name] = facts.now
    del facts.changes[name]


HANDLERS: dict[str, Callable[[Facts, Mapping[str, Any]], None]] = {
    "change.proposed": _proposed,
    "change.seconded": _seconded,
    "change.withdrawn": _withdrawn,
}
