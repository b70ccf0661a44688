"""Resume a suspended agent. What was pending when it was suspended stays invalidated."""

from __future__ import annotations

from dataclasses import dataclass

from audit.log import Appended, Writer
from governance.actions.add_person import actor_of
from governance.actors import must_be_admin
from governance.errors import Refused
from governance.models import Agent, Person


@dataclass(frozen=True)
class Command:
    """``by`` is an admin: an owner may stop an agent alone, but not start it again. None: the operator's console."""

    agent: Agent
    reason: str
    by: Person | None = None


def apply(writer: Writer, command: Command) -> Appended:
    """Resume it. Raises Refused: not-allowed, invalid (no reason), conflict (not suspended)."""
    agent = Agent.objects.get(pk=command.agent.pk)
    if command.by is not None:
        must_be_admin(command.by)
    if not command.reason.strip():
        raise Refused("invalid", "Say why: the reason goes into the log.")
    if agent.state != Agent.SUSPENDED:
        raise Refused("conflict", f"{agent.name} is not suspended.")
    agent.state = Agent.ACTIVE
    agent.save(update_fields=["state"])
    return writer.append(
        "agent.resumed",
        subject=agent.id,
        agent=agent.id,
        actor=actor_of(command.by),
        body={"agent": agent.id, "reason": command.reason},
    )
