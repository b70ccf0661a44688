"""Somebody is out of office: while it lasts they are not asked, and one colleague may be asked instead of them.

The colleague answers in their own name and with rights of their own: being away hands over no authority. It is not
retroactive: who was asked already stays asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from audit.log import Writer
from governance import absences
from governance.actors import must_be_active, must_be_admin, person_actor, roles_of
from governance.errors import Refused
from governance.models import Away, Person
from imprimatur.formats.timestamps import format_time


@dataclass(frozen=True)
class Command:
    """``starts`` None: from now on. ``by`` is the person, or an admin for somebody who is off sick."""

    person: str
    starts: datetime | None
    ends: datetime
    delegate: str | None
    by: Person


def apply(writer: Writer, command: Command) -> Away:
    """Write it down. A new absence takes the place of the one before; a start in the past means now.

    Raises Refused: not-found, not-allowed (somebody else's, by no admin), invalid (over already, the wrong way round,
    longer than 90 days, or a delegate who is nobody, oneself, switched off or without a role).
    """
    person = _person(command.person)
    must_be_active(command.by)
    if command.by.pk != person.pk:
        must_be_admin(command.by)
    starts = writer.now if command.starts is None else max(command.starts, writer.now)
    starts, ends = _milliseconds(starts), _milliseconds(command.ends)
    if ends <= starts:
        raise Refused("invalid", "The end comes before the beginning, or is over already. Say when you are back.")
    if ends - starts > absences.LONGEST:
        raise Refused("invalid", f"An absence lasts {absences.LONGEST.days} days at most. Set another one afterwards.")
    delegate = _delegate(person, command.delegate) if command.delegate else None
    body: dict[str, Any] = {"person": person.id, "from": format_time(starts), "until": format_time(ends)}
    if delegate is not None:
        body["delegate"] = delegate.id
    Away.objects.filter(person=person, ended_at=None).update(ended_at=writer.now)
    writer.append("person.away", subject=person.id, actor=person_actor(command.by), body=body)
    return Away.objects.create(person=person, delegate=delegate, starts_at=starts, ends_at=ends)


def _person(identifier: str) -> Person:
    found = Person.objects.select_related("user").filter(pk=identifier).first()
    if found is None:
        raise Refused("not-found", "There is no such person.")
    return found


def _delegate(person: Person, identifier: str) -> Person:
    found = _person(identifier)
    if found.pk == person.pk:
        raise Refused("invalid", "Who is asked instead is somebody else.")
    if not roles_of(found):
        raise Refused("invalid", f"{found.name} is switched off or holds no role, so asking them would help nobody.")
    return found


def _milliseconds(at: datetime) -> datetime:
    return at.replace(microsecond=at.microsecond // 1000 * 1000)
