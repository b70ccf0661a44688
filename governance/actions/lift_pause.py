"""Lift a pause. What was pending or approved meanwhile goes on, if its time is not over."""

from __future__ import annotations

from dataclasses import dataclass

from audit.log import Appended, Writer
from governance.actions.set_pause import write
from governance.actors import must_be_admin
from governance.ceremonies import Signed
from governance.errors import Refused
from governance.models import Pause, Person


@dataclass(frozen=True)
class Command:
    scope: str
    target: str
    reason: str
    by: Person
    signed: Signed | None = None


def apply(writer: Writer, command: Command) -> Appended:
    """Lift it. Raises Refused: not-allowed (admins only), not-found (none stands), invalid (no reason)."""
    must_be_admin(command.by)
    if not command.reason.strip():
        raise Refused("invalid", "Say why: the reason goes into the log.")
    pause = Pause.objects.filter(scope=command.scope, target=command.target, lifted_at__isnull=True).first()
    if pause is None:
        raise Refused("not-found", "No such pause stands.")
    pause.lifted_at = writer.now
    pause.save(update_fields=["lifted_at"])
    return write(writer, "pause.lifted", pause, command)
