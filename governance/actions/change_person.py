"""Change a person's roles or name, or switch them off (and on again)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib.sessions.models import Session

from audit.log import Appended, Writer
from governance import cascade
from governance.actions.add_person import actor_of, check_roles, set_roles
from governance.actors import must_be_admin, roles_of
from governance.errors import Refused
from governance.models import ADMIN, Delegation, Person
from imprimatur.formats.timestamps import format_time


@dataclass(frozen=True)
class Command:
    """What is None stays as it is."""

    person: Person
    roles: tuple[str, ...] | None = None
    active: bool | None = None
    name: str | None = None
    reason: str = ""
    by: Person | None = None


def apply(writer: Writer, command: Command) -> Appended:
    """Write the change. Switching a person off ends their sessions and kills, for good, every delegation they issued.

    The last active admin cannot be switched off or lose the role, or nobody could ever repair it.
    Raises Refused: not-allowed, invalid, conflict (nothing would change, or the last admin).
    """
    if command.by is not None:
        must_be_admin(command.by)
    person = Person.objects.select_related("user").get(pk=command.person.pk)
    before = frozenset(person.user.groups.values_list("name", flat=True))
    body: dict[str, Any] = {"person": person.id}
    if command.roles is not None:
        check_roles(command.roles)
        body["roles"] = sorted(set(command.roles))
    if command.active is not None and command.active != person.user.is_active:
        body["active"] = command.active
    if command.name is not None and command.name != person.name:
        if not command.name.strip() or len(command.name) > 120:
            raise Refused("invalid", "A person needs a name of at most 120 characters.")
        body["name"] = command.name
    if body.get("roles") == sorted(before):
        del body["roles"]
    if len(body) == 1:
        raise Refused("conflict", "Nothing would change.")
    stays_admin = ADMIN in body.get("roles", before) and body.get("active", person.user.is_active)
    if ADMIN in roles_of(person) and not stays_admin and not _other_admins(person):
        raise Refused("conflict", f"{person.name} is the only active admin. Make somebody else an admin first.")
    if command.reason:
        body["reason"] = command.reason
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
    entry = writer.append("person.changed", subject=person.id, actor=actor_of(command.by), body=body)
    if body.get("active") is False:
        _end_sessions(writer, person)
        keys = dict.fromkeys(person.keys.values_list("fingerprint", flat=True), writer.now)
        cascade.sweep(writer, entry, keys=keys, delegations=fallen)
    return entry


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
