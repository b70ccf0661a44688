"""The people who exist, in the form the rules about quorums read."""

from __future__ import annotations

from governance.models import ADMIN, Person
from imprimatur.rules.quorum import Candidate


def candidates() -> list[Candidate]:
    """Everybody, with roles, whether they are active, and the keys in force that they could sign an answer with."""
    people = Person.objects.select_related("user").prefetch_related("user__groups", "keys").order_by("added_at")
    return [
        Candidate(
            person=person.id,
            roles=frozenset(group.name for group in person.user.groups.all()),
            human=True,
            active=person.user.is_active,
            keys=frozenset(key.fingerprint for key in person.keys.all() if key.signs_decisions),
            name=person.name,
            device_bound=frozenset(key.fingerprint for key in person.keys.all() if key.device_bound),
            attested=frozenset(key.fingerprint for key in person.keys.all() if key.attested),
        )
        for person in people
    ]


def active_admins() -> list[Person]:
    """Everybody who can repair the installation, the longest-serving first."""
    people = Person.objects.select_related("user").filter(user__is_active=True, user__groups__name=ADMIN)
    return list(people.order_by("added_at"))
