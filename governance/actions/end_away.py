"""Somebody is back, or does not go after all: from now on they are asked again."""

from __future__ import annotations

from dataclasses import dataclass

from audit.log import Appended, Writer
from governance import absences
from governance.actors import must_be_active, must_be_admin, person_actor
from governance.errors import Refused
from governance.models import Person


@dataclass(frozen=True)
class Command:
    """``by`` is the person, or an admin."""

    person: str
    by: Person


def apply(writer: Writer, command: Command) -> Appended:
    """End the absence that stands. Raises Refused: not-found, not-allowed, conflict (there is none)."""
    person = Person.objects.filter(pk=command.person).first()
    if person is None:
        raise Refused("not-found", "There is no such person.")
    must_be_active(command.by)
    if command.by.pk != person.pk:
        must_be_admin(command.by)
    away = absences.standing(person, writer.now)
    if away is None:
        raise Refused("conflict", f"{person.name} is not away, so there is nothing to end.")
    away.ended_at = writer.now
    away.save(update_fields=["ended_at"])
    return writer.append("person.back", subject=person.id, actor=person_actor(command.by), body={"person": person.id})
