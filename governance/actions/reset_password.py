"""Give somebody who lost their password a new one-time password, and end their sessions."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.hashers import make_password

from audit.log import Appended, Writer
from governance.actions.add_person import actor_of, one_time_password
from governance.actors import must_be_admin
from governance.models import Person

REASON = "one-time password"


@dataclass(frozen=True)
class Command:
    """``password`` is hashed already (slow on purpose, so never under the lock). ``by`` None: the console."""

    person: Person
    password: str
    by: Person | None = None


def new(person: Person, by: Person | None = None) -> tuple[Command, str]:
    """A command and the one-time password that goes with it: shown once, stored only as a hash."""
    password = one_time_password()
    return Command(person, make_password(password), by), password


def apply(writer: Writer, command: Command) -> Appended:
    """Write the new hash; sessions end with the old one. The log says that it happened, and never what it is.

    Raises Refused: not-allowed (``by`` is no admin).
    """
    if command.by is not None:
        must_be_admin(command.by)
    person = Person.objects.select_related("user").get(pk=command.person.pk)
    person.user.password = command.password
    person.user.save(update_fields=["password"])
    person.must_change_password = True
    person.save(update_fields=["must_change_password"])
    return writer.append(
        "person.changed",
        subject=person.id,
        actor=actor_of(command.by),
        body={"person": person.id, "reason": REASON},
    )
