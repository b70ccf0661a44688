"""Take a tool out of the registry. From then on it is unknown: claimed by the agent, and at least HIGH."""

from __future__ import annotations

from dataclasses import dataclass

from audit.log import Appended, Writer
from governance.actors import must_be_admin, person_actor
from governance.errors import Refused
from governance.models import Person, Tool


@dataclass(frozen=True)
class Command:
    name: str
    reason: str
    by: Person


def apply(writer: Writer, command: Command) -> Appended:
    """Retire it. Raises Refused: not-allowed (admins only), not-found, invalid (no reason)."""
    must_be_admin(command.by)
    if not command.reason.strip():
        raise Refused("invalid", "Say why: the reason goes into the log.")
    row = Tool.objects.filter(name=command.name, current=True).first()
    if row is None:
        raise Refused("not-found", "The registry has no such tool.")
    row.current = False
    row.save(update_fields=["current"])
    return writer.append(
        "tool.retired",
        subject=row.name,
        actor=person_actor(command.by),
        body={"tool": row.name, "digest": row.digest, "reason": command.reason},
    )
