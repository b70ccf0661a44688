"""How a person or an agent appears as the actor of a log entry."""

from __future__ import annotations

from audit.log import CONSOLE, Actor
from governance.errors import Refused
from governance.models import ADMIN, Agent, Person

__all__ = [
    "CONSOLE",
    "SESSION",
    "agent_actor",
    "must_be",
    "must_be_active",
    "must_be_admin",
    "person_actor",
    "roles_of",
]

SESSION = "H0"  # the assurance of a click in a session, or of an operator at the console


def person_actor(person: Person, *, key: str = "", assurance: str = SESSION) -> Actor:
    """A person; ``key`` is the fingerprint or credential that signed, if one did."""
    return Actor("person", person.id, key=key, assurance=assurance)


def agent_actor(agent: Agent, *, key: str = "") -> Actor:
    """An agent, with the thumbprint of the key that signed its request."""
    return Actor("agent", agent.id, key=key)


def roles_of(person: Person) -> frozenset[str]:
    """The roles a person holds now. Somebody who is not active holds none."""
    if not person.user.is_active:
        return frozenset()
    return frozenset(person.user.groups.values_list("name", flat=True))


def must_be_active(person: Person) -> None:
    """Raise Refused(not-allowed) for somebody who was switched off, as the database says now.

    Pages ask before; this asks under the lock, for what needs no role because it is one's own.
    """
    person.user.refresh_from_db(fields=["is_active"])
    if not person.user.is_active:
        raise Refused("not-allowed", "Your account is not active.")


def must_be(person: Person, *roles: str) -> None:
    """Raise Refused(not-allowed) unless the person is active and holds one of the roles, as the database says now."""
    person.user.refresh_from_db(fields=["is_active"])
    if not roles_of(person) & set(roles):
        raise Refused("not-allowed", f"Only somebody with the role {' or '.join(roles)} may do this.")


def must_be_admin(person: Person) -> None:
    """Raise Refused(not-allowed) unless the person is an active admin."""
    must_be(person, ADMIN)
