"""Lift a legal hold: what it covered is free again, unless another hold covers it."""

from __future__ import annotations

from dataclasses import dataclass

from audit import holds
from audit.admins import Admin
from audit.errors import Declined
from audit.log import Writer
from audit.models import Hold


@dataclass(frozen=True)
class Command:
    """The id of a hold that stands, and why it need not any more."""

    by: Admin
    hold: str
    reason: str


def apply(writer: Writer, command: Command) -> Hold:
    """Lift it. Raises Declined: no admin, no reason, no such hold, or lifted already."""
    actor = command.by.actor()
    reason = command.reason.strip()
    if not reason:
        raise Declined("Say why: the log keeps the reason, and auditors read it.")
    hold = Hold.objects.filter(pk=command.hold).first()
    if hold is None:
        raise Declined("There is no such hold.")
    if hold.lifted_at is not None:
        raise Declined("This hold was lifted already. Nothing was changed.")
    writer.append(
        holds.LIFTED,
        subject=hold.id,
        actor=actor,
        body={"hold": hold.id, "reason": reason},
        refs=[("hold", hold.placed_index)],
        agent="" if hold.scope == Hold.EVERYTHING else _agent(hold),
    )
    hold.lifted_at = writer.now
    hold.save(update_fields=["lifted_at"])
    return hold


def _agent(hold: Hold) -> str:
    from audit.models import Entry

    return Entry.objects.values_list("agent", flat=True).get(pk=hold.placed_index)
