"""Let somebody in again who lost their password or their second factor. It says nothing about their signing keys.

Whoever resets a login could be sitting at it. So they never vouch for a key that is enrolled from then on, and what
waited for a voucher lapses.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.hashers import make_password

from audit.log import Appended, Writer
from governance import logins
from governance.actions.add_person import actor_of, one_time_password
from governance.actors import must_be_admin
from governance.errors import Refused
from governance.models import Person, PersonKey

PASSWORD, SECOND_FACTOR = "password", "second-factor"


@dataclass(frozen=True)
class Command:
    """``what`` is ``password`` or ``second-factor``. ``password`` is hashed already (slow on purpose, so never under
    the lock), and only there for the former. ``by`` is an admin; None: the console."""

    person: Person
    what: str
    password: str = ""
    by: Person | None = None


def new_password(person: Person, by: Person | None = None) -> tuple[Command, str]:
    """A command and the one-time password that goes with it: shown once, stored only as a hash."""
    password = one_time_password()
    return Command(person, PASSWORD, make_password(password), by), password


def apply(writer: Writer, command: Command) -> Appended:
    """Reset it and end the person's sessions. The log says that it happened, and never what the password is.

    Signing keys in force stay: they are the person's own, and no login opens them.
    Raises Refused: not-allowed (``by`` is no admin), invalid.
    """
    if command.by is not None:
        must_be_admin(command.by)
        if command.by.pk == command.person.pk:
            raise Refused("not-allowed", "Change your own password and second factor under Your account.")
    if command.what not in (PASSWORD, SECOND_FACTOR) or bool(command.password) != (command.what == PASSWORD):
        raise Refused("invalid", "Reset the password, giving a new one, or the second factor.")
    person = Person.objects.select_related("user").get(pk=command.person.pk)
    if command.what == PASSWORD:
        person.user.password = command.password
        person.user.save(update_fields=["password"])
        person.must_change_password = True
        logins.end_sessions(person.user)
    else:
        logins.forget_second_factors(person.user)
    if command.by is not None and command.by.pk not in person.introducers:
        person.introducers = [*person.introducers, command.by.pk]
    person.save(update_fields=["must_change_password", "introducers"])
    lapse(writer, person)
    return writer.append(
        "person.login_reset",
        subject=person.id,
        actor=actor_of(command.by),
        body={"person": person.id, "what": command.what},
    )


def lapse(writer: Writer, person: Person) -> None:
    """End what was begun in the person's name and does not count yet: keys without a voucher, statements, codes."""
    waiting = person.keys.filter(purpose=PersonKey.SIGNING, vouched_at__isnull=True, revoked_at__isnull=True)
    waiting.update(revoked_at=writer.now)
    person.ceremonies.filter(used_at__isnull=True).delete()
