"""The people who exist, in the form the rules about quorums read."""

from __future__ import annotations

from governance.models import ADMIN, Person
from imprimatur.rules.quorum import Candidate


def candidates() -> list[Candidate]:
    """Everybody, with roles and whether they are active."""
    people = Person.objects.select_related("user").prefetch_related("user__groups", "keys").order_by("added_at")
    return [
        Candidate(
            person=person.id,
            roles=frozenset(group.name for group in person.user.groups.all()),
            human=True,
            active=person.user.is_active,
            keys=frozenset(key.fingerprint for key in person.keys.all() if key.revoked_at is None),
            name=person.name,
        )
        for person in people
    ]


def active_admins() -> list[Person]:
    """Everybody who can repair the installation, the longest-serving first."""
    people = Person.objects.select_related("user").filter(user__is_active=True, user__groups__name=ADMIN)
    return list(people.order_by("added_at"))
