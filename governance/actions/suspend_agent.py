"""Suspend an agent: from the commit on nothing it holds or passed on can be used, until it is resumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from audit.log import Actor, Appended, Writer
from governance import acts, cascade
from governance.actions.add_person import actor_of
from governance.actors import must_be_active, must_be_admin
from governance.ceremonies import Signed
from governance.errors import Refused
from governance.models import Agent, Delegation, Person


@dataclass(frozen=True)
class Command:
    """``by`` is an admin or the agent's owner; None: the operator's console."""

    agent: Agent
    reason: str
    by: Person | None = None
    signed: Signed | None = None  # see governance.acts; a click will do


def apply(writer: Writer, command: Command) -> Appended:
    """Suspend it. Raises Refused: not-allowed, invalid (no reason), conflict (suspended already)."""
    agent = Agent.objects.get(pk=command.agent.pk)
    if command.by is not None:
        must_be_active(command.by)
        if command.by.pk != agent.owner_id:
            must_be_admin(command.by)
    if not command.reason.strip():
        raise Refused("invalid", "Say why: the reason goes into the log.")
    if agent.state == Agent.SUSPENDED:
        raise Refused("conflict", f"{agent.name} is suspended already.")
    actor, part = actor_of(command.by), dict[str, Any]()
    if command.signed is not None and command.by is not None:
        said = acts.fields("agent.suspended", agent.id, {"agent": agent.id, "reason": command.reason})
        actor, part = acts.signed_by(writer, command.by, command.signed, said)
    return suspend(writer, agent, reason=command.reason, actor=actor, part=part)


def suspend(
    writer: Writer,
    agent: Agent,
    *,
    reason: str,
    actor: Actor,
    refs: Sequence[tuple[str, int]] = (),
    part: Mapping[str, Any] | None = None,
) -> Appended:
    """Suspend an active agent in somebody's name, and end what waited on it. Whether they may is asked before."""
    agent.state = Agent.SUSPENDED
    agent.save(update_fields=["state"])
    entry = writer.append(
        "agent.suspended",
        subject=agent.id,
        agent=agent.id,
        actor=actor,
        refs=refs,
        body={"agent": agent.id, "reason": reason, **(part or {})},
    )
    held = Delegation.objects.filter(subject=agent).values_list("id", flat=True)
    cascade.sweep(writer, entry, agents={agent.id}, delegations=held)
    return entry
