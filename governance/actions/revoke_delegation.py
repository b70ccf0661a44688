"""Revoke a delegation, and with it everything that was passed on below it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from audit.log import Actor, Appended, Writer
from governance import acts, cascade
from governance.access import chain_of
from governance.actors import CONSOLE, agent_actor, must_be_active, must_be_admin, person_actor
from governance.ceremonies import Signed
from governance.errors import Refused
from governance.models import Agent, Delegation, Person
from imprimatur.formats.timestamps import format_time


@dataclass(frozen=True)
class Command:
    """``by``: an admin, the issuer, the owner of its agent, an agent above or at it; None: the console."""

    delegation: str
    by: Person | Agent | None
    reason: str = ""
    signed: Signed | None = None  # see governance.acts; a click will do


@dataclass(frozen=True)
class Result:
    """``entry`` is None when it was revoked before: asking again answers the same."""

    delegation: Delegation
    entry: Appended | None


def apply(writer: Writer, command: Command) -> Result:
    """Revoke it from now on. Raises Refused: not-found, not-allowed."""
    row = Delegation.objects.select_related("subject").filter(pk=command.delegation).first()
    if row is None:
        raise Refused("not-found", "There is no such delegation.")
    actor = _may(command, row)
    if row.revoked_at is not None:
        return Result(row, None)
    reason = command.reason.strip() or "no reason given"
    row.revoked_at = writer.now
    row.revoked_by = command.by.pk if command.by is not None else actor.id
    row.revoked_reason = reason
    row.save(update_fields=["revoked_at", "revoked_by", "revoked_reason"])
    body: dict[str, Any] = {"delegation": row.id, "reason": reason}
    part: dict[str, Any] = {"since": format_time(writer.now)}
    if command.signed is not None and isinstance(command.by, Person):
        said = acts.fields("delegation.revoked", row.id, dict(body))
        actor, signed = acts.signed_by(writer, command.by, command.signed, said)
        part |= signed
    entry = writer.append(
        "delegation.revoked",
        subject=row.id,
        agent=row.subject_id,
        actor=actor,
        refs=[("delegation", row.issued_index)],
        body=body | part,
    )
    cascade.sweep(writer, entry, delegations=[row.id])
    return Result(row, entry)


def _may(command: Command, row: Delegation) -> Actor:
    if command.by is None:
        return CONSOLE
    if isinstance(command.by, Agent):
        # Giving up authority is always allowed; taking it from others only downwards.
        if any(link.subject_id == command.by.pk for link in chain_of(row)):
            return agent_actor(command.by)
        raise Refused("not-found", "There is no such delegation.")
    must_be_active(command.by)
    if command.by.pk not in (row.issuer_person_id, row.subject.owner_id):
        must_be_admin(command.by)
    return person_actor(command.by)
