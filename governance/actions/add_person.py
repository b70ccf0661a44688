"""Add a person with a login and roles."""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group, User

from audit.log import Actor, Appended, Writer
from governance import changes
from governance.actors import CONSOLE, must_be_admin, person_actor
from governance.errors import Refused
from governance.models import ROLES, Person
from imprimatur.formats.ids import is_id, new_id

_USERNAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,59}")
NO_LOOKALIKES = "abcdefghjkmnpqrstuvwxyz23456789"


@dataclass(frozen=True)
class Command:
    """``password`` is hashed already (slow on purpose, so never under the lock). ``by`` None: the console.

    ``change`` names the change that two people signed, where that is needed, and ``login`` is the commitment to the
    login in it.
    """

    username: str
    name: str
    roles: tuple[str, ...]
    password: str
    email: str = ""
    must_change_password: bool = True
    by: Person | None = None
    person_id: str = ""
    login: str = ""
    change: str | None = None


@dataclass(frozen=True)
class Result:
    person: Person
    entry: Appended


def new(
    username: str,
    roles: tuple[str, ...] = (),
    *,
    name: str = "",
    email: str = "",
    by: Person | None = None,
    person_id: str = "",
) -> tuple[Command, str]:
    """A command and the one-time password that goes with it: shown once, stored only as a hash."""
    password = one_time_password()
    command = Command(
        username=username,
        name=name or username.replace(".", " ").title(),
        roles=roles,
        password=make_password(password),
        email=email,
        by=by,
        person_id=person_id,
    )
    return command, password


def one_time_password() -> str:
    """Twenty characters in five groups, 99 bits, none of which looks like another."""
    return "-".join("".join(secrets.choice(NO_LOOKALIKES) for _ in range(4)) for _ in range(5))


def apply(writer: Writer, command: Command) -> Result:
    """Create login and person. Whoever adds somebody never vouches for them: they know the one-time password.

    Raises Refused: not-allowed (``by`` is no admin), invalid, conflict (login taken), two-people (somebody with a role,
    once two people hold signing keys), wrong-state (the change is another one).
    """
    if command.by is not None:
        must_be_admin(command.by)
    person_id = command.person_id or new_id("pe", writer.now)
    body = planned(person_id, command.username, command.name, command.roles, command.login)
    changes.must_be_agreed("person.added", body, command.change)
    user = User.objects.create(
        username=command.username, email=command.email, password=command.password, date_joined=writer.now
    )
    person = Person.objects.create(
        id=person_id,
        user=user,
        name=command.name,
        must_change_password=command.must_change_password,
        added_at=writer.now,
        introducers=_introducers(command),
    )
    set_roles(person, command.roles)
    entry = writer.append(
        "person.added",
        subject=person.id,
        actor=actor_of(command.by),
        body=body if command.change is None else {**body, "change": command.change},
    )
    return Result(person, entry)


def _introducers(command: Command) -> list[str]:
    """Whoever made this login. Of a change that two people signed that is its author, whoever puts it in force: the
    author chose login and address, and may have signed in with them before anybody looks."""
    if command.change is not None:
        return [changes.author_of(command.change)]
    return [command.by.pk] if command.by else []


def planned(person_id: str, username: str, name: str, roles: Collection[str], login: str = "") -> dict[str, Any]:
    """What the entry would say. Raises Refused: invalid, conflict (the login is taken)."""
    if not _USERNAME.fullmatch(username):
        raise Refused("invalid", "A login name has lower-case letters, digits, dots, dashes and underscores.")
    if not name.strip() or len(name) > 120:
        raise Refused("invalid", "A person needs a name of at most 120 characters.")
    check_roles(tuple(roles))
    if User.objects.filter(username=username).exists():
        raise Refused("conflict", f"There is somebody with the login {username} already.")
    if not is_id("pe", person_id) or Person.objects.filter(pk=person_id).exists():
        raise Refused("invalid", "This is not a free person id.")
    body = {"person": person_id, "name": name, "roles": sorted(set(roles))}
    return {**body, "login": login} if login else body


def check_roles(roles: tuple[str, ...]) -> None:
    """Raise Refused(invalid) for a role that does not exist."""
    unknown = sorted(set(roles) - set(ROLES))
    if unknown:
        raise Refused("invalid", f"There is no role {unknown[0]}. Roles are {', '.join(ROLES)}.")


def set_roles(person: Person, roles: tuple[str, ...]) -> None:
    """Make these the person's roles, and no others. Other groups of the login are left alone."""
    wanted = {Group.objects.get_or_create(name=role)[0] for role in roles}
    others = [group for group in person.user.groups.all() if group.name not in ROLES]
    person.user.groups.set([*others, *wanted])


def actor_of(by: Person | None) -> Actor:
    """The person who did it, or the operator at the console (who holds the machine, and is named as such)."""
    return person_actor(by) if by is not None else CONSOLE
