"""Change a person's roles or name, or switch them off (and on again)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.contrib.sessions.models import Session

from audit.log import Appended, Writer
from governance import cascade, changes
from governance.actions.add_person import actor_of, check_roles, set_roles
from governance.actors import must_be_admin, roles_of
from governance.errors import Refused
from governance.models import ADMIN, Delegation, Person
from imprimatur.formats.timestamps import format_time


@dataclass(frozen=True)
class Command:
    """What is None stays as it is. ``change`` names the change that two people signed, where that is needed."""

    person: Person
    roles: tuple[str, ...] | None = None
    active: bool | None = None
    name: str | None = None
    reason: str = ""
    by: Person | None = None
    change: str | None = None


def apply(writer: Writer, command: Command) -> Appended:
    """Write the change. Switching a person off ends their sessions and kills, for good, every delegation they issued.

    The last active admin cannot be switched off or lose the role, or nobody could ever repair it.
    Raises Refused: not-allowed, invalid, conflict (nothing would change, or the last admin), two-people (more roles,
    switched on or renamed, once two people hold signing keys), wrong-state (the change is another one).
    """
    if command.by is not None:
        must_be_admin(command.by)
    person = Person.objects.select_related("user").get(pk=command.person.pk)
    body = planned(person, command.roles, command.active, command.name, command.reason)
    changes.must_be_agreed("person.changed", body, command.change, changes.held_roles(person))
    if "roles" in body:
        set_roles(person, tuple(body["roles"]))
    if "name" in body:
        person.name = body["name"]
        person.save(update_fields=["name"])
    if "active" in body:
        person.user.is_active = body["active"]
        person.user.save(update_fields=["is_active"])
    # First what falls, then the change itself: who switches themselves off acts for the last time.
    fallen = _revoke_issued(writer, person, command) if body.get("active") is False else []
    written = body if command.change is None else {**body, "change": command.change}
    entry = writer.append("person.changed", subject=person.id, actor=actor_of(command.by), body=written)
    if body.get("active") is False:
        _end_sessions(writer, person)
        keys = dict.fromkeys(person.keys.values_list("fingerprint", flat=True), writer.now)
        cascade.sweep(writer, entry, keys=keys, delegations=fallen)
    return entry


def planned(
    person: Person,
    roles: Collection[str] | None = None,
    active: bool | None = None,
    name: str | None = None,
    reason: str = "",
) -> dict[str, Any]:
    """What the entry would say: what changes. Raises Refused: invalid, conflict (nothing would, or the last admin)."""
    before = changes.held_roles(person)
    body: dict[str, Any] = {"person": person.id}
    if roles is not None:
        check_roles(tuple(roles))
        if sorted(set(roles)) != before:
            body["roles"] = sorted(set(roles))
    if active is not None and active != person.user.is_active:
        body["active"] = active
    if name is not None and name != person.name:
        if not name.strip() or len(name) > 120:
            raise Refused("invalid", "A person needs a name of at most 120 characters.")
        body["name"] = name
    if len(body) == 1:
        raise Refused("conflict", "Nothing would change.")
    stays_admin = ADMIN in body.get("roles", before) and body.get("active", person.user.is_active)
    if ADMIN in roles_of(person) and not stays_admin and not _other_admins(person):
        raise Refused("conflict", f"{person.name} is the only active admin. Make somebody else an admin first.")
    return {**body, "reason": reason} if reason else body


def _other_admins(person: Person) -> bool:
    return Person.objects.filter(user__is_active=True, user__groups__name=ADMIN).exclude(pk=person.pk).exists()


def _end_sessions(writer: Writer, person: Person) -> None:
    for session in Session.objects.filter(expire_date__gt=writer.now).iterator():
        if session.get_decoded().get("_auth_user_id") == str(person.user_id):
            session.delete()


def _revoke_issued(writer: Writer, person: Person, command: Command) -> list[str]:
    """Written down one by one, so that switching the person on again does not bring anything back to life."""
    issued = Delegation.objects.filter(issuer_person=person, revoked_at__isnull=True, not_after__gt=writer.now)
    reason, actor = f"{person.name} was switched off", actor_of(command.by)
    ids = sorted(issued.values_list("id", flat=True))
    for delegation_id in ids:
        writer.append(
            "delegation.revoked",
            subject=delegation_id,
            actor=actor,
            body={"delegation": delegation_id, "reason": reason, "since": format_time(writer.now)},
        )
    Delegation.objects.filter(id__in=ids).update(revoked_at=writer.now, revoked_by=actor.id, revoked_reason=reason)
    return ids
