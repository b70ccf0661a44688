"""Revoke an agent's key: what it signed from the stated time on is dead, its successors included."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from audit.log import Appended, Writer
from governance import acts, cascade
from governance.actions.add_person import actor_of
from governance.actions.revoke_person_key import since_when
from governance.actors import must_be_active, must_be_admin
from governance.ceremonies import Signed
from governance.errors import Refused
from governance.models import AgentKey, Delegation, Person
from imprimatur.formats.timestamps import format_time


@dataclass(frozen=True)
class Command:
    """``since``: when the key may have been lost, None for now. ``by``: an admin or the owner; None: the console."""

    thumbprint: str
    reason: str
    since: datetime | None = None
    by: Person | None = None
    signed: Signed | None = None  # see governance.acts; a click will do


def apply(writer: Writer, command: Command) -> Appended:
    """Revoke the key; a successor that it named from that time on was named by a thief, and is revoked with it.

    Raises Refused: not-found, not-allowed, invalid (a time in the future, no reason), conflict.
    """
    key = AgentKey.objects.select_related("agent").filter(pk=command.thumbprint).first()
    if key is None:
        raise Refused("not-found", "There is no such key.")
    if command.by is not None:
        must_be_active(command.by)
        if command.by.pk != key.agent.owner_id:
            must_be_admin(command.by)
    since = since_when(writer, command.since, command.reason, key.revoked_since)
    dead = {key.thumbprint: since}
    entry = _revoke(writer, key, since, command)
    for successor in _successors(key, since):
        dead[successor.thumbprint] = successor.added_at
        _revoke(writer, successor, successor.added_at, command, cause=entry)
    fallen = {
        row.id
        for row in Delegation.objects.filter(issuer_agent=key.agent).only("id", "signature", "issued_at")
        if row.signature["key"] in dead and row.issued_at >= dead[row.signature["key"]]
    }
    cascade.sweep(writer, entry, keys=dead, delegations=fallen)
    return entry


def _successors(key: AgentKey, since: datetime) -> list[AgentKey]:
    if key.retired_at is None or key.retired_at < since:
        return []
    later = AgentKey.objects.filter(agent=key.agent, added_at__gte=key.retired_at).exclude(pk=key.pk)
    return [row for row in later.order_by("added_at") if row.revoked_since is None or row.revoked_since > row.added_at]


def _revoke(
    writer: Writer, key: AgentKey, since: datetime, command: Command, cause: Appended | None = None
) -> Appended:
    key.revoked_since = since
    key.save(update_fields=["revoked_since"])
    body = chosen(key, command.reason, since)
    actor = actor_of(command.by)
    if cause is None and command.signed is not None and command.by is not None:
        said = acts.fields("agent.key_revoked", key.agent_id, dict(body))
        actor, part = acts.signed_by(writer, command.by, command.signed, said)
        body |= part
    return writer.append(
        "agent.key_revoked",
        subject=key.agent_id,
        agent=key.agent_id,
        actor=actor,
        refs=[("cause", cause.index)] if cause else [],
        body=body,
    )


def chosen(key: AgentKey, reason: str, since: datetime) -> dict[str, Any]:
    """The fields of the entry that the person chooses, and that a signature covers."""
    return {"agent": key.agent_id, "thumbprint": key.thumbprint, "since": format_time(since), "reason": reason}
