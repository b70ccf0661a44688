"""Take a proposed change back, or let time end it. Either only takes something away, so one person is enough."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet

from audit.log import SYSTEM, Actor, Writer, commit
from governance import changes
from governance.actions import put_in_force
from governance.actors import must_be_active, must_be_admin, person_actor
from governance.errors import Refused
from governance.models import Change, Person

MOST = 100


@dataclass(frozen=True)
class Command:
    change: str
    reason: str
    by: Person


@dataclass(frozen=True)
class Expire:
    """Ends every change whose time is over."""


def apply(writer: Writer, command: Command) -> Change:
    """Withdraw it, as author or admin. Raises Refused: not-found, not-allowed, wrong-state, invalid (no reason)."""
    row = put_in_force.one(command.change)
    must_be_active(command.by)
    if command.by.pk != row.proposed_by_id:
        must_be_admin(command.by)
    if not command.reason.strip():
        raise Refused("invalid", "Say why: the reason goes into the log.")
    if row.state not in changes.OPEN:
        raise Refused("wrong-state", "There is nothing to withdraw: this change is over.")
    _end(writer, row, Change.WITHDRAWN, person_actor(command.by), command.reason)
    return row


def apply_expire(writer: Writer, command: Expire) -> int:
    """End what is over, oldest first, at most 100 at a time. Returns how many."""
    rows = list(due(writer.now)[:MOST])
    for row in rows:
        _end(writer, row, Change.EXPIRED, SYSTEM, "Its time is over")
    return len(rows)


def expire(now: datetime) -> int:
    """For the clock: end what is over at ``now``. Returns how many."""
    return commit(apply_expire, Expire()) if due(now).exists() else 0


def due(now: datetime) -> QuerySet[Change]:
    """The open changes whose time is over, the oldest first."""
    return Change.objects.filter(state__in=changes.OPEN, expires_at__lte=now).order_by("expires_at")


def _end(writer: Writer, row: Change, state: str, actor: Actor, reason: str) -> None:
    row.state, row.ended_at = state, writer.now
    row.save(update_fields=["state", "ended_at"])
    writer.append(
        "change.withdrawn",
        subject=row.id,
        actor=actor,
        refs=[("change", row.proposed_index)],
        body={"change": row.id, "reason": reason},
    )
