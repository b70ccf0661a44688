"""Two-person administration, as the database says: who ever held a signing key, whether two must agree, who can."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User

from governance import signing_keys
from governance.actors import roles_of
from governance.errors import Refused
from governance.models import ROLES, Change, Person, PersonKey, Policy, Tool
from imprimatur.rules import administration

LIFE = timedelta(days=7)
LONGEST_HOLD = timedelta(days=90)
"""How long a proposal waits for its second person, and how long a change that is held ready may stay so."""

OPEN = (Change.PROPOSED, Change.READY)


def holders() -> frozenset[str]:
    """Everybody who ever held a signing key that counted, whatever became of it."""
    found = PersonKey.objects.filter(purpose=PersonKey.SIGNING, vouched_at__isnull=False)
    return frozenset(found.values_list("person_id", flat=True))


def two_person() -> bool:
    """Whether changes that widen authority take two people here."""
    return administration.two_person(holders())


def must_be_agreed(act: str, body: Mapping[str, Any], change: str | None, roles_before: Collection[str] = ()) -> None:
    """Raise Refused unless this may be done now: one person's act, or exactly what two people have signed.

    ``body`` is what the entry would say, without ``change``. Codes: two-people (nobody else agreed yet), wrong-state
    (the change is another one, or over).
    """
    if change is None:
        if administration.takes_two(act, body, roles_before) and two_person():
            raise Refused(
                "two-people",
                "This takes two people, since two hold signing keys here. Propose it under Changes; somebody else "
                "signs it as well, and then it is done.",
            )
        return
    row = Change.objects.filter(pk=change).first()
    if row is None or row.state != Change.READY or row.seconded_by_id in (None, row.proposed_by_id):
        raise Refused("wrong-state", "Two people have not agreed to this, or it is over.")
    if (row.act, row.document) != (act, dict(body)):
        raise Refused("wrong-state", "This is not what the two people signed. Propose it again.")


def author_of(change: str) -> str:
    """The id of the person who proposed this change. Raises Refused ``not-found``."""
    found = Change.objects.filter(pk=change).values_list("proposed_by_id", flat=True).first()
    if found is None:
        raise Refused("not-found", "There is no such change.")
    return found


def seconders(change: Change) -> list[Person]:
    """Everybody who could second this change now: active admins and reviewers with a key in force, but its author."""
    people = Person.objects.select_related("user").prefetch_related("user__groups", "keys").order_by("name")
    return [person for person in people if why_not_second(change, person) is None]


def why_not_second(change: Change, person: Person) -> str | None:
    """Why this person cannot second it, as a sentence for them, or None."""
    objection = administration.against_second(
        change.proposed_by_id, person.pk, roles_of(person), bool(person.user.is_active)
    )
    if objection is not None:
        return objection.message
    if not signing_keys.may_sign(person):
        return "You have no signing key in force. Enrol one under Your keys."
    return None


def stale(change: Change) -> str | None:
    """Why what a change was made on is no longer so, as a sentence, or None while it is."""
    document = change.document
    if change.act == "policy.activated":
        active = Policy.objects.filter(active=True).first()
        now = (active.digest, active.number) if active else (None, 0)
        if now != (document.get("replaces"), document["number"] - 1):
            return "Another policy came into force since this was proposed. Propose it again, made on that one."
        return None
    if change.act == "tool.registered":
        current = Tool.objects.filter(name=change.subject, current=True).values_list("digest", flat=True).first()
        if current != document.get("replaces"):
            return "This tool was changed since it was proposed. Propose it again, made on how it is now."
        return None
    if change.act == "person.added":
        taken = User.objects.filter(username=change.kept["username"]).exists()
        return "Somebody else has this login by now." if taken else None
    person = Person.objects.select_related("user").filter(pk=change.subject).first()
    if person is None or state_of(person) != change.kept["before"]:
        return "This person was changed since it was proposed. Propose it again, made on how they are now."
    return None


def state_of(person: Person) -> dict[str, Any]:
    """What a proposal about this person is made on. Roles count even while they are switched off."""
    return {"roles": held_roles(person), "active": bool(person.user.is_active), "name": person.name}


def held_roles(person: Person) -> list[str]:
    """The roles this person has, whether or not they are switched on."""
    return sorted(person.user.groups.filter(name__in=ROLES).values_list("name", flat=True))


def over(change: Change, now: datetime) -> bool:
    """Whether its time is over, or it has come to an end."""
    return change.state not in OPEN or change.expires_at <= now


def waiting_for(person: Person, now: datetime) -> int:
    """How many changes wait for this person's signature. For the badge in the navigation."""
    rows = Change.objects.filter(state=Change.PROPOSED, expires_at__gt=now).exclude(proposed_by=person)
    return rows.count() if rows.exists() and _may_second_any(person) else 0


def _may_second_any(person: Person) -> bool:
    return administration.against_second("", person.pk, roles_of(person), bool(person.user.is_active)) is None and (
        signing_keys.may_sign(person)
    )
