"""Retire a service. From the commit on what it signs no longer counts; a new one takes a new key."""

from __future__ import annotations

from dataclasses import dataclass

from audit.log import Appended, Writer
from governance.actors import must_be_admin, person_actor
from governance.errors import Refused
from governance.models import Person
from governance.runtime.models import Service


@dataclass(frozen=True)
class Command:
    service: str
    reason: str
    by: Person


def apply(writer: Writer, command: Command) -> Appended:
    """Retire it. What it attested stays; its live launches are given up for lost by `lose_launch`, within a minute.

    Raises Refused: not-allowed (admins only), not-found, invalid (no reason), conflict (retired already).
    """
    must_be_admin(command.by)
    if not command.reason.strip():
        raise Refused("invalid", "Say why: the reason goes into the log.")
    service = Service.objects.filter(pk=command.service).first()
    if service is None:
        raise Refused("not-found", "There is no such service.")
    if service.retired_at is not None:
        raise Refused("conflict", f"{service.name} is retired already.")
    service.retired_at = writer.now
    service.save(update_fields=["retired_at"])
    return writer.append(
        "service.retired",
        subject=service.pk,
        actor=person_actor(command.by),
        body={"service": service.pk, "reason": command.reason},
    )
