"""Follow what a person's groups at the identity provider say about their roles, as far as it may be followed alone."""

from __future__ import annotations

from dataclasses import dataclass

from audit.log import Actor, Appended, Writer
from governance.actions.add_person import check_roles, set_roles
from governance.actors import roles_of
from governance.changes import two_person
from governance.errors import Refused
from governance.models import ADMIN, ROLES, Person

SERVICE = Actor("service", "sso")
REASON = "groups of the single sign-on"


@dataclass(frozen=True)
class Command:
    """``claimed``: the roles the groups name. ``managed``: the roles the mapping knows; no other is touched."""

    person: Person
    claimed: frozenset[str]
    managed: frozenset[str]


@dataclass(frozen=True)
class Result:
    """``entry`` is None when nothing changed. ``waiting``: named, but two people have to give them."""

    entry: Appended | None
    added: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()
    waiting: frozenset[str] = frozenset()
    last_admin: bool = False


def apply(writer: Writer, command: Command) -> Result:
    """Take away at once what the groups no longer name; add what they name only while one person may add it alone.

    The last active admin stays one, or nobody could ever repair it. Raises Refused: invalid, not-allowed (inactive).
    """
    check_roles(tuple(command.claimed | command.managed))
    person = Person.objects.select_related("user").get(pk=command.person.pk)
    if not person.user.is_active:
        raise Refused("not-allowed", f"{person.name} is switched off.")
    held = roles_of(person) & frozenset(ROLES)  # a login may be in groups that are no roles, and no business of the log
    lost = (held & command.managed) - command.claimed
    named = (command.claimed & command.managed) - held
    last_admin = ADMIN in lost and not _other_admins(person)
    removed = lost - {ADMIN} if last_admin else lost
    nobody: frozenset[str] = frozenset()
    added, waiting = (nobody, named) if two_person() else (named, nobody)
    if not removed and not added:
        return Result(None, waiting=waiting, last_admin=last_admin)
    roles = sorted((held - removed) | added)
    set_roles(person, tuple(roles))
    entry = writer.append(
        "person.changed",
        subject=person.id,
        actor=SERVICE,
        body={"person": person.id, "roles": roles, "reason": REASON},
    )
    return Result(entry, added, removed, waiting, last_admin)


def _other_admins(person: Person) -> bool:
    return Person.objects.filter(user__is_active=True, user__groups__name=ADMIN).exclude(pk=person.pk).exists()
